//! Who writes a log: the holder of an exclusive flock(2) on it, which ends with its process.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::Path;

/// Takes the lock for as long as the file is open; false if somebody else has it.
pub(super) fn take(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether nobody writes the log. What cannot be asked may be in use.
pub(super) fn is_free(path: &Path) -> bool {
    let file = File::open(path);
    file.and_then(|file| take(&file)).unwrap_or(false)
}
