//! Reading documents back.

use report::document::{ErrorKind, LoadError, load, unexplained_nulls};

use crate::{bless, fixtures};

#[test]
fn a_document_survives_json() {
    for (name, document) in fixtures::all() {
        let json = report::json::render(&document).unwrap();
        assert_eq!(load(&json).unwrap(), document, "{name}");
        bless::compare(&format!("tests/fixtures/{name}.json"), &json);
    }
}

#[test]
fn every_null_has_its_reason() {
    for (name, document) in fixtures::all() {
        assert_eq!(unexplained_nulls(&document), [""; 0], "{name}");
    }
}

#[test]
fn a_null_without_a_reason_is_found_and_a_reason_without_a_null_too() {
    let (_, mut document) = fixtures::all().remove(0);
    document.hosts[0]
        .unknown
        .retain(|entry| entry.field != "governor");
    assert_eq!(
        unexplained_nulls(&document),
        ["/hosts/0/governor: null without a reason"]
    );
    document.hosts[0].governor = Some("performance".to_owned());
    document.hosts[0]
        .unknown
        .push(report::document::Unknown::new("governor", "lost"));
    assert_eq!(
        unexplained_nulls(&document),
        ["/hosts/0/governor: a reason, but it is not null"]
    );
}

#[test]
fn fields_of_the_future_are_ignored() {
    let (_, document) = fixtures::all().remove(0);
    let mut value = fixtures::tree(&document);
    add_fields(&mut value);
    value["rounds"][0]["load"][0]["measured"]["errors"] =
        serde_json::json!([{"kind": "quic_refused", "count": 2, "text": null}]);
    let found = load(&value.to_string()).unwrap();
    assert_eq!(found.rounds[0].rates, document.rounds[0].rates);
    let error = &found.rounds[0].load[0].measured.errors[0];
    assert_eq!((error.kind, error.count), (ErrorKind::Other, 2));
}

/// Adds a field to every object that is not a map of names to values.
fn add_fields(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, item) in fields.iter_mut() {
                let map = [
                    "mitigations",
                    "sysctls",
                    "facts",
                    "missing",
                    "features",
                    "engine_counters",
                ];
                let other_map = ["kernel_counters", "socket_options", "metrics"];
                if !map.contains(&name.as_str()) && !other_map.contains(&name.as_str()) {
                    add_fields(item);
                }
            }
            fields.insert("of_the_future".to_owned(), serde_json::json!({"a": [1]}));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(add_fields),
        _ => {}
    }
}

#[test]
fn what_is_no_result_of_ours_is_refused_with_the_cure() {
    let message = |json: &str| load(json).unwrap_err().to_string();
    assert!(message("rate: 5").starts_with("this is not a linerate result: it is not JSON"));
    assert_eq!(
        message("{\"start\": {}}"),
        "this is not a linerate result: it has no \"schema\" \
         (a result says \"schema\": \"linerate.result/1\")"
    );
    assert_eq!(
        message("{\"schema\": \"linerate.result/2\", \"linerate_version\": \"3.1.0\"}"),
        "the result has schema \"linerate.result/2\", and this linerate reads \
         \"linerate.result/1\": use the linerate that wrote it (3.1.0), or a newer one"
    );
    let truncated = load("{\"schema\": \"linerate.result/1\"}").unwrap_err();
    assert!(matches!(truncated, LoadError::Malformed { .. }));
    assert!(
        truncated.to_string().contains("missing field"),
        "{truncated}"
    );
}

#[test]
fn no_number_can_be_nan_or_infinite() {
    use report::document::Finite;
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Finite::new(value), None);
    }
    assert_eq!(Finite::ratio(1.0, 0.0), None);
    assert!(serde_json::from_str::<Finite>("1e999").is_err());
    assert!(serde_json::from_str::<Finite>("null").is_err());
}
