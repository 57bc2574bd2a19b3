//! A machine of plain files in a temporary directory, with scripted failures of its kernel.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::apply::ApplyOptions;
use crate::files::{Files, SystemFiles};
use crate::hold::Hold;
use crate::identity::Process;
use crate::machine::Host;
use crate::profile::Profile;

/// What a kernel does with a write, other than taking it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Stores so many elements and answers EINVAL.
    InvalidAfter(usize),
    /// Stores so many elements, and says so by taking fewer bytes.
    ShortAfter(usize),
    /// Answers EACCES to root, too, and does not open.
    Closed,
    /// Answers EROFS and does not open.
    ReadOnly,
    /// Opens, and answers EPERM to the write.
    Refuses,
    /// Stores the next power of two.
    RoundsUp,
    /// Takes everything and keeps what it had.
    Ignores,
    /// Takes it, and from then on no journal can be written, as on a full disk.
    FillsDisk,
}

/// The machine.
pub(crate) struct FakeMachine {
    pub root: PathBuf,
    files: Arc<ScriptedFiles>,
}

struct ScriptedFiles {
    system: SystemFiles,
    state_dir: PathBuf,
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    faults: HashMap<String, Fault>,
    /// What was written, in order, and whether there was a journal at that time.
    writes: Vec<(String, String, bool)>,
}

/// Of the machine's only network namespace.
const COOKIE: u64 = 4242;

/// A value that stands for every machine's in these tests.
const START: &[(&str, &str)] = &[
    (
        "/proc/sys/kernel/random/boot_id",
        "00000000-0000-4000-8000-000000000001\n",
    ),
    ("/proc/sys/fs/nr_open", "1048576\n"),
    ("/proc/sys/fs/file-max", "2466170\n"),
    ("/proc/sys/fs/file-nr", "841\t0\t2466170\n"),
    ("/proc/sys/fs/pipe-max-size", "1048576\n"),
    ("/proc/sys/net/core/somaxconn", "4096\n"),
    ("/proc/sys/net/core/optmem_max", "131072\n"),
    ("/proc/sys/net/core/rmem_max", "4194304\n"),
    ("/proc/sys/net/core/wmem_max", "4194304\n"),
    ("/proc/sys/net/core/netdev_max_backlog", "1000\n"),
    ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n"),
    ("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    ("/proc/sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n"),
    ("/proc/sys/net/ipv4/tcp_max_orphans", "131072\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
    ("/proc/sys/net/ipv4/tcp_max_tw_buckets", "131072\n"),
    ("/proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("/proc/sys/net/ipv4/tcp_tw_reuse", "2\n"),
    ("/proc/sys/net/ipv4/tcp_low_latency", "0\n"),
    ("/proc/sys/net/ipv4/tcp_no_metrics_save", "0\n"),
    ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "1\n"),
    ("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("/proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1024\n"),
    ("/proc/sys/net/ipv4/tcp_congestion_control", "bbr\n"),
    (
        "/proc/sys/net/ipv4/tcp_available_congestion_control",
        "reno bbr cubic\n",
    ),
    (
        "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
        "reno bbr\n",
    ),
    (
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never\n",
    ),
    (
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "powersave\n",
    ),
    (
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
        "powersave\n",
    ),
    (
        "/sys/class/net/eth0/queues/rx-0/rps_cpus",
        "00000000,00000000\n",
    ),
];

impl FakeMachine {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("linerate-profiles-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let state_dir = root.join("state");
        let machine = Self {
            files: Arc::new(ScriptedFiles {
                system: SystemFiles::below(root.clone()),
                state_dir,
                script: Mutex::default(),
            }),
            root,
        };
        for (path, value) in START {
            machine.put(path, value);
        }
        machine
    }

    /// The machine as a process sees it.
    pub(crate) fn host(&self) -> Host {
        Host::with(self.files.clone(), self.state_dir(), Some(COOKIE))
            .expect("the files have a boot id")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.files.state_dir.clone()
    }

    /// Replaces text in the journal of the machine's network namespace, as somebody with an editor does.
    pub(crate) fn edit_journal(&self, from: &str, to: &str) {
        let host = self.host();
        let path = host.state.file(host.here.namespace);
        let text = fs::read_to_string(&path).expect("there is a journal");
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).expect("a temporary file");
    }

    fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn path(key: &str) -> String {
        match key.starts_with('/') {
            true => key.to_owned(),
            false => format!("/proc/sys/{}", key.replace('.', "/")),
        }
    }

    /// Sets a value as somebody else would.
    pub(crate) fn put(&self, key: &str, value: &str) {
        let file = self.file(&Self::path(key));
        fs::create_dir_all(file.parent().expect("a file is in a directory"))
            .expect("a temporary directory");
        fs::write(file, value).expect("a temporary file");
    }

    pub(crate) fn remove(&self, key: &str) {
        fs::remove_file(self.file(&Self::path(key))).expect("it is there");
    }

    /// The value as its file has it, trimmed.
    pub(crate) fn value(&self, key: &str) -> String {
        let text = fs::read_to_string(self.file(&Self::path(key))).expect("it is there");
        text.trim().to_owned()
    }

    /// Every value of the machine, to see that all of them come back.
    pub(crate) fn values(&self) -> Vec<(String, String)> {
        let value = |(path, _): &(&str, &str)| {
            let words = self
                .value(path)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            ((*path).to_owned(), words)
        };
        START.iter().map(value).collect()
    }

    pub(crate) fn fault(&self, key: &str, fault: Fault) {
        self.files.script().faults.insert(Self::path(key), fault);
    }

    pub(crate) fn repair(&self, key: &str) {
        self.files.script().faults.remove(&Self::path(key));
    }

    /// Keys and values as they were written.
    pub(crate) fn writes(&self) -> Vec<(String, String)> {
        let script = self.files.script();
        script
            .writes
            .iter()
            .map(|(key, value, _)| (key.clone(), value.clone()))
            .collect()
    }

    /// Whether a journal was on disk at every write.
    pub(crate) fn always_had_a_journal(&self) -> bool {
        self.files
            .script()
            .writes
            .iter()
            .all(|(_, _, journal)| *journal)
    }

    pub(crate) fn journals(&self) -> usize {
        self.files.journals()
    }
}

impl Drop for FakeMachine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl ScriptedFiles {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("no test panics while it holds this")
    }

    fn journals(&self) -> usize {
        self.journal_files().len()
    }

    fn journal_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.state_dir)
            .into_iter()
            .flatten()
            .flatten();
        let is_journal = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("journal-") && name.ends_with(".json")
        };
        entries
            .map(|entry| entry.path())
            .filter(is_journal)
            .collect()
    }

    /// Stores the first elements and keeps the others.
    fn store_some(&self, path: &Path, value: &str, elements: usize) -> io::Result<usize> {
        let old = self.system.read(path)?;
        let new: Vec<&str> = value.split_whitespace().collect();
        let kept = old.split_whitespace().enumerate();
        let mixed: Vec<&str> = kept
            .map(|(at, old)| {
                if at < elements {
                    new.get(at).copied().unwrap_or(old)
                } else {
                    old
                }
            })
            .collect();
        self.system
            .write(path, &format!("{}\n", mixed.join("\t")))?;
        Ok(new
            .iter()
            .take(elements)
            .map(|element| element.len() + 1)
            .sum())
    }
}

