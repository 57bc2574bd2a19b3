//! Results of runs that were made apart, as one: if they measured the same thing at the same time.

use serde_json::Value;

use crate::assemble::{self, RoundParts};
use crate::document::{
    Document, Finite, Host, HostActivity, Message, Pace, Plan, Round, Side, Status,
};
use crate::units::{human_duration_ns, human_percent};
use crate::{Labelled, warnings};

/// Windows that are together for less than this share of the longest are of loads that were not there at the same time.
const TOGETHER: f64 = 0.9;

/// What may differ between runs that together are one: the parts of a load that are added, and where they ran.
const ADDED: [&str; 11] = [
    "load_agents",
    "load_via",
    "ranks",
    "connections",
    "testee_agents",
    "count",
    "pace",
    "bitrate_bits_per_second",
    "sources",
    "placement",
    "target",
];

/// The results of runs that were made apart as one result: counts are summed, histograms added, and each side of each
/// of them is kept, under the name of its result.
///
/// # Errors
/// What stands in the way, each in one sentence.
pub fn results(parts: &[Labelled<&Document>]) -> Result<Document, Vec<String>> {
    let obstacles = obstacles(parts);
    let Some(first) = parts.first().filter(|_| obstacles.is_empty()) else {
        return Err(obstacles);
    };
    let plan = plan(parts, &first.value.plan);
    let mut rounds = Vec::new();
    for index in 0..first.value.rounds.len() {
        let round = assemble::round(&plan, together(parts, index));
        rounds.push(round.map_err(|error| vec![format!("round {}: {error}", index + 1)])?);
    }
    let mut merged = Document::new(&first.value.linerate_version, Vec::new(), plan);
    merged.set_build(
        first.value.git_commit.as_deref(),
        first.value.build_target.as_deref(),
    );
    let started = parts.iter().map(|part| part.value.started_at_unix_ns);
    merged.set_started(started.min().unwrap_or(0));
    merged.status = Status::Ok;
    merged.hosts = parts.iter().flat_map(hosts).collect();
    merged.set_summary(assemble::summary(&rounds));
    merged.rounds = rounds;
    merged.warnings = vec![by_their_clocks(parts)];
    merged.warnings.extend(same_names(&merged.hosts));
    merged.warnings.extend(parts.iter().flat_map(told));
    let found = warnings::from_rounds(&merged);
    merged.warnings.extend(found);
    Ok(merged)
}

// ---- what stands in the way ----------------------------------------------------------------

fn obstacles(parts: &[Labelled<&Document>]) -> Vec<String> {
    let [first, others @ ..] = parts else {
        return vec!["there is no result".to_owned()];
    };
    if others.is_empty() {
        return vec!["one result is not merged with anything: name two or more".to_owned()];
    }
    let mut found: Vec<String> = parts.iter().filter_map(unusable).collect();
    for (index, part) in parts.iter().enumerate() {
        let same = parts[..index].iter().find(|other| is_same(part, other));
        found.extend(same.map(|other| {
            format!(
                "{} and {} are one measurement, which would be counted twice",
                other.label, part.label
            )
        }));
    }
    for other in others {
        found.extend(differences(first, other));
    }
    if found.is_empty() {
        found.extend((0..first.value.rounds.len()).filter_map(|index| not_together(parts, index)));
    }
    found
}

fn unusable(part: &Labelled<&Document>) -> Option<String> {
    let (label, document) = (&part.label, part.value);
    let invalid = document
        .rounds
        .iter()
        .any(|round| !round.invalid.is_empty());
    let undated = document
        .rounds
        .iter()
        .any(|round| round.go_unix_ns.is_none());
    match document.status {
        Status::Failed => Some(format!("{label} is of a run that failed")),
        Status::Interrupted => Some(format!("{label} is of a run that was interrupted")),
        Status::Partial => Some(format!("{label} is a partial result")),
        Status::Ok if invalid => Some(format!("{label} has a round that does not count")),
        Status::Ok if undated => Some(format!(
            "{label} does not say when its rounds began (an older linerate wrote it)"
        )),
        Status::Ok => None,
    }
}

/// The processes of a run are its own: whoever has the same ones is the same run.
fn is_same(one: &Labelled<&Document>, other: &Labelled<&Document>) -> bool {
    let pids = |document: &Document| -> Vec<Option<u32>> {
        let sides = document.rounds.iter().flat_map(|round| &round.load);
        sides.map(|side| side.pid).collect()
    };
    one.value.started_at_unix_ns == other.value.started_at_unix_ns
        && pids(one.value) == pids(other.value)
}

