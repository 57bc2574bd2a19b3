//! Whether the generator is the limit: which side, how busy, how sure.

use crate::document::{Plan, Role, Round};
use crate::units::counted;
use crate::units::{human_ns, human_percent};
use crate::warnings::{GENERATOR_BUSY, lateness};

/// Below this a side has CPU to spare.
const AT_EASE: f64 = 0.8;

/// The answer in one line; `None` where there was no load.
pub(super) fn limit(plan: &Plan, round: &Round) -> Option<String> {
    let threads: u64 = round.load.iter().map(|side| u64::from(side.threads)).sum();
    if threads == 0 {
        return None;
    }
    let busy = |role| Some(round.busy_share(role, plan.connections)?.get());
    let (load, testee) = (busy(Role::Load), busy(Role::Testee));
    let verdict = match (load, testee) {
        (None, _) => "not known",
        (Some(load), Some(testee)) if load >= GENERATOR_BUSY && testee >= GENERATOR_BUSY => {
            "in part, both sides are"
        }
        (Some(load), _) if load >= GENERATOR_BUSY => "yes",
        (_, Some(testee)) if testee >= GENERATOR_BUSY => "no, the testee is",
        (Some(load), _) if load >= AT_EASE => "perhaps",
        _ if lateness(plan, round).is_some() => "not of the rate",
        _ => "no",
    };
    let mut parts = vec![match load {
        Some(share) => {
            let several = match threads {
                1 => "",
                _ => " on average, where one of them may be busier",
            };
            format!(
                "{} of the load {} busy{several}",
                counted(threads, "thread"),
                human_percent(share)
            )
        }
        None => "the CPU time of the load is not known".to_owned(),
    }];
    parts.push(match testee {
        Some(share) => format!("the testee {}", human_percent(share)),
        None if round.testee.is_empty() => "the target's CPU is not known".to_owned(),
        None => "the testee's CPU time is not known".to_owned(),
    });
    if let Some(late) = lateness(plan, round) {
        parts.push(format!(
            "but the generator noticed one operation in a hundred {} late or more, of a response time with p99 {}",
            human_ns(late.lag_p99_ns as f64),
            human_ns(late.response_p99_ns as f64)
        ));
    }
    Some(format!(
        "Is the generator the limit? {}: {} (process CPU time).",
        capital(verdict),
        parts.join(", ")
    ))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