impl Files for ScriptedFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.system.read(path)
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<usize> {
        let name = path.display().to_string();
        let journal = self.journals() > 0;
        let mut script = self.script();
        script
            .writes
            .push((name.clone(), value.trim().to_owned(), journal));
        let fault = script.faults.get(&name).copied();
        drop(script);
        match fault {
            None => {
                // As the kernel shows vectors and choices.
                let text = match self.system.read(path)? {
                    old if old.contains('[') => choose(&old, value.trim()),
                    _ => value.split(' ').collect::<Vec<_>>().join("\t"),
                };
                self.system.write(path, &text)?;
                Ok(value.len())
            }
            Some(Fault::InvalidAfter(elements)) => {
                self.store_some(path, value, elements)?;
                Err(io::Error::from_raw_os_error(22))
            }
            Some(Fault::ShortAfter(elements)) => self.store_some(path, value, elements),
            Some(Fault::Closed) => Err(io::Error::from_raw_os_error(13)),
            Some(Fault::ReadOnly) => Err(io::Error::from_raw_os_error(30)),
            Some(Fault::Refuses) => Err(io::Error::from_raw_os_error(1)),
            Some(Fault::RoundsUp) => {
                let number: u64 = value.trim().parse().expect("a number");
                self.system
                    .write(path, &format!("{}\n", number.next_power_of_two()))?;
                Ok(value.len())
            }
            Some(Fault::Ignores) => Ok(value.len()),
            Some(Fault::FillsDisk) => {
                for journal in self.journal_files() {
                    fs::create_dir_all(journal.with_extension("json.new"))?;
                }
                self.system.write(path, value)
            }
        }
    }

    fn probe_write(&self, path: &Path) -> io::Result<()> {
        match self.script().faults.get(&path.display().to_string()) {
            Some(Fault::Closed) => Err(io::Error::from_raw_os_error(13)),
            Some(Fault::ReadOnly) => Err(io::Error::from_raw_os_error(30)),
            _ => self.system.probe_write(path),
        }
    }

    fn owner_may_write(&self, path: &Path) -> bool {
        self.system.owner_may_write(path)
    }

    fn expand(&self, pattern: &str) -> Vec<String> {
        self.system.expand(pattern)
    }
}

fn choose(choices: &str, name: &str) -> String {
    let names = choices
        .split_whitespace()
        .map(|one| one.trim_matches(['[', ']']));
    let marked: Vec<String> = names
        .map(|one| {
            if one == name {
                format!("[{one}]")
            } else {
                one.to_owned()
            }
        })
        .collect();
    format!("{}\n", marked.join(" "))
}

/// A process that has ended.
pub(crate) fn dead() -> Process {
    let this = Process::this().expect("/proc");
    Process {
        start_ticks: this.start_ticks + 1,
        ..this
    }
}

/// For an owner that was killed since.
pub(crate) fn abandoned(hold: Hold) -> ApplyOptions {
    ApplyOptions {
        owner: Some(dead()),
        hold,
        ..ApplyOptions::run()
    }
}

/// A profile of these lines of `[sysctl]`.
pub(crate) fn profile(lines: &str) -> Profile {
    named_profile("test", lines)
}

pub(crate) fn named_profile(name: &str, lines: &str) -> Profile {
    let settings: String = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (optional, line) = line.strip_prefix('?').map_or((false, line), |line| (true, line));
            let (key, value) = line.split_once(' ').expect("key and value");
            format!("\"{key}\" = {{ value = \"{value}\", optional = {optional}, reason = \"a test\" }}\n")
        })
        .collect();
    let text = format!(
        "name = \"{name}\"\nsummary = \"a test\"\nsource = \"this test\"\n[sysctl]\n{settings}"
    );
    crate::profile::from_text(&text).expect("a profile")
}
