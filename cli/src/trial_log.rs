//! Where `run` and `compare` keep their trial logs, and what they say of them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use runner::trials::{LogPath, TrialsError, beside};

use crate::args::run_groups::OutputArgs;
use crate::problem::Problem;

/// The place of the log: beside the result, or where state is kept if the result is no regular file.
///
/// # Errors
/// When there is no such place.
pub fn output_log(output: &OutputArgs) -> Result<LogPath, TrialsError> {
    let is_file = |path: &&PathBuf| {
        path.as_os_str() != "-" && path.metadata().map_or(true, |metadata| metadata.is_file())
    };
    match output.output.as_ref().filter(is_file) {
        Some(path) => Ok(beside(path)),
        None => LogPath::of_state(),
    }
}

/// What becomes of a log that cannot be begun. Beside a result that the user named it is an error; in the directory
/// for state, which nobody asked for, it is said, and measured without.
///
/// # Errors
/// The former.
pub fn refused(place: &LogPath, error: TrialsError) -> Result<String, Problem> {
    match place {
        LogPath::Beside(_) => Err(Problem::usage(error.to_string())
            .with_cure("end what writes it, or give the result another name with --output")),
        LogPath::Directory(_) => Ok(without(error)),
    }
}

/// It is measured without a log.
pub fn without(error: TrialsError) -> String {
    format!("finished rounds are not kept: {error}; with --output FILE they are, beside it")
}

/// Where rounds are kept.
pub fn kept(path: &Path) -> String {
    format!("finished rounds are kept in {}", path.display())
}

/// Nanoseconds since 1970-01-01 UTC.
pub fn now_unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or_default()
}
