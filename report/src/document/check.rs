//! Reading documents, and the rules that types cannot express.

use std::io::{self, BufReader, Cursor, Read, Seek};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;

use super::{Document, SCHEMA};

/// Few system calls for a long file, and next to no memory.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not JSON.
    #[error("this is not a linerate result: it is not JSON ({0})")]
    NotJson(serde_json::Error),
    /// The system did not give it.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// JSON of something else.
    #[error(
        "this is not a linerate result: it has no \"schema\" (a result says \"schema\": \"{SCHEMA}\")"
    )]
    NoSchema,
    /// A document of linerate, but of another kind.
    #[error("this is not a result: its schema is \"{found}\", and results have {expected}")]
    OtherKind {
        /// The schema that the document names.
        found: String,
        /// The schemas that would have been read here, in quotes.
        expected: String,
    },
    /// A result of a version that this build does not know.
    #[error(
        "the result has schema \"{found}\", and this linerate reads {expected}: \
         use the linerate that wrote it{writer}, or a newer one"
    )]
    UnknownSchema {
        /// The schema that the document names.
        found: String,
        /// The schemas that would have been read here, in quotes.
        expected: String,
        /// ` (version)` of the writer if the document says so.
        writer: String,
    },
    /// The right schema, but not what it demands.
    #[error("the result says \"schema\": \"{schema}\" but does not follow it: {error}")]
    Malformed {
        /// The schema that the document names.
        schema: String,
        /// What the reader of JSON says, with line and column.
        error: serde_json::Error,
    },
}

/// Something that a document is read from, twice: once for its schema, and once for all of it. Large documents are
/// never whole in memory beside what they say.
pub(crate) trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// Reads a document. Fields that this build does not know are ignored.
///
/// # Errors
/// If the text is not JSON, names another schema, or does not follow its own.
pub fn load(json: &str) -> Result<Document, LoadError> {
    let mut source = Cursor::new(json);
    expect_schema(&mut source, &[SCHEMA])?;
    parse(&mut source, SCHEMA)
}

/// What says what a document is; the rest is passed over.
#[derive(Deserialize)]
struct Head {
    schema: Option<Value>,
    linerate_version: Option<Value>,
}

/// The schema that a document names, which must be one of `expected`.
pub(crate) fn expect_schema(
    source: &mut dyn Source,
    expected: &[&'static str],
) -> Result<&'static str, LoadError> {
    let head: Head = read(source, |error| match error.classify() {
        // JSON, but no object.
        Category::Data => LoadError::NoSchema,
        _ => LoadError::NotJson(error),
    })?;
    let found = head.schema.as_ref().and_then(Value::as_str);
    let found = found.ok_or(LoadError::NoSchema)?;
    if let Some(known) = expected.iter().find(|known| **known == found) {
        return Ok(known);
    }
    let quoted: Vec<String> = expected.iter().map(|name| format!("\"{name}\"")).collect();
    let (found, quoted) = (found.to_owned(), quoted.join(" and "));
    let kind = |schema: &str| schema.split('/').next().map(str::to_owned);
    if expected.iter().all(|known| kind(known) != kind(&found)) {
        return Err(LoadError::OtherKind {
            found,
            expected: quoted,
        });
    }
    let version = head.linerate_version.as_ref().and_then(Value::as_str);
    Err(LoadError::UnknownSchema {
        found,
        expected: quoted,
        writer: version.map_or_else(String::new, |version| format!(" ({version})")),
    })
}

/// Reads a document that says that it follows `schema`.
pub(crate) fn parse<T: DeserializeOwned>(
    source: &mut dyn Source,
    schema: &str,
) -> Result<T, LoadError> {
    // From the text and not from a tree, so that a complaint names line and column.
    read(source, |error| LoadError::Malformed {
        schema: schema.to_owned(),
        error,
    })
}

/// Reads JSON from the beginning.
fn read<T: DeserializeOwned>(
    source: &mut dyn Source,
    wrong: impl FnOnce(serde_json::Error) -> LoadError,
) -> Result<T, LoadError> {
    source.rewind()?;
    serde_json::from_reader(BufReader::with_capacity(BUFFER_BYTES, source)).map_err(|error| {
        match error.classify() {
            Category::Io => LoadError::Unreadable(error.into()),
            _ => wrong(error),
        }
    })
}

/// JSON pointers of nulls that lack a reason, and of reasons that lack a null.
///
/// Empty for a document that keeps the rule stated in the [module](super).
pub fn unexplained_nulls<T: Serialize>(document: &T) -> Vec<String> {
    let mut found = Vec::new();
    match crate::json::tree(document) {
        Ok(value) => visit(&value, "", &mut found),
        Err(error) => found.push(format!("the document cannot be written: {error}")),
    }
    found
}

fn visit(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            if let Some(Value::Array(unknown)) = fields.get("unknown") {
                compare(fields, unknown, pointer, found);
            }
            for (name, item) in fields {
                visit(item, &format!("{pointer}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn compare(
    fields: &serde_json::Map<String, Value>,
    unknown: &[Value],
    pointer: &str,
    found: &mut Vec<String>,
) {
    let named: Vec<&str> = unknown
        .iter()
        .filter_map(|entry| entry.get("field")?.as_str())
        .collect();
    for (name, item) in fields {
        if item.is_null() && !named.contains(&name.as_str()) {
            found.push(format!("{pointer}/{name}: null without a reason"));
        }
    }
    for name in named {
        if fields.get(name).is_none_or(|item| !item.is_null()) {
            found.push(format!("{pointer}/{name}: a reason, but it is not null"));
        }
    }
}
