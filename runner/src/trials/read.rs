//! Reading a log, as far as it goes.

use super::{Header, Line, SCHEMA, TrialsError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use sysctl_profiles::given::GivenFile;

/// A log of hours has some tens of megabytes.
const LOG_BYTES_MAX: u64 = 2 << 30;
/// A round of many arms has some hundred kilobytes, a round of a day at ten intervals a second 200 MB.
pub(super) const LINE_BYTES_MAX: u64 = 256 << 20;

/// What a log holds.
#[derive(Debug)]
pub struct Trials<T> {
    /// Where it is.
    pub path: PathBuf,
    /// Its first line.
    pub header: Header,
    /// The trials, in order.
    pub trials: Vec<T>,
    /// What its owner said at the end; `None` if it was ended before.
    pub end: Option<Value>,
    /// The line that is not whole, if the last one is not: what was measured last is lost.
    pub torn: Option<u64>,
    /// Bytes up to the end of the last whole line.
    pub(super) whole_bytes: u64,
}

/// The header, if the file is a log.
///
/// # Errors
/// [`TrialsError::NoLog`] where it is something else; what the system answered.
pub fn header_of(path: &Path) -> Result<Header, TrialsError> {
    let mut lines = Lines::open(path)?;
    lines.header()
}

/// Reads a log.
///
/// # Errors
/// A file that is none, that is not a regular one or larger than 2 GiB, or that is damaged elsewhere than at its
/// end.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Trials<T>, TrialsError> {
    let mut lines = Lines::open(path)?;
    let mut found = Trials {
        path: path.to_owned(),
        header: lines.header()?,
        trials: Vec::new(),
        end: None,
        torn: None,
        whole_bytes: lines.bytes,
    };
    // A line that cannot be read is a torn one only where nothing follows it.
    let mut unreadable: Option<(u64, String)> = None;
    while let Some(line) = lines.next()? {
        if let Some((number, why)) = unreadable {
            return Err(lines.damaged(number, why));
        }
        if found.end.is_some() {
            return Err(lines.damaged(lines.number, "something follows the end".to_owned()));
        }
        let whole = line.last() == Some(&b'\n');
        match serde_json::from_slice(&line) {
            Ok(Line::Trial(trial)) if whole => found.trials.push(trial),
            Ok(Line::End(end)) if whole => found.end = Some(end),
            Ok(_) => found.torn = Some(lines.number),
            Err(error) => {
                found.torn = Some(lines.number);
                unreadable = Some((lines.number, error.to_string()));
            }
        }
        if found.torn.is_none() {
            found.whole_bytes = lines.bytes;
        }
    }
    Ok(found)
}

/// The lines of a regular file of bounded size.
struct Lines {
    path: PathBuf,
    reader: BufReader<GivenFile>,
    number: u64,
    bytes: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, TrialsError> {
        let file =
            GivenFile::open(path, LOG_BYTES_MAX).map_err(TrialsError::system("read", path))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
            number: 0,
            bytes: 0,
        })
    }

    /// The next line with its end, if it has one; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Vec<u8>>, TrialsError> {
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(TrialsError::system("read", &self.path))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read as u64;
        if read as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            return Err(self.damaged(self.number, "it is longer than 256 MiB".to_owned()));
        }
        Ok(Some(line))
    }

    fn header(&mut self) -> Result<Header, TrialsError> {
        let no_log = |why: String| TrialsError::NoLog {
            path: self.path.clone(),
            why,
        };
        // Something else may be one line of gigabytes: a header is none.
        let mut start = Vec::new();
        let read = (&mut self.reader)
            .take(HEADER_BYTES_MAX)
            .read_until(b'\n', &mut start)
            .map_err(TrialsError::system("read", &self.path))?;
        let other = || no_log(format!("its first line does not say \"{SCHEMA}\""));
        let header: Value = serde_json::from_slice(&start).map_err(|_| other())?;
        match header.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {}
            Some(newer) if newer.starts_with("linerate.trials/") => {
                return Err(no_log(format!(
                    "its schema is \"{newer}\", and this linerate reads \"{SCHEMA}\": use the linerate that wrote it"
                )));
            }
            _ => return Err(other()),
        }
        self.number = 1;
        self.bytes = read as u64;
        serde_json::from_value(header).map_err(|error| self.damaged(1, error.to_string()))
    }

    fn damaged(&self, line: u64, why: String) -> TrialsError {
        TrialsError::Damaged {
            path: self.path.clone(),
            line,
            why,
        }
    }
}

/// A header holds the plan of every arm of every cell.
const HEADER_BYTES_MAX: u64 = 16 << 20;
