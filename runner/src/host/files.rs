//! Small text files of the kernel, read whole, and the reason when they are not there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The reason that a reader of Linux files gives on other systems.
pub const NOT_ON_THIS_SYSTEM: &str = "not available on this system";

/// No file read here is near this size; `/proc/stat` of a large machine has some 100 KiB.
const FILE_LIMIT_BYTES: u64 = 8 * 1024 * 1024;

/// The text of `path` without the last line end, or why it cannot be had.
pub fn text(path: impl AsRef<Path>) -> Result<String, String> {
    let mut buffer = String::new();
    read_into(path.as_ref(), &mut buffer)?;
    buffer.truncate(buffer.trim_end().len());
    Ok(buffer)
}

/// The text of `path` as a number.
pub fn number<T: std::str::FromStr>(path: impl AsRef<Path>) -> Result<T, String> {
    let path = path.as_ref();
    let text = text(path)?;
    text.parse().map_err(|_| {
        format!(
            "{} holds `{text}`, which is not the number expected",
            path.display()
        )
    })
}

/// Reads `path` into `buffer`, whose memory is used again.
pub fn read_into(path: &Path, buffer: &mut String) -> Result<(), String> {
    buffer.clear();
    let mut bytes = std::mem::take(buffer).into_bytes();
    let outcome = read_bytes_into(path, &mut bytes);
    // Kernel texts are ASCII; a device name may be anything, and must not cost the whole file.
    *buffer = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    outcome
}

/// Reads a binary file such as `/proc/self/auxv`.
pub fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    read_bytes_into(path, &mut bytes)?;
    Ok(bytes)
}

fn read_bytes_into(path: &Path, bytes: &mut Vec<u8>) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err(NOT_ON_THIS_SYSTEM.to_owned());
    }
    let read = File::open(path).and_then(|file| file.take(FILE_LIMIT_BYTES).read_to_end(bytes));
    read.map(|_| ()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("no {} here", path.display()),
        _ => format!("reading {}: {error}", path.display()),
    })
}
