//! The profile that was in force on a host, in a few lines: how many settings of each kind, and
//! by name what a reader must not overlook.

use super::layout::Paper;
use crate::document::{AppliedProfile, LimitValue, ProfileHold, ProfileKey, SettingClass};
use crate::units::grouped;

/// In the order in which they are counted out.
const CLASSES: [SettingClass; 8] = [
    SettingClass::Raises,
    SettingClass::Changes,
    SettingClass::Unchanged,
    SettingClass::Lowers,
    SettingClass::NoOp,
    SettingClass::ReadOnly,
    SettingClass::Missing,
    SettingClass::NeedsRoot,
];

pub(super) fn lines(host: &str, profile: &AppliedProfile, paper: &mut Paper) {
    let counts = summary(profile);
    let hold = match profile.hold {
        ProfileHold::Run => "put back after each round",
        ProfileHold::Held => "held by `linerate sysctl apply`",
    };
    paper.hanging(
        "profile",
        &format!("{} on {host}: {counts}; {hold}.", profile.name),
    );
    for key in profile.of_class(SettingClass::Lowers) {
        paper.hanging("", &lowered(key));
    }
    let adjusted = profile
        .keys
        .iter()
        .filter_map(|key| key.note.as_ref().map(|note| (key, note)));
    for (key, note) in adjusted {
        paper.hanging("", &format!("{}: {note}.", key.key));
    }
    for limit in profile.limits.iter().filter(|limit| !limit.is_granted()) {
        let obstacle = limit.obstacle.as_deref().unwrap_or("no reason was given");
        paper.hanging(
            "",
            &format!(
                "{} of the {} process: {} wanted, {} got ({obstacle}).",
                limit.name,
                limit.agent,
                amount(limit.wanted),
                amount(limit.got.soft)
            ),
        );
    }
}

/// `9 raised, 2 unchanged of 11 settings`.
pub(super) fn summary(profile: &AppliedProfile) -> String {
    let counts: Vec<String> = CLASSES
        .into_iter()
        .filter_map(|class| match profile.of_class(class).count() {
            0 => None,
            count => Some(format!("{count} {}", class.words())),
        })
        .collect();
    match counts.is_empty() {
        true => "no settings".to_owned(),
        false => format!("{} of {}", counts.join(", "), settings(profile.keys.len())),
    }
}

fn settings(count: usize) -> String {
    match count {
        1 => "1 setting".to_owned(),
        _ => format!("{count} settings"),
    }
}

fn lowered(key: &ProfileKey) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
    format!(
        "LOWERED {}: {} -> {}.",
        key.key,
        value(&key.before),
        value(&key.effective)
    )
}

fn amount(value: LimitValue) -> String {
    match value {
        LimitValue::Limited(count) => grouped(count),
        LimitValue::Unlimited(_) => "unlimited".to_owned(),
    }
}
