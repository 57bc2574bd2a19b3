//! Which boot and which network namespace: what settings and journals belong to, and whether it still exists.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::Files;

/// What settings belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Here {
    /// Another one after each boot.
    pub boot_id: String,
    /// That of the calling thread: `/proc/sys/net` is that of this namespace.
    pub namespace: NetworkNamespace,
}

impl Here {
    pub(crate) fn find(files: &dyn Files, cookie: Option<u64>) -> Result<Self, Error> {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot_id = files.read(path).map_err(|source| Error::Identity {
            path: path.to_owned(),
            source,
        })?;
        let inode = inode("net")?;
        Ok(Self {
            boot_id: boot_id.trim().to_owned(),
            namespace: NetworkNamespace { inode, cookie },
        })
    }
}

/// A network namespace of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetworkNamespace {
    /// Of its file in `/proc/PID/ns`. No two have the same at a time, but the kernel gives that of an ended one to a
    /// later one.
    pub inode: u64,
    /// `SO_NETNS_COOKIE`, which no later one has again; kernels before 5.14 have none.
    pub cookie: Option<u64>,
}

impl NetworkNamespace {
    /// Whether both are one and the same, as far as their cookies are known.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let differ = matches!((self.cookie, other.cookie), (Some(one), Some(two)) if one != two);
        self.inode == other.inode && !differ
    }
}

/// The inode of a namespace of the calling thread.
pub(crate) fn inode(kind: &str) -> Result<u64, Error> {
    let path = PathBuf::from(format!("/proc/thread-self/ns/{kind}"));
    let metadata = fs::metadata(&path).map_err(|source| Error::Identity { path, source })?;
    Ok(metadata.ino())
}

/// Whether a network namespace is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Existence {
    /// Something keeps it: there a command can put values back.
    Exists,
    /// Nothing does.
    Gone,
    /// Not everything can be looked at from here: why.
    Unknown(String),
}

/// Looks for whatever keeps the network namespace with this inode: a thread that is in it, a mount of it (as `ip
/// netns` makes them) in any mount namespace, an open descriptor of it.
///
/// What an open socket keeps, and nothing else, is not seen, and counts as gone: no command runs there.
pub(crate) fn existence(inode: u64) -> Existence {
    match look(inode) {
        // A thread may have come and another one gone while the list of them was read.
        Existence::Gone => look(inode),
        found => found,
    }
}

fn look(inode: u64) -> Existence {
    let name = format!("net:[{inode}]");
    match sees_all().and_then(|()| is_kept(Path::new("/proc"), &name)) {
        Ok(true) => Existence::Exists,
        Ok(false) => Existence::Gone,
        Err(why) => Existence::Unknown(why),
    }
}

