//! What every part of a plan is checked with: numbers by their range, options by what excludes them. A
//! refusal names the option, and says what to write instead.

use super::PlanError;
use report::units::{human_bytes, human_duration_ns};

/// 1 GiB: the pattern of one message lies in memory.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;
const DURATION_MAX_NS: u64 = 7 * 24 * 3600 * 1_000_000_000;

pub(super) fn in_range<T: PartialOrd + std::fmt::Display + Copy>(
    option: &'static str,
    value: T,
    low: T,
    high: T,
) -> Result<T, PlanError> {
    if value >= low && value <= high {
        return Ok(value);
    }
    Err(PlanError::OutOfRange {
        option,
        value: value.to_string(),
        range: format!("from {low} to {high}"),
        cure: "choose a number in that range",
    })
}

pub(super) fn size(option: &'static str, value: u64) -> Result<u32, PlanError> {
    match u32::try_from(value) {
        Ok(bytes) if bytes > 0 && value <= MESSAGE_BYTES_MAX => Ok(bytes),
        _ => Err(PlanError::OutOfRange {
            option,
            value: human_bytes(value as f64),
            range: format!("from 1 byte to {}", human_bytes(MESSAGE_BYTES_MAX as f64)),
            cure: match value {
                0 => {
                    "an empty message cannot be measured; to connect without a message use `run cc`"
                }
                _ => "a whole message lies in memory: take smaller ones, and more of them",
            },
        }),
    }
}

pub(super) fn duration(
    option: &'static str,
    value: Option<u64>,
    default_ns: u64,
    low_ns: u64,
) -> Result<u64, PlanError> {
    let value = value.unwrap_or(default_ns);
    if value >= low_ns && value <= DURATION_MAX_NS {
        return Ok(value);
    }
    Err(PlanError::OutOfRange {
        option,
        value: human_duration_ns(value),
        range: format!(
            "from {} to {}",
            human_duration_ns(low_ns),
            human_duration_ns(DURATION_MAX_NS)
        ),
        cure: "write a time with its unit, for example 10s or 500ms",
    })
}

pub(super) fn bitrate(option: &'static str, bits: Option<u64>) -> Result<Option<f64>, PlanError> {
    if bits == Some(0) {
        return Err(PlanError::OutOfRange {
            option,
            value: "0".to_owned(),
            range: "at least 1 bit per second".to_owned(),
            cure: "leave it out to go as fast as possible",
        });
    }
    Ok(bits.map(|bits| bits as f64))
}

/// Refuses the first option that was given and cannot be together `with` something else.
pub(super) fn refuse(
    given: &[(&'static str, bool)],
    with: &str,
    cure: &'static str,
) -> Result<(), PlanError> {
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(PlanError::Conflict {
            option,
            with: with.to_owned(),
            cure,
        }),
    }
}
