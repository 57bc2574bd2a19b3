//! The committed JSON Schema is that of the types, and documents follow it.

use crate::{bless, fixtures};

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    bless::compare("schema/result-1.json", &report::json::schema().unwrap());
    bless::compare(
        "schema/doctor-1.json",
        &report::json::checkup_schema().unwrap(),
    );
}

#[test]
fn documents_follow_the_schema() {
    let schema = serde_json::from_str(&report::json::schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, document) in fixtures::all() {
        let value = fixtures::tree(&document);
        let complaints: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(complaints, [""; 0], "{name}");
    }
}

#[test]
fn the_schema_refuses_what_is_missing_or_wrong() {
    let schema = serde_json::from_str(&report::json::schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let (_, document) = &fixtures::all()[0];
    let good = fixtures::tree(document);
    for (pointer, wrong) in [
        ("/status", serde_json::json!("fine")),
        ("/plan/workload", serde_json::json!(null)),
        ("/rounds/0/window/length_ns", serde_json::json!("10s")),
        (
            "/rounds/0/measured/totals/operations",
            serde_json::json!(-1),
        ),
    ] {
        let mut value = good.clone();
        *value.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&value), "{pointer}");
    }
    let mut value = good;
    value.as_object_mut().unwrap().remove("git_commit");
    assert!(
        !validator.is_valid(&value),
        "a null is written, not left out"
    );
}
