//! Saved documents that a user names: regular files of a bounded size, or stdin.

use std::io::{self, Cursor, Read};
use std::path::Path;

use report::document::LoadError;
use report::saved::{LIMIT_BYTES, Saved, load_from};
use sysctl_profiles::given::GivenFile;

/// Enough to see whether a stream begins like a document.
const BEGINNING_BYTES: u64 = 4096;

/// Reads the document of a file.
///
/// # Errors
/// What is not there, is no regular file, is too long, or is no document.
pub fn load(path: &Path) -> Result<Saved, LoadError> {
    load_from(GivenFile::open(path, LIMIT_BYTES)?)
}

/// Reads the document on stdin.
///
/// # Errors
/// What is too long, or is no document.
pub fn load_stdin() -> Result<Saved, LoadError> {
    load_from(Cursor::new(whole(io::stdin().lock(), LIMIT_BYTES)?))
}

/// All of a stream, which can be read once only. What has no end is seen by how it begins, or by its length.
fn whole(stream: impl Read, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut stream = stream.take(limit_bytes + 1);
    let mut bytes = Vec::new();
    stream
        .by_ref()
        .take(BEGINNING_BYTES)
        .read_to_end(&mut bytes)?;
    // What is wrong with it is for the parser to say.
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        stream.read_to_end(&mut bytes)?;
    }
    match bytes.len() as u64 > limit_bytes {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is longer than {limit_bytes} bytes"),
        )),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::whole;
    use std::io::{Read, repeat};

    #[test]
    fn a_stream_without_end_is_not_read_to_it() {
        assert_eq!(whole(&b" {}"[..], 3).unwrap(), b" {}");
        assert!(whole(&b" {} "[..], 3).is_err());
        // Not JSON from its first byte on.
        assert!(whole(repeat(0), u64::MAX - 1).unwrap().len() <= 4096);
        let endless = b"{".chain(repeat(b' '));
        let error = whole(endless, 100_000).unwrap_err().to_string();
        assert_eq!(error, "it is longer than 100000 bytes");
    }
}
