//! The directory of the journals, and the lock that lets one linerate at a time change settings.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::crash;
use crate::error::Error;
use crate::identity::Process;
use crate::journal::Journal;
use crate::namespace::NetworkNamespace;

/// Gone after a reboot, exactly as the settings are.
pub(crate) const DEFAULT: &str = "/run/linerate";
/// Whoever may open a file may lock it (flock(2)): another user could keep values from being put back.
const LOCK_MODE: u32 = 0o600;
const LOCK_POLL: Duration = Duration::from_millis(10);
/// A journal has some hundred entries at most.
const SIZE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Where journals are.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
    lock_deadline: Duration,
}

/// A journal and its file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub path: PathBuf,
    pub journal: Result<Journal, String>,
}

/// Held while settings and journals change. It ends with its file.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl StateDir {
    pub(crate) fn at(path: PathBuf, lock_deadline: Duration) -> Self {
        Self {
            path,
            lock_deadline,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory where needed, and waits for the lock.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        self.prepare()?;
        let path = self.path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(LOCK_MODE)
            .open(&path)
            .map_err(|source| Error::state("opening the lock", &path, source))?;
        // Also one that an earlier linerate has made.
        file.set_permissions(Permissions::from_mode(LOCK_MODE))
            .map_err(|source| Error::state("closing to other users the lock", &path, source))?;
        let until = Instant::now() + self.lock_deadline;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(source) => return Err(Error::state("locking", &path, source.into())),
            }
            if Instant::now() >= until {
                return Err(self.locked(&mut file));
            }
            std::thread::sleep(LOCK_POLL);
        }
        // Only for the message of those who wait.
        if let Ok(this) = Process::this() {
            let _ = file.set_len(0).and_then(|()| write!(file, "{this}"));
        }
        Ok(Lock { _file: file })
    }

    fn locked(&self, file: &mut File) -> Error {
        let mut holder = String::new();
        let read = file
            .rewind()
            .and_then(|()| file.take(256).read_to_string(&mut holder));
        if read.is_err() || holder.is_empty() {
            "which has not said who it is".clone_into(&mut holder);
        }
        Error::Locked {
            holder,
            waited_s: self.lock_deadline.as_secs(),
        }
    }

    fn prepare(&self) -> Result<(), Error> {
        let made = fs::DirBuilder::new().mode(0o755).create(&self.path);
        match made {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::state("making the directory", &self.path, error)),
        }
        let metadata = fs::symlink_metadata(&self.path)
            .map_err(|source| Error::state("looking at", &self.path, source))?;
        let own = rustix::process::geteuid().as_raw();
        let untrusted = |why: String| Error::Untrusted {
            path: self.path.clone(),
            why,
        };
        if !metadata.is_dir() {
            return Err(untrusted("is not a directory".to_owned()));
        }
        if metadata.uid() != own && own == 0 {
            return Err(untrusted(format!("belongs to user {}", metadata.uid())));
        }
        if metadata.permissions().mode() & 0o022 != 0 {
            return Err(untrusted(
                "can be written by others than its owner".to_owned(),
            ));
        }
        Ok(())
    }

    /// The journal of a network namespace: `journal-INODE-COOKIE.json`, or `journal-INODE.json`.
    pub(crate) fn file(&self, namespace: NetworkNamespace) -> PathBuf {
        let NetworkNamespace { inode, cookie } = namespace;
        let cookie = cookie.map_or_else(String::new, |cookie| format!("-{cookie}"));
        self.path.join(format!("journal-{inode}{cookie}.json"))
    }

    /// Every journal, this namespace's or not. Without the directory there are none.
    pub(crate) fn journals(&self) -> Result<Vec<Stored>, Error> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::state("listing", &self.path, error)),
        };
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_journal(path))
            .collect();
        paths.sort();
        let mut stored = Vec::new();
        for path in paths {
            // Removed meanwhile by its owner: not there any more.
            if let Some(journal) = load(&path) {
                stored.push(Stored { path, journal });
            }
        }
        Ok(stored)
    }

    /// This namespace's journal.
    ///
    /// # Errors
    /// Also when there is one that cannot be understood.
    pub(crate) fn journal(&self, here: NetworkNamespace) -> Result<Option<Journal>, Error> {
        for stored in self.journals()? {
            match stored.journal {
                Ok(journal) if journal.namespace().is(&here) => return Ok(Some(journal)),
                Err(why) if named_after(&stored.path).is_some_and(|named| named.is(&here)) => {
                    return Err(Error::Journal {
                        path: stored.path,
                        why,
                    });
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Puts the journal on disk: whole or not at all, and there after a crash of the machine's power, too.
    pub(crate) fn save(&self, journal: &Journal) -> Result<(), Error> {
        let path = self.file(journal.namespace());
        let temporary = path.with_extension("json.new");
        let failed = |source| Error::state("writing the journal", &path, source);
        let mut text =
            serde_json::to_string_pretty(journal).map_err(|error| failed(error.into()))?;
        text.push('\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&temporary)
            .map_err(failed)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        crash::point("apply.journal.temporary");
        fs::rename(&temporary, &path).map_err(failed)?;
        self.sync()
    }

    /// Removes a journal.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        match fs::remove_file(path) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::state("removing the journal", path, error)),
        }
    }

    fn sync(&self) -> Result<(), Error> {
        File::open(&self.path)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| Error::state("syncing", &self.path, source))
    }
}

/// Reads a journal; `None` where there is none.
fn load(path: &Path) -> Option<Result<Journal, String>> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(SIZE_LIMIT_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Some(Journal::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("it cannot be read: {error}"))),
    }
}

fn is_journal(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with("journal-") && name.ends_with(".json"))
}

/// The namespace that [`StateDir::file`] made this name for.
fn named_after(path: &Path) -> Option<NetworkNamespace> {
    let name = path.file_name()?.to_str()?;
    let numbers = name.strip_prefix("journal-")?.strip_suffix(".json")?;
    let (inode, cookie) = match numbers.split_once('-') {
        None => (numbers, None),
        Some((inode, cookie)) => (inode, Some(cookie.parse().ok()?)),
    };
    Some(NetworkNamespace {
        inode: inode.parse().ok()?,
        cookie,
    })
}
