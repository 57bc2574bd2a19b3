//! The files behind the keys. Behind a trait, so that tests can script what a kernel does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// More than any value that can be written: a longer one is an error, never a part of it.
const VALUE_LIMIT_BYTES: usize = 64 * 1024;
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

/// The whole value of a file of `/proc/sys` or `/sys`.
///
/// The first read(2) must have room for all of it: numbers, vectors and lists of ports answer a second one
/// with the end of the file (proc_dointvec(), proc_do_large_bitmap(): `*ppos && !write`), so that what did
/// not fit is lost without an error. `read_to_string` begins with 32 bytes.
///
/// # Errors
/// What the system answers, and a value that is longer than any should be or no text.
pub(crate) fn read_value(reader: &mut impl Read) -> io::Result<String> {
    let mut bytes = vec![0; VALUE_LIMIT_BYTES];
    let mut length = 0;
    loop {
        match reader.read(&mut bytes[length..]) {
            Ok(0) if length == bytes.len() => {
                let why = format!("its value is longer than {VALUE_LIMIT_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
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
        read_value(&mut File::open(self.place(path))?)
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

/// Whether `name` is of the form of `pattern`, which has at most one `*`.
pub(crate) fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => {
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives as much as fits in the first read, and then nothing, as sysctls do.
    struct OnlyOnce<'a>(&'a [u8]);

    impl Read for OnlyOnce<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let fits = self.0.len().min(buffer.len());
            buffer[..fits].copy_from_slice(&self.0[..fits]);
            self.0 = &[];
            Ok(fits)
        }
    }

    #[test]
    fn a_value_is_read_at_once_and_whole() {
        let ports = "8080,9000-9100,".repeat(250);
        let read = read_value(&mut OnlyOnce(ports.as_bytes())).expect("it is text");
        assert_eq!(read, ports);
        assert_eq!(read_value(&mut OnlyOnce(b"")).expect("it is text"), "");
    }

    #[test]
    fn a_part_of_a_value_is_an_error() {
        let long = vec![b'1'; VALUE_LIMIT_BYTES + 1];
        let error = read_value(&mut OnlyOnce(&long)).expect_err("it is too long");
        assert!(error.to_string().contains("longer than"), "{error}");
        assert!(read_value(&mut OnlyOnce(&[0xff, 0xfe])).is_err());
    }
}
