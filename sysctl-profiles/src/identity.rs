//! Which process: who a journal belongs to.

use std::fs;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::namespace;

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
    /// When `/proc` cannot be read, or shows the processes of another namespace: by what is found there nobody
    /// could tell later whether this process still runs.
    pub fn this() -> Result<Self, Error> {
        let pid_namespace = own_pid_namespace()?;
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
            pid_namespace,
            name: stat.name,
        })
    }

    /// Those that have started it, nearest first, as far as they are of the same program: for a supervisor its
    /// agent and the `run` behind that.
    pub(crate) fn started_by(&self) -> Vec<Self> {
        let mut starters = Vec::new();
        let mut pid = Stat::of(self.pid).map(|stat| stat.parent);
        while let Some(starter) = pid.filter(|_| starters.len() < STARTERS) {
            // Outside of the PID namespace it is 0.
            let Some(stat) = Stat::of(starter).filter(|stat| stat.name == self.name) else {
                break;
            };
            pid = Some(stat.parent);
            starters.push(Self {
                pid: starter,
                start_ticks: stat.start_ticks,
                pid_namespace: self.pid_namespace,
                name: stat.name,
            });
        }
        starters
    }

    /// Whether it still runs; `None` where that cannot be told from here: it is in another namespace of
    /// processes, or `/proc` is of another one or hides it. A zombie does not run any more.
    #[must_use]
    pub fn is_alive(&self) -> Option<bool> {
        if own_pid_namespace().ok()? != self.pid_namespace {
            return None;
        }
        let text = match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(text) => text,
            Err(error) => return (is_absence(&error) && !has_number(self.pid)).then_some(false),
        };
        let stat = Stat::parse(&text)?;
        Some(stat.start_ticks == self.start_ticks && !matches!(stat.state, 'Z' | 'X'))
    }
}

/// The inode of the PID namespace of this process, which is that of `/proc`, too. Where it is not, the numbers in
/// `/proc` are not those of this process and its like.
fn own_pid_namespace() -> Result<u64, Error> {
    let path = PathBuf::from("/proc/self/status");
    let status = fs::read_to_string(&path).map_err(|source| Error::Identity { path, source })?;
    is_numbered_as(&status, std::process::id()).map_err(|why| Error::ForeignProc { why })?;
    namespace::inode("pid")
}

/// Whether `status` (proc_pid_status(5)), in which `/proc` shows this process, has its number and no other one.
///
/// `NSpid` has a number for each PID namespace from that of `/proc` down to that of the process. Kernels without
/// such namespaces have no such line.
fn is_numbered_as(status: &str, pid: u32) -> Result<(), String> {
    let numbers = |name: &str| -> Option<Vec<&str>> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().collect())
    };
    let own = pid.to_string();
    let shown = numbers("NSpid:").or_else(|| numbers("Pid:"));
    match shown.unwrap_or_default()[..] {
        [number] if number == own => Ok(()),
        [number, ..] => Err(format!(
            "/proc shows this process, {own}, as process {number}"
        )),
        [] => Err("/proc/self/status does not say which process this is".to_owned()),
    }
}

/// Whether kill(2) knows of such a process. It does also of one that `/proc` hides (`hidepid`, proc(5)).
fn has_number(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Whether this answer says that there is no such process. Others, such as a lack of descriptors, say
/// nothing about it, and a process that is taken for dead has its values put back.
fn is_absence(error: &std::io::Error) -> bool {
    // Ended between open(2) and read(2).
    let ended = Errno::SRCH.raw_os_error();
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(ended)
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

/// More than linerate has: `run`, its agent, the supervisor.
const STARTERS: usize = 4;

struct Stat {
    name: String,
    state: char,
    parent: u32,
    start_ticks: u64,
}

impl Stat {
    /// Of a process that is there.
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is in brackets and may itself hold brackets and blanks: what counts is the last one.
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3, the parent field 4, the start time field 22.
        let parent = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            state,
            parent,
            start_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bracket_ends_the_name() {
        let text = "42 (odd) name) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        let stat = Stat::parse(text).expect("the form of proc_pid_stat(5)");
        assert_eq!(
            (
                stat.name.as_str(),
                stat.state,
                stat.parent,
                stat.start_ticks
            ),
            ("odd) name", 'S', 1, 987_654)
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

    #[cfg(target_os = "linux")]
    #[test]
    fn those_that_started_it_are_of_its_program() {
        let this = Process::this().expect("/proc");
        // Whoever runs the tests is another program.
        assert_eq!(this.started_by(), []);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let named_as_this = Process {
            pid: child.id(),
            ..this.clone()
        };
        let starters = named_as_this.started_by();
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert_eq!(starters, [this]);
    }

    #[test]
    fn only_an_absent_process_is_dead() {
        let is_absent = |errno: Errno| is_absence(&errno.into());
        assert!(is_absent(Errno::NOENT) && is_absent(Errno::SRCH));
        assert!(!is_absent(Errno::MFILE) && !is_absent(Errno::ACCESS) && !is_absent(Errno::NOMEM));
    }

    #[test]
    fn a_process_has_one_number_in_its_own_proc() {
        let status = |numbers: &str| format!("Name:\tlinerate\nPid:\t42\nNSpid:\t{numbers}\n");
        assert_eq!(is_numbered_as(&status("42"), 42), Ok(()));
        assert_eq!(
            is_numbered_as("Pid:\t42\n", 42),
            Ok(()),
            "no such namespaces"
        );
        // The outer number may be that of the inner one by chance.
        for (numbers, own) in [("42\t7", 7), ("42\t42", 42), ("42", 7)] {
            let why = is_numbered_as(&status(numbers), own).expect_err(numbers);
            assert!(why.contains("as process 42"), "{why}");
        }
        assert!(is_numbered_as("", 42).is_err());
    }

    #[test]
    fn a_process_that_proc_hides_has_a_number() {
        assert!(has_number(std::process::id()));
        assert!(!has_number(u32::MAX) && !has_number(0));
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
