//! Who writes a log: the holder of an exclusive flock(2) on it, which ends with its process at the latest.

use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Takes the lock until it is given back; false if somebody else has it.
pub(super) fn take(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives the lock back. Closing the file is not enough while a child of this process has not come to its exec:
/// the lock is of the open file, which both of them have.
pub(super) fn give_back(file: &File) {
    // The file that is closed now has no other use.
    let _ = flock(file, FlockOperation::Unlock);
}

/// Whether nobody writes the log. What cannot be asked may be in use.
pub(super) fn is_free(path: &Path) -> bool {
    // It may be a FIFO by now, and opening one would wait for its other end.
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let took = |file: &File| {
        let took = take(file);
        give_back(file);
        took
    };
    file.and_then(|file| took(&file)).unwrap_or(false)
}
