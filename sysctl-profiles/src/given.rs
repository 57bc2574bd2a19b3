//! Files that a user names: profiles, plans, configurations, saved documents. Whoever named them may have been
//! told to by another, and linerate often runs as root.
//!
//! Only regular files of a bounded size are read: a FIFO would be waited for, a device has no end. What a parser
//! says of them is told without what is in them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// What a text that people write may be long: profiles, plans, configurations.
pub const TEXT_LIMIT_BYTES: u64 = 1024 * 1024;

/// A regular file that gives no more than it may.
#[derive(Debug)]
pub struct GivenFile {
    file: File,
    limit_bytes: u64,
    at: u64,
}

impl GivenFile {
    /// Opens a regular file of at most `limit_bytes`.
    ///
    /// # Errors
    /// What the system answers, what it is instead of a regular file, and how long it is.
    pub fn open(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        // Looked at first: opening alone can do something to a device.
        check_kind(&path.metadata()?)?;
        // And again what was opened, which may be another by now; without waiting for the other end of a FIFO.
        let file = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        let metadata = file.metadata()?;
        check_kind(&metadata)?;
        if metadata.len() > limit_bytes {
            return Err(too_long(limit_bytes));
        }
        Ok(Self {
            file,
            limit_bytes,
            at: 0,
        })
    }
}

/// The whole text of a regular file of at most `limit_bytes`.
///
/// # Errors
/// As [`GivenFile::open`]; what is no UTF-8.
pub fn read(path: &Path, limit_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    GivenFile::open(path, limit_bytes)?.read_to_string(&mut text)?;
    Ok(text)
}

impl Read for GivenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.at += read as u64;
        // It may grow, and files of /proc say that they are empty.
        if self.at > self.limit_bytes {
            return Err(too_long(self.limit_bytes));
        }
        Ok(read)
    }
}

impl Seek for GivenFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

fn check_kind(metadata: &std::fs::Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let found = match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something else",
    };
    let why = format!("it is {found} and no regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

fn too_long(limit_bytes: u64) -> io::Error {
    let why = format!("it is longer than {limit_bytes} bytes");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What is wrong with a TOML text, and in which line, on one line of its own: the text may be of a file that
/// is none of the reader's business.
#[must_use]
pub fn toml_error(text: &str, error: &toml::de::Error) -> String {
    let message = without_value(error.message()).replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            format!("line {}: {message}", before.matches('\n').count() + 1)
        }
        None => message,
    }
}

/// serde's message without the text that was found where something else was expected
/// (`serde::de::Unexpected::Str`, with the quotes and escapes of `{:?}`).
fn without_value(message: &str) -> String {
    let Some((before, rest)) = message.split_once(": string \"") else {
        return message.to_owned();
    };
    let mut is_escaped = false;
    let end = rest.char_indices().find_map(|(at, character)| {
        let ends = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends.then_some(at + 1)
    });
    let after = end.and_then(|end| rest.get(end..)).unwrap_or_default();
    format!("{before}: a text{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of its own for each test, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("linerate-given-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_has_no_end_or_is_waited_for_is_not_read() {
        let folder = Folder::new();
        let fifo = folder.0.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for (path, part) in [
            (fifo.as_path(), "a pipe and no regular file"),
            (Path::new("/dev/zero"), "a device and no regular file"),
            (folder.0.as_path(), "a directory and no regular file"),
        ] {
            let error = read(path, TEXT_LIMIT_BYTES).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = Folder::new();
        let path = folder.0.join("text");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), "12345");
        let error = read(&path, 4).unwrap_err().to_string();
        assert_eq!(error, "it is longer than 4 bytes");
        // It says that it has no bytes, and has some.
        if cfg!(target_os = "linux") {
            assert!(read(Path::new("/proc/self/status"), 16).is_err());
            assert!(read(Path::new("/proc/self/status"), 65_536).is_ok());
        }
    }

    #[test]
    fn what_was_found_stays_untold() {
        assert_eq!(
            without_value(r#"invalid type: string "se\"cret", expected a map"#),
            "invalid type: a text, expected a map"
        );
        assert_eq!(
            without_value("unknown field `x`, expected `y`"),
            "unknown field `x`, expected `y`"
        );
    }
}
