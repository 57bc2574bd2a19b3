//! Which boot, which namespace, which process: what a journal belongs to.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::Files;

/// A process that cannot be mistaken for a later one with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number in its namespace of processes.
    pub pid: u32,
    /// When it was started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_ticks: u64,
    /// Inode of its namespace of processes: elsewhere the number means another process, or none.
    pub pid_namespace: u64,
    /// Its name.
    pub name: String,
}

impl Process {
    /// The calling process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn this() -> Result<Self, Error> {
        let pid = std::process::id();
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let text = fs::read_to_string(&path).map_err(|source| Error::Identity {
            path: path.clone(),
            source,
        })?;
        let stat = Stat::parse(&text).ok_or_else(|| Error::Identity {
            path,
            source: std::io::Error::other("it is not in the form of proc_pid_stat(5)"),
        })?;
        Ok(Self {
            pid,
            start_ticks: stat.start_ticks,
            pid_namespace: namespace("pid")?,
            name: stat.name,
        })
    }

    /// Whether it still runs; `None` where that cannot be told from here, because it is in another
    /// namespace of processes. A zombie does not run any more.
    #[must_use]
    pub fn is_alive(&self) -> Option<bool> {
        if namespace("pid").ok()? != self.pid_namespace {
            return None;
        }
        let text = match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(text) => text,
            Err(error) => return is_absence(&error).then_some(false),
        };
        let stat = Stat::parse(&text)?;
        Some(stat.start_ticks == self.start_ticks && !matches!(stat.state, 'Z' | 'X'))
    }
}

/// Whether this answer says that there is no such process. Others, such as a lack of descriptors, say
/// nothing about it, and a process that is taken for dead has its values put back.
fn is_absence(error: &std::io::Error) -> bool {
    // Ended between open(2) and read(2).
    let ended = rustix::io::Errno::SRCH.raw_os_error();
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(ended)
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

struct Stat {
    name: String,
    state: char,
    start_ticks: u64,
}

impl Stat {
    /// The name is in brackets and may itself hold brackets and blanks: what counts is the last one.
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3, the start time field 22.
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            state,
            start_ticks,
        })
    }
}

/// What settings belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Here {
    /// Another one after each boot.
    pub boot_id: String,
    /// Inode of the network namespace of the calling thread: `/proc/sys/net` is that of this namespace.
    pub network_namespace: u64,
}

impl Here {
    pub(crate) fn find(files: &dyn Files) -> Result<Self, Error> {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot_id = files.read(path).map_err(|source| Error::Identity {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            boot_id: boot_id.trim().to_owned(),
            network_namespace: namespace("net")?,
        })
    }
}

/// The inode of a namespace of the calling thread.
fn namespace(kind: &str) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt;
    let path = PathBuf::from(format!("/proc/thread-self/ns/{kind}"));
    let metadata = fs::metadata(&path).map_err(|source| Error::Identity { path, source })?;
    Ok(metadata.ino())
}

/// Whether no process and no mount keeps this network namespace, as far as can be seen from here. Where
/// something cannot be looked at, it is not gone.
pub(crate) fn is_namespace_gone(inode: u64) -> bool {
    let name = format!("net:[{inode}]");
    // `ip netns add` keeps one by a mount, whose root is the namespace's name.
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    if mounts.contains(&name) {
        return false;
    }
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    let numbers = processes
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
        });
    for process in numbers {
        match fs::read_link(process.join("ns/net")) {
            Ok(link) if link == Path::new(&name) => return false,
            Ok(_) => {}
            // Ended meanwhile, or a zombie, which keeps none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bracket_ends_the_name() {
        let text = "42 (odd) name) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        let stat = Stat::parse(text).expect("the form of proc_pid_stat(5)");
        assert_eq!(
            (stat.name.as_str(), stat.state, stat.start_ticks),
            ("odd) name", 'S', 987_654)
        );
        assert!(Stat::parse("42 odd S 1").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_alive_and_one_with_its_number_is_another() {
        let this = Process::this().expect("/proc");
        assert_eq!(this.is_alive(), Some(true));
        let later = Process {
            start_ticks: this.start_ticks + 1,
            ..this.clone()
        };
        assert_eq!(later.is_alive(), Some(false));
        let elsewhere = Process {
            pid_namespace: 1,
            ..this
        };
        assert_eq!(elsewhere.is_alive(), None);
    }

    #[test]
    fn only_an_absent_process_is_dead() {
        use rustix::io::Errno;
        let is_absent = |errno: Errno| is_absence(&errno.into());
        assert!(is_absent(Errno::NOENT) && is_absent(Errno::SRCH));
        assert!(!is_absent(Errno::MFILE) && !is_absent(Errno::ACCESS) && !is_absent(Errno::NOMEM));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_namespace_of_this_process_is_not_gone() {
        assert!(!is_namespace_gone(namespace("net").expect("/proc")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let pid = child.id();
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let stat = Stat::parse(&text).expect("proc_pid_stat(5)");
        let this = Process::this().expect("/proc");
        let process = Process {
            pid,
            start_ticks: stat.start_ticks,
            ..this
        };
        assert_eq!(process.is_alive(), Some(true));
        child.kill().expect("it is ours");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while process.is_alive() != Some(false) {
            assert!(
                std::time::Instant::now() < until,
                "a killed process stays alive"
            );
            std::thread::yield_now();
        }
        child.wait().expect("it is ours");
    }
}
