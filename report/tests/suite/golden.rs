//! Statistics against numpy, scipy and statsmodels: `tests/golden/generate.py` wrote the data.

use report::statistics::*;
use serde_json::Value;

fn data() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statistics.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn cases(name: &str) -> Vec<Value> {
    let data = data();
    let cases = data[name].as_array().unwrap().clone();
    assert!(cases.len() >= 4, "{name}");
    cases
}

fn numbers(case: &Value, name: &str) -> Vec<f64> {
    let values = case[name].as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_close(found: f64, case: &Value, name: &str) {
    let expected = case[name].as_f64().unwrap();
    let close = (found - expected).abs() <= 1e-9 * expected.abs().max(1.0);
    assert!(close, "{name}: {found}, expected {expected}");
}

#[test]
fn paired_differences() {
    for case in cases("paired") {
        let differences = numbers(&case, "differences");
        let interval = signed_rank_interval(&differences, 0.95).unwrap();
        assert_close(
            hodges_lehmann(&differences).unwrap(),
            &case,
            "hodges_lehmann",
        );
        assert_close(interval.low, &case, "low");
        assert_close(interval.high, &case, "high");
        assert_close(interval.level, &case, "level");
        assert_close(
            sign_flip_p_value(&differences, 0).unwrap(),
            &case,
            "sign_flip_p",
        );
        // The normal quantile is good to 0.0005.
        let detectable = detectable_difference(&differences, 0.05 / 3.0, 0.01).unwrap();
        let expected = case["detectable"].as_f64().unwrap();
        assert!(
            (detectable / expected - 1.0).abs() < 1e-3,
            "{detectable} {expected}"
        );
    }
}

#[test]
fn unpaired_samples() {
    for case in cases("unpaired") {
        let (first, second) = (numbers(&case, "first"), numbers(&case, "second"));
        let interval = shift_interval(&first, &second, 0.95).unwrap();
        assert_close(shift_estimate(&first, &second).unwrap(), &case, "shift");
        assert_close(interval.low, &case, "low");
        assert_close(interval.high, &case, "high");
        assert_close(interval.level, &case, "level");
        assert_close(rank_sum_p_value(&first, &second).unwrap(), &case, "p");
    }
}

#[test]
fn adjusted_p_values() {
    for case in cases("adjusted") {
        let p_values = numbers(&case, "p_values");
        for (found, name) in [
            (holm(&p_values), "holm"),
            (benjamini_hochberg(&p_values), "benjamini_hochberg"),
        ] {
            for (found, expected) in found.iter().zip(numbers(&case, name)) {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{name} {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn series_of_rates() {
    for case in cases("series") {
        let values = numbers(&case, "values");
        let cut = mser5_truncation(&values);
        assert_eq!(cut as u64, case["truncation"].as_u64().unwrap());
        let drift = steadiness(&values).unwrap();
        let (low, high) = theil_sen_slope_interval(&values[cut..]).unwrap();
        assert_close(theil_sen_slope(&values[cut..]).unwrap(), &case, "slope");
        assert_close(low, &case, "slope_low");
        assert_close(high, &case, "slope_high");
        assert_close(drift.transient_effect, &case, "transient_effect");
        assert_close(drift.slope, &case, "slope_drift");
        assert_close(drift.halves, &case, "halves");
    }
}
