//! The files behind the keys. Behind a trait, so that tests can script what a kernel does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::catalogue::name_matches;

/// No value of a key in the catalogue is longer.
const VALUE_LIMIT_BYTES: u64 = 64 * 1024;
/// More files than any pattern of the catalogue should match: queues of all devices of a large machine.
const EXPANSION_LIMIT: usize = 65_536;

/// How settings are read and written. Paths are absolute, as in `/proc/sys/net/core/somaxconn`.
pub trait Files: Send + Sync {
    /// The whole text of a file.
    ///
    /// # Errors
    /// What the system answers.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// One write(2) of all of `value` at the file's beginning. The kernel takes further writes as further
    /// values, or ignores them (`kernel.sysctl_writes_strict`), so a short write is not continued.
    ///
    /// # Errors
    /// What the system answers. The kernel may have stored a part of a vector by then.
    fn write(&self, path: &Path, value: &str) -> io::Result<usize>;

    /// Opens the file for writing and writes nothing.
    ///
    /// # Errors
    /// What the system answers.
    fn probe_write(&self, path: &Path) -> io::Result<()>;

    /// Whether the mode of the file lets its owner write at all.
    fn owner_may_write(&self, path: &Path) -> bool;

    /// The files that a pattern with `*` in its names stands for, in order.
    fn expand(&self, pattern: &str) -> Vec<String>;
}

/// The system's files, below a root that is `/` but for tests.
#[derive(Debug, Clone)]
pub(crate) struct SystemFiles {
    root: PathBuf,
}

impl SystemFiles {
    pub(crate) fn below(root: PathBuf) -> Self {
        Self { root }
    }

    fn place(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(relative) => self.root.join(relative),
            Err(_) => self.root.join(path),
        }
    }
}

impl Files for SystemFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        File::open(self.place(path))?
            .take(VALUE_LIMIT_BYTES)
            .read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<usize> {
        // Truncating means nothing to the kernel's files, and lets a plain file stand in for one.
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.place(path))?;
        file.write(value.as_bytes())
    }

    fn probe_write(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.place(path))
            .map(drop)
    }

    fn owner_may_write(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(self.place(path)).is_ok_and(|file| file.permissions().mode() & 0o200 != 0)
    }

    fn expand(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for name in pattern.split('/').skip(1) {
            found = found
                .iter()
                .flat_map(|folder| self.names(folder, name))
                .take(EXPANSION_LIMIT)
                .collect();
        }
        found.retain(|path| self.place(Path::new(path)).is_file());
        found
    }
}

impl SystemFiles {
    /// `folder/name`, or every entry of the folder that the name covers.
    fn names(&self, folder: &str, name: &str) -> Vec<String> {
        if !name.contains('*') {
            return vec![format!("{folder}/{name}")];
        }
        let entries = fs::read_dir(self.place(Path::new(folder)));
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|entry| name_matches(name, entry))
            .collect();
        // eth2 before eth10.
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
            .into_iter()
            .map(|name| format!("{folder}/{name}"))
            .collect()
    }
}