fn differences(one: &Labelled<&Document>, other: &Labelled<&Document>) -> Vec<String> {
    let mut facts = vec![
        (
            "linerate",
            one.value.linerate_version.clone(),
            other.value.linerate_version.clone(),
        ),
        (
            "rounds",
            one.value.rounds.len().to_string(),
            other.value.rounds.len().to_string(),
        ),
        (
            "the target",
            target(&one.value.plan),
            target(&other.value.plan),
        ),
        ("the pace", pace(&one.value.plan), pace(&other.value.plan)),
        ("the load's engine", engine(one.value), engine(other.value)),
    ];
    facts.retain(|(_, one, other)| one != other);
    let facts = facts
        .into_iter()
        .map(|(name, one, other)| (name.to_owned(), one, other));
    let labels = format!("{} and {}", one.label, other.label);
    facts
        .chain(plans(&one.value.plan, &other.value.plan))
        .map(|(name, one, other)| format!("{name} differs in {labels}: {one} and {other}"))
        .collect()
}

/// The fields of two plans that are not the same, with their values.
fn plans(one: &Plan, other: &Plan) -> Vec<(String, String, String)> {
    let fields = |plan: &Plan| match serde_json::to_value(plan) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (one, other) = (fields(one), fields(other));
    let names = one
        .keys()
        .chain(other.keys().filter(|name| !one.contains_key(*name)));
    names
        .filter(|name| !ADDED.contains(&name.as_str()))
        .filter_map(|name| {
            let (one, other) = (one.get(name), other.get(name));
            let shown = |value: Option<&Value>| value.map_or_else(String::new, Value::to_string);
            (one != other).then(|| (name.clone(), shown(one), shown(other)))
        })
        .collect()
}

/// A foreign target is one by its name. A run's own testee is its own, whatever port it has.
fn target(plan: &Plan) -> String {
    match plan.target.own_testee {
        true => format!("an own testee over {}", plan.target.transport),
        false => plan.target.endpoint.clone(),
    }
}

/// Rates are added; what they are rates of is not.
fn pace(plan: &Plan) -> String {
    let name = match plan.pace {
        Pace::Closed => "a closed loop".to_owned(),
        Pace::Constant { .. } => "an open loop at equal distances".to_owned(),
        Pace::Poisson { .. } => "an open loop at random".to_owned(),
        // Of each client, however many there are.
        Pace::Each { every_ns, .. } => {
            format!("one for each client every {}", human_duration_ns(every_ns))
        }
    };
    let end = if plan.count.is_some() {
        ", until a count"
    } else {
        ""
    };
    format!("{name}{end}")
}

fn engine(document: &Document) -> String {
    let first = document.rounds.first().and_then(|round| round.load.first());
    first.map_or_else(String::new, |side| side.engine.used.clone())
}

/// When a round's window began and ended, Unix time in ns.
fn window(round: &Round) -> (u64, u64) {
    let began_ns = round.go_unix_ns.unwrap_or(0) + round.window.start_offset_ns;
    (began_ns, began_ns + round.window.length_ns)
}

/// For how long all had their windows in this round, and how long the longest is, ns.
fn overlap_ns(parts: &[Labelled<&Document>], index: usize) -> (u64, u64) {
    let windows = || {
        parts
            .iter()
            .filter_map(|part| part.value.rounds.get(index))
            .map(window)
    };
    let last_begin = windows().map(|(begin, _)| begin).max().unwrap_or(0);
    let first_end = windows().map(|(_, end)| end).min().unwrap_or(0);
    let longest_ns = windows().map(|(begin, end)| end - begin).max();
    (
        first_end.saturating_sub(last_begin),
        longest_ns.unwrap_or(0),
    )
}

fn not_together(parts: &[Labelled<&Document>], index: usize) -> Option<String> {
    let (common_ns, longest_ns) = overlap_ns(parts, index);
    let share = common_ns as f64 / longest_ns.max(1) as f64;
    (share < TOGETHER).then(|| {
        format!(
            "in round {} the windows lie together for {} of {} ({}, and {} are needed): the sum would be of loads that were not \
             there at the same time; start the runs together",
            index + 1,
            human_duration_ns(common_ns),
            human_duration_ns(longest_ns),
            human_percent(share),
            human_percent(TOGETHER)
        )
    })
}

// ---- what becomes of them ------------------------------------------------------------------

