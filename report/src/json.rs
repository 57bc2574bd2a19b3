//! The document as JSON: the only serialised form, from which every other can be made again.

use schemars::JsonSchema;
use serde::Serialize;

use crate::document::Document;
use crate::foreign;

/// The document, of whatever kind, as indented JSON, ending in a newline.
///
/// # Errors
/// None for a document built from its types, whose keys are strings and whose numbers are finite;
/// passed on rather than hidden.
pub fn render<T: Serialize>(document: &T) -> Result<String, serde_json::Error> {
    let mut text = foreign::in_json(serde_json::to_string_pretty(document)?);
    text.push('\n');
    Ok(text)
}

/// The document as a tree of JSON values, for what walks it without knowing its types.
///
/// By way of the text, so that the document's types are compiled for one kind of serialiser only.
pub(crate) fn tree<T: Serialize>(document: &T) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(&serde_json::to_string(document)?)
}

/// The JSON Schema of [`Document`], indented, ending in a newline. `schema/result-1.json` is this.
///
/// # Errors
/// As [`render`].
pub fn schema() -> Result<String, serde_json::Error> {
    schema_of::<Document>()
}

/// The JSON Schema of [`Checkup`](crate::checkup::Checkup). `schema/doctor-1.json` is this.
///
/// # Errors
/// As [`render`].
pub fn checkup_schema() -> Result<String, serde_json::Error> {
    schema_of::<crate::checkup::Checkup>()
}

/// The JSON Schema of [`Comparison`](crate::comparison::Comparison). `schema/comparison-1.json` is
/// this.
///
/// # Errors
/// As [`render`].
pub fn comparison_schema() -> Result<String, serde_json::Error> {
    schema_of::<crate::comparison::Comparison>()
}

fn schema_of<T: JsonSchema>() -> Result<String, serde_json::Error> {
    // What is written, and not the least that can be read: a null is always there to be seen.
    let generator = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let schema = generator.into_root_schema_for::<T>();
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}
