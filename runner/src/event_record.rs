//! The file of an event record: begun before the run, and appended to by every load agent.

use crate::boot::boot_id;
use engine::clock::now_ns;
use report::event_record::{FileHeader, file_header_bytes};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file that has its header, and to which agents of this host append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFile {
    /// Where it is, from the root.
    pub(crate) path: PathBuf,
    /// Names the run in it.
    pub(crate) run: u64,
}

/// One load agent's part of an event record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecordTask {
    /// Where it writes.
    pub file: EventFile,
    /// The round, from 1.
    pub round: u32,
}

impl EventFile {
    /// Makes the file, or empties one that is there, and writes its header.
    ///
    /// # Errors
    /// What the system answers; a name that is none of a regular file.
    pub fn create(path: &Path) -> io::Result<Self> {
        // Opened, a pipe would wait for somebody who reads.
        if path.exists() && !path.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        let mut file = File::create(path)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let header = FileHeader {
            boot_id: boot_id()
                .and_then(|text| bytes_of(&text))
                .unwrap_or([0; 16]),
            unix_ns: since_1970.unwrap_or_default().as_nanos() as u64,
            monotonic_ns: now_ns(),
        };
        file.write_all(&file_header_bytes(&header))?;
        let path = std::fs::canonicalize(path)?;
        // An agent is told in JSON.
        if path.to_str().is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "its path is no UTF-8",
            ));
        }
        Ok(Self {
            path,
            run: header.unix_ns,
        })
    }
}

/// The bytes of a UUID in its usual form.
fn bytes_of(uuid: &str) -> Option<[u8; 16]> {
    let digits: Option<Vec<u8>> = uuid
        .chars()
        .filter(|character| *character != '-')
        .map(|character| character.to_digit(16).map(|digit| digit as u8))
        .collect();
    let pairs: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    pairs.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::event_record::Recording;

    #[test]
    fn a_uuid_has_sixteen_bytes() {
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        let bytes = bytes_of(uuid).unwrap();
        assert_eq!(bytes[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(bytes[15], 0xef);
        assert_eq!(bytes_of("none"), None);
        assert_eq!(bytes_of("0123"), None);
    }

    #[test]
    fn a_file_begins_anew_and_what_is_no_file_is_refused() {
        let name = format!("linerate-event-file-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "what was there").unwrap();
        let made = EventFile::create(&path).unwrap();
        let recording = Recording::open(File::open(&path).unwrap()).unwrap();
        assert_eq!(recording.header().unix_ns, made.run);
        assert!(recording.flaws().are_none() && recording.events_count() == 0);
        std::fs::remove_file(&path).unwrap();
        for other in ["/dev/null", "/tmp"] {
            let error = EventFile::create(Path::new(other)).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
        assert!(EventFile::create(Path::new("/nowhere/at/all")).is_err());
    }
}
