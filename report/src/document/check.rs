//! Reading documents, and the rules that types cannot express.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Document, SCHEMA};

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not JSON.
    #[error("this is not a linerate result: it is not JSON ({0})")]
    NotJson(serde_json::Error),
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

/// Reads a document. Fields that this build does not know are ignored.
///
/// # Errors
/// If the text is not JSON, names another schema, or does not follow its own.
pub fn load(json: &str) -> Result<Document, LoadError> {
    expect_schema(json, &[SCHEMA])?;
    parse(json, SCHEMA)
}

/// The schema that `json` names, which must be one of `expected`.
pub(crate) fn expect_schema(
    json: &str,
    expected: &[&'static str],
) -> Result<&'static str, LoadError> {
    let value: Value = serde_json::from_str(json).map_err(LoadError::NotJson)?;
    let found = value
        .get("schema")
        .and_then(Value::as_str)
        .ok_or(LoadError::NoSchema)?;
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
    Err(LoadError::UnknownSchema {
        found,
        expected: quoted,
        writer: value
            .get("linerate_version")
            .and_then(Value::as_str)
            .map(|version| format!(" ({version})"))
            .unwrap_or_default(),
    })
}

/// Reads `json`, which says that it follows `schema`.
pub(crate) fn parse<T: DeserializeOwned>(json: &str, schema: &str) -> Result<T, LoadError> {
    // From the text and not from a tree, so that a complaint names line and column.
    serde_json::from_str(json).map_err(|error| LoadError::Malformed {
        schema: schema.to_owned(),
        error,
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
