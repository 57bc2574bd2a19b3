//! Questions to a JSON document, whose answers must be there.

use serde_json::Value;

/// The committed schema of results.
pub const RESULT: &str = include_str!("../../../report/schema/result-1.json");
/// The committed schema of comparisons.
pub const COMPARISON: &str = include_str!("../../../report/schema/comparison-1.json");
/// The committed schema of what `doctor` says.
pub const CHECKUP: &str = include_str!("../../../report/schema/doctor-1.json");

/// Asserts that a document follows a schema.
pub fn validate(document: &Value, schema: &str) {
    let schema = serde_json::from_str(schema).expect("the committed schema");
    let validator = jsonschema::validator_for(&schema).expect("the committed schema");
    let complaints: Vec<_> = validator
        .iter_errors(document)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The number at a place.
pub fn number(document: &Value, pointer: &str) -> f64 {
    let value = document.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number at {pointer}: {document:#}"))
}

/// The whole number at a place.
pub fn whole(document: &Value, pointer: &str) -> u64 {
    let value = document.pointer(pointer).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no whole number at {pointer}: {document:#}"))
}
