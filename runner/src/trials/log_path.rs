//! Where logs are: beside the result, or among the newest of a directory for state.

use super::lock::is_free;
use super::{Header, Kind, TrialsError, header_of};
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Logs that the directory for state keeps, the newest ones ...
const KEPT: usize = 20;
/// ... and no more than this of them all together.
const KEPT_BYTES: u64 = 1 << 30;
const EXTENSION: &str = "trials.jsonl";

/// Where a log is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPath {
    /// This file. One that is there already is replaced if it came to its end, and else put aside.
    Beside(PathBuf),
    /// A file of its own in this directory, of which the newest are kept.
    Directory(PathBuf),
}

/// The place beside a result: `x.trials.jsonl` for `x.json`.
pub fn beside(result: &Path) -> LogPath {
    LogPath::Beside(result.with_extension(EXTENSION))
}

impl LogPath {
    /// The directory for state, `linerate/trials` in `$XDG_STATE_HOME` or `~/.local/state` (XDG Base Directory
    /// Specification 0.8).
    ///
    /// # Errors
    /// When the environment names neither.
    pub fn of_state() -> Result<Self, TrialsError> {
        let variable = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let state = variable("XDG_STATE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
            .ok_or(TrialsError::NoStateDirectory)?;
        Ok(Self::Directory(state.join("linerate/trials")))
    }

    /// Makes room for a new log, and names it.
    pub(super) fn ready(&self, header: &Header) -> Result<PathBuf, TrialsError> {
        match self {
            Self::Beside(path) => {
                put_aside(path)?;
                Ok(path.clone())
            }
            Self::Directory(directory) => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(directory)
                    .map_err(TrialsError::system("create", directory))?;
                // One more is about to come.
                clear(directory, KEPT - 1, KEPT_BYTES);
                Ok(directory.join(name(header.kind, header.started_at_unix_ns)))
            }
        }
    }

    /// Who may read it: beside a result whoever may read that; a command line is nobody else's business.
    pub(super) fn mode(&self) -> u32 {
        match self {
            Self::Beside(_) => 0o666,
            Self::Directory(_) => 0o600,
        }
    }
}

/// `compare-2026-11-27T08-30-00Z-4711.trials.jsonl`.
fn name(kind: Kind, started_unix_ns: u64) -> String {
    let instant = instant(started_unix_ns);
    let kind = kind.name();
    format!("{kind}-{instant}-{}.{EXTENSION}", std::process::id())
}

/// An instant as names of files can have it, by the second.
fn instant(unix_ns: u64) -> String {
    let seconds_only = unix_ns / 1_000_000_000 * 1_000_000_000;
    let text = report::rfc3339(seconds_only);
    let (date, _) = text.split_once('.').unwrap_or((&text, ""));
    format!("{}Z", date.trim_end_matches('Z').replace(':', "-"))
}

/// What stands where a log is to be: a log that came to its end goes, one that did not is kept under another name,
/// and what is no log is nobody's to touch.
fn put_aside(path: &Path) -> Result<(), TrialsError> {
    if !path.exists() {
        return Ok(());
    }
    let header = header_of(path)?;
    if !is_free(path) {
        return Err(TrialsError::InUse {
            path: path.to_owned(),
        });
    }
    if has_ended(path) {
        return fs::remove_file(path).map_err(TrialsError::system("replace", path));
    }
    fs::rename(path, aside(path, &header)).map_err(TrialsError::system("put aside", path))
}

/// `x.2026-11-27T08-30-00Z.trials.jsonl` for `x.trials.jsonl`.
fn aside(path: &Path, header: &Header) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(EXTENSION).unwrap_or(&name);
    let stem = stem.trim_end_matches('.');
    path.with_file_name(format!(
        "{stem}.{}.{EXTENSION}",
        instant(header.started_at_unix_ns)
    ))
}

/// Whether the last line of a log says so. It is short.
fn has_ended(path: &Path) -> bool {
    const TAIL: u64 = 64 << 10;
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let Ok(tail) = tail() else { return false };
    let Some(lines) = tail.strip_suffix(b"\n") else {
        return false;
    };
    let last = lines.rsplit(|byte| *byte == b'\n').next();
    last.is_some_and(|line| line.starts_with(b"{\"end\":"))
}

/// Removes the oldest logs of a directory until so many and so much are left. One that is being written stays, and so
/// does everything that is not named like a log; what cannot be removed is no reason not to measure.
fn clear(directory: &Path, most: usize, most_bytes: u64) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut logs: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_log = entry.file_name().to_string_lossy().ends_with(EXTENSION);
            let metadata = entry.metadata().ok()?;
            let path = (is_log && metadata.is_file()).then(|| entry.path())?;
            Some((metadata.modified().ok()?, metadata.len(), path))
        })
        .collect();
    logs.sort_by(|a, b| b.cmp(a));
    let (mut count, mut bytes) = (0, 0);
    for (_, length, path) in logs {
        count += 1;
        bytes += length;
        if (count > most || bytes > most_bytes) && is_free(&path) {
            let _ = fs::remove_file(path);
        }
    }
}