/// Inode of the PID namespace in which every process is visible (PROC_PID_INIT_INO, linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Whether `/proc` shows every process of the machine, or why not.
fn sees_all() -> Result<(), String> {
    let this = crate::identity::Process::this().map_err(|error| error.to_string())?;
    if this.pid_namespace != INITIAL_PID_NAMESPACE {
        return Err("from within a PID namespace (a container) the other processes of the machine cannot be seen".to_owned());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    match hides_processes(&mounts) {
        false => Ok(()),
        true => Err("/proc is mounted with hidepid and may hide processes".to_owned()),
    }
}

/// Whether the uppermost mount at `/proc` has the option `hidepid`, in proc_pid_mountinfo(5).
fn hides_processes(mounts: &str) -> bool {
    let is_proc = |line: &&str| line.split(' ').nth(4) == Some("/proc");
    let options = mounts
        .lines()
        .rfind(is_proc)
        .and_then(|line| line.rsplit(' ').next());
    let mut options = options.unwrap_or_default().split(',');
    options.any(|option| {
        option
            .strip_prefix("hidepid=")
            .is_some_and(|how| !["0", "off"].contains(&how))
    })
}

/// Whether a thread, a mount or a descriptor keeps the namespace with this name; an error where none was found and
/// something cannot be looked at.
fn is_kept(proc: &Path, name: &str) -> Result<bool, String> {
    let tasks = tasks(proc)?;
    let mut seen = BTreeSet::new();
    let mut unseen = None;
    let mut note = |found: Result<bool, String>| {
        found.unwrap_or_else(|why| {
            unseen.get_or_insert(why);
            false
        })
    };
    let is_found = tasks
        .iter()
        .any(|task| note(is_linked(task, "ns/net", name)))
        || tasks
            .iter()
            .any(|task| note(has_mount(task, name, &mut seen)))
        || tasks.iter().any(|task| note(has_descriptor(task, name)));
    match unseen {
        Some(why) if !is_found => Err(why),
        _ => Ok(is_found),
    }
}

/// What a task sees of mounts: its mount namespace, and its root in it.
type View = (PathBuf, PathBuf);

/// Whether the task sees a mount of the namespace. What another one with its view has seen is not read again.
fn has_mount(task: &Path, name: &str, seen: &mut BTreeSet<View>) -> Result<bool, String> {
    let link = |link: &str| of_task(task, |task| fs::read_link(task.join(link)));
    let (Some(namespace), Some(root)) = (link("ns/mnt")?, link("root")?) else {
        return Ok(false);
    };
    let view = (namespace, root);
    if seen.contains(&view) {
        return Ok(false);
    }
    let Some(mounts) = of_task(task, |task| fs::read_to_string(task.join("mountinfo")))? else {
        return Ok(false);
    };
    seen.insert(view);
    // The root of such a mount is the name of the namespace.
    Ok(mounts.contains(name))
}

fn has_descriptor(task: &Path, name: &str) -> Result<bool, String> {
    for descriptor in names(task, "fd")? {
        if is_linked(task, &format!("fd/{descriptor}"), name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The directories of all threads.
fn tasks(proc: &Path) -> Result<Vec<PathBuf>, String> {
    let processes = fs::read_dir(proc).map_err(|error| format!("{}: {error}", proc.display()))?;
    let mut tasks = Vec::new();
    for process in processes {
        let process = process.map_err(|error| format!("{}: {error}", proc.display()))?;
        if process
            .file_name()
            .to_string_lossy()
            .parse::<u32>()
            .is_err()
        {
            continue;
        }
        let process = process.path();
        let numbers = names(&process, "task")?;
        tasks.extend(
            numbers
                .iter()
                .map(|number| process.join("task").join(number)),
        );
    }
    Ok(tasks)
}

/// The names in a directory of a task; none when the task has ended.
fn names(task: &Path, directory: &str) -> Result<Vec<String>, String> {
    let names = of_task(task, |task| {
        let entries = fs::read_dir(task.join(directory))?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    })?;
    Ok(names.unwrap_or_default())
}

/// Whether a link of the task leads to `name`. A task that has ended leads nowhere, and so does a closed descriptor.
fn is_linked(task: &Path, link: &str, name: &str) -> Result<bool, String> {
    let found = of_task(task, |task| fs::read_link(task.join(link)))?;
    Ok(found.is_some_and(|found| found == Path::new(name)))
}

/// What is read of a task; `None` when it has ended. `/proc` answers also with "permission denied" then.
fn of_task<T>(task: &Path, read: impl Fn(&Path) -> io::Result<T>) -> Result<Option<T>, String> {
    let ended = |error: &io::Error| {
        error.kind() == ErrorKind::NotFound
            || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
    };
    match read(task) {
        Ok(found) => Ok(Some(found)),
        Err(error) if ended(&error) => Ok(None),
        Err(error) => match fs::symlink_metadata(task) {
            Err(gone) if ended(&gone) => Ok(None),
            _ => Err(format!("{}: {error}", task.display())),
        },
    }
}

#[cfg(test)]
mod tests;
