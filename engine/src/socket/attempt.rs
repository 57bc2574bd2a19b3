//! Errors that say what was attempted.

use std::io;

/// Puts the attempt into the error's text and keeps its errno readable through [`errno_of`].
pub(super) fn attempt<T>(what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        io::Error::new(
            error.kind(),
            Attempt {
                what: what.to_owned(),
                errno,
                text: error.to_string(),
            },
        )
    })
}

pub(super) fn unsupported(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{what} does not exist on this system"),
    )
}

#[derive(Debug)]
struct Attempt {
    what: String,
    errno: i32,
    text: String,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.text)
    }
}

impl std::error::Error for Attempt {}

/// The errno behind an error from this module's parent; 0 if there is none.
pub fn errno_of(error: &io::Error) -> i32 {
    error
        .raw_os_error()
        .or_else(|| {
            error
                .get_ref()?
                .downcast_ref::<Attempt>()
                .map(|attempt| attempt.errno)
        })
        .unwrap_or(0)
}
