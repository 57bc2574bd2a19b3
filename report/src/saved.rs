//! Reading a saved document of either kind.

use std::io::{Cursor, Read, Seek};

use crate::comparison::{self, Comparison};
use crate::document::{self, Document, LoadError};

/// A document as a file may hold it.
#[derive(Debug, Clone, PartialEq)]
pub enum Saved {
    /// The result of `linerate run`.
    Run(Box<Document>),
    /// The result of `linerate compare`.
    Comparison(Box<Comparison>),
}

/// A document of either kind, to be shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View<'a> {
    /// The result of `linerate run`.
    Run(&'a Document),
    /// The result of `linerate compare`.
    Comparison(&'a Comparison),
}

impl Saved {
    /// What renderers take.
    pub fn view(&self) -> View<'_> {
        match self {
            Saved::Run(document) => View::Run(document),
            Saved::Comparison(comparison) => View::Comparison(comparison),
        }
    }
}

/// No document is longer: three sides of a day, cut every 100 ms, take two thirds of it.
pub const LIMIT_BYTES: u64 = 1 << 30;

/// Reads a result or a comparison. Fields that this build does not know are ignored.
///
/// # Errors
/// If the text is not JSON, names another schema, or does not follow its own.
pub fn load(json: &str) -> Result<Saved, LoadError> {
    load_from(&mut Cursor::new(json))
}

/// The same from a file, which is read from its beginning, twice, and is never whole in memory.
///
/// # Errors
/// As [`load`], and if it cannot be read.
pub fn load_from(mut source: impl Read + Seek) -> Result<Saved, LoadError> {
    let known = [document::SCHEMA, comparison::SCHEMA];
    let source = &mut source;
    match document::expect_schema(source, &known)? {
        document::SCHEMA => Ok(Saved::Run(Box::new(document::parse(
            source,
            document::SCHEMA,
        )?))),
        schema => Ok(Saved::Comparison(Box::new(document::parse(
            source, schema,
        )?))),
    }
}
