//! Reading a saved document of either kind.

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

/// Reads a result or a comparison. Fields that this build does not know are ignored.
///
/// # Errors
/// If the text is not JSON, names another schema, or does not follow its own.
pub fn load(json: &str) -> Result<Saved, LoadError> {
    let known = [document::SCHEMA, comparison::SCHEMA];
    match document::expect_schema(json, &known)? {
        document::SCHEMA => Ok(Saved::Run(Box::new(document::parse(
            json,
            document::SCHEMA,
        )?))),
        schema => Ok(Saved::Comparison(Box::new(document::parse(json, schema)?))),
    }
}
