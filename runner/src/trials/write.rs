//! Writing a log: a line at a time, each on disk before the next trial begins.

use super::lock;
use super::log_path::LogPath;
use super::read::LINE_BYTES_MAX;
use super::{Header, Line, Trials, TrialsError};
use serde::Serialize;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log that is being written, and locked as long as it is.
#[derive(Debug)]
pub struct TrialLog {
    path: PathBuf,
    file: File,
}

impl TrialLog {
    /// Begins a log with its header.
    ///
    /// # Errors
    /// What the system answered, or that somebody else writes there.
    pub fn create(place: &LogPath, header: &Header) -> Result<Self, TrialsError> {
        let path = place.ready(header)?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(place.mode())
            .open(&path)
            .map_err(TrialsError::system("create", &path))?;
        let mut log = Self { path, file };
        log.lock()?;
        log.line(header)?;
        log.sync_name();
        Ok(log)
    }

    /// Goes on with a log that was read, behind its last whole line.
    ///
    /// # Errors
    /// What the system answered, that somebody else writes it, or that it has grown since.
    pub fn resume<T>(trials: &Trials<T>) -> Result<Self, TrialsError> {
        let path = &trials.path;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(TrialsError::system("go on with", path))?;
        let log = Self {
            path: path.clone(),
            file,
        };
        log.lock()?;
        let length = log.file.metadata().map(|metadata| metadata.len());
        let length = length.map_err(TrialsError::system("go on with", path))?;
        if length != trials.whole_bytes {
            // A torn line would make one with the next.
            log.file
                .set_len(trials.whole_bytes)
                .map_err(TrialsError::system("cut the torn line of", path))?;
        }
        Ok(log)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a trial. It is on disk when this returns.
    ///
    /// # Errors
    /// What the system answered: the trial is not in the log, and at most a torn line of it.
    pub fn append<T: Serialize>(&mut self, trial: &T) -> Result<(), TrialsError> {
        self.line(&Line::Trial(trial))
    }

    /// Everything planned has been measured; `what` the owner has to say about that.
    ///
    /// # Errors
    /// As [`TrialLog::append`].
    pub fn end(mut self, what: &impl Serialize) -> Result<(), TrialsError> {
        let what = serde_json::to_value(what).map_err(TrialsError::Unwritable)?;
        self.line(&Line::<Value>::End(what))
    }

    /// What a child of this process has of it until its exec.
    #[cfg(test)]
    pub(crate) fn of_a_child(&self) -> File {
        self.file.try_clone().unwrap()
    }

    /// Writes into another file from now on, such as one that takes nothing.
    #[cfg(test)]
    pub(crate) fn write_to(&mut self, file: File) {
        self.file = file;
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), TrialsError> {
        let mut bytes = serde_json::to_vec(line).map_err(TrialsError::Unwritable)?;
        bytes.push(b'\n');
        if bytes.len() as u64 > LINE_BYTES_MAX {
            return Err(TrialsError::TooLong { bytes: bytes.len() });
        }
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(TrialsError::system("write", &self.path))
    }

    fn lock(&self) -> Result<(), TrialsError> {
        match lock::take(&self.file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TrialsError::InUse {
                path: self.path.clone(),
            }),
            Err(error) => Err(TrialsError::system("lock", &self.path)(error)),
        }
    }

    /// The name of a new file is in its directory, which has to reach the disk too. Not every file system can
    /// be asked for that, and none of them loses more than the name by a power failure.
    fn sync_name(&self) {
        let directory = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        if let Ok(directory) = File::open(directory.unwrap_or(Path::new("."))) {
            let _ = directory.sync_all();
        }
    }
}

impl Drop for TrialLog {
    fn drop(&mut self) {
        lock::give_back(&self.file);
    }
}