/// The plan of all together.
fn plan(parts: &[Labelled<&Document>], first: &Plan) -> Plan {
    let plans = || parts.iter().map(|part| &part.value.plan);
    let summed = |pick: fn(&Plan) -> Option<u64>| plans().map(pick).sum::<Option<u64>>();
    let rate = plans().map(|plan| plan.pace.rate_per_second());
    let rate = rate.map(|rate| rate.map(Finite::get)).sum::<Option<f64>>();
    let rate_per_second = rate.and_then(Finite::new).unwrap_or_default();
    let mut plan = Plan {
        load_agents: plans().map(|plan| plan.load_agents).sum(),
        load_via: plans().flat_map(|plan| plan.load_via.clone()).collect(),
        ranks: plans().filter_map(|plan| plan.ranks).reduce(|a, b| a + b),
        connections: plans().map(|plan| plan.connections).sum(),
        testee_agents: plans().map(|plan| plan.testee_agents).sum(),
        count: summed(|plan| plan.count),
        bitrate_bits_per_second: summed(|plan| plan.bitrate_bits_per_second),
        sources: plans().flat_map(|plan| plan.sources.clone()).collect(),
        pace: match first.pace {
            Pace::Closed => Pace::Closed,
            Pace::Constant { .. } => Pace::Constant { rate_per_second },
            Pace::Poisson { .. } => Pace::Poisson {
                rate_per_second,
                seed: None,
            },
            Pace::Each { every_ns, .. } => Pace::Each {
                every_ns,
                rate_per_second,
            },
        },
        ..first.clone()
    };
    plan.target.loopback = plans().all(|plan| plan.target.loopback);
    if let Some(dialing) = &mut plan.dialing {
        // The same in all of them, and so many times it.
        let times = parts.len() as u64;
        let rate = dialing.rate_per_second.map(Finite::get);
        dialing.rate_per_second = rate.and_then(|rate| Finite::new(rate * times as f64));
        dialing.batch = dialing.batch.map(|batch| batch * times);
    }
    plan
}

fn together(parts: &[Labelled<&Document>], index: usize) -> RoundParts {
    let rounds = || {
        let rounds = parts.iter();
        rounds.filter_map(|part| Some((part.label.as_str(), part.value.rounds.get(index)?)))
    };
    let went = || rounds().filter_map(|(_, round)| round.go_unix_ns);
    let (first_ns, last_ns) = (went().min().unwrap_or(0), went().max().unwrap_or(0));
    RoundParts {
        number: index as u32 + 1,
        ended_early: rounds().any(|(_, round)| round.ended_early),
        poisson_seed: None,
        invalid: Vec::new(),
        go_unix_ns: Some(first_ns),
        start_skew_ns: Some(last_ns - first_ns),
        one_machine: rounds()
            .flat_map(|(label, round)| machines(label, round))
            .collect(),
        lost: Vec::new(),
        load: rounds()
            .flat_map(|(label, round)| sides(label, &round.load))
            .collect(),
        testee: rounds()
            .flat_map(|(label, round)| sides(label, &round.testee))
            .collect(),
        hosts: rounds()
            .flat_map(|(label, round)| activities(label, round))
            .collect(),
    }
}

/// What is called `name` in the result `label`.
fn named(label: &str, name: &str) -> String {
    format!("{label}: {name}")
}

fn sides(label: &str, sides: &[Side]) -> Vec<Side> {
    let renamed = |side: &Side| Side {
        agent: named(label, &side.agent),
        host: named(label, &side.host),
        ..side.clone()
    };
    sides.iter().map(renamed).collect()
}

fn machines(label: &str, round: &Round) -> Vec<Vec<String>> {
    let renamed = |hosts: &Vec<String>| hosts.iter().map(|host| named(label, host)).collect();
    round.one_machine.iter().map(renamed).collect()
}

fn activities(label: &str, round: &Round) -> Vec<HostActivity> {
    let renamed = |activity: &HostActivity| HostActivity {
        host: named(label, &activity.host),
        ..activity.clone()
    };
    round.hosts.iter().map(renamed).collect()
}

fn hosts(part: &Labelled<&Document>) -> Vec<Host> {
    let renamed = |host: &Host| Host {
        id: named(&part.label, &host.id),
        ..host.clone()
    };
    part.value.hosts.iter().map(renamed).collect()
}

fn told(part: &Labelled<&Document>) -> Vec<Message> {
    let of_part = |message: &Message| Message {
        text: named(&part.label, &message.text),
        ..message.clone()
    };
    // What is said of the rounds is said of those of all together.
    let own = warnings::from_rounds(part.value);
    let kept = part
        .value
        .warnings
        .iter()
        .filter(|message| !own.contains(message));
    kept.map(of_part).collect()
}

fn by_their_clocks(parts: &[Labelled<&Document>]) -> Message {
    Message::new(
        "merged",
        format!(
            "{} results of runs made apart are one here: that they measured at the same time is by the time of day of the \
             machines that conducted them, and how far those differ nobody measured",
            parts.len()
        ),
    )
    .with_cure("for one start by every clock: one run with --load-via for each host")
}

/// Two hosts by name may be one machine, of which all that is system-wide is then there twice.
fn same_names(hosts: &[Host]) -> Option<Message> {
    hosts.iter().enumerate().find_map(|(index, host)| {
        let name = host.name.as_ref()?;
        let same = hosts[..index].iter().find(|other| other.name.as_ref() == Some(name))?;
        Some(Message::new(
            "same_machine",
            format!(
                "hosts {} and {} both say that they are {name}: if they are one machine, its system-wide CPU times and service \
                 demand are in both",
                same.id, host.id
            ),
        ))
    })
}
