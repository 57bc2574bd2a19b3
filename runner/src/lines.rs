//! Messages as lines: one JSON object each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, Read, Write};

/// The longest line that is read. A result with all its histograms has some 100 KiB; a series of a
/// million intervals some 200 MiB.
pub const LINE_BYTES_MAX: u64 = 512 << 20;

/// Writes one message as a line and flushes it.
///
/// # Errors
/// When the other end is gone.
pub fn write_line(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line)?;
    writer.flush()
}

/// One line as it was read.
#[derive(Debug)]
pub enum Line<T> {
    /// A message.
    Message(T),
    /// Something else: the line, shortened, and what is wrong with it.
    Other {
        /// The beginning of the line.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// The other end has closed.
    End,
}

/// Reads the next line. Empty lines are skipped.
///
/// # Errors
/// When reading fails, or when a line is longer than [`LINE_BYTES_MAX`].
pub fn read_line<T: DeserializeOwned>(
    reader: &mut impl BufRead,
    buffer: &mut Vec<u8>,
) -> io::Result<Line<T>> {
    loop {
        buffer.clear();
        let read = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', buffer)?;
        if read == 0 {
            return Ok(Line::End);
        }
        if read as u64 == LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
        let line = buffer.trim_ascii();
        if line.is_empty() {
            continue;
        }
        return Ok(match serde_json::from_slice(line) {
            Ok(message) => Line::Message(message),
            Err(error) => Line::Other {
                text: String::from_utf8_lossy(line).chars().take(200).collect(),
                why: error.to_string(),
            },
        });
    }
}
