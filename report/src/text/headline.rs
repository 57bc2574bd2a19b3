//! The answer in one sentence, and the conditions under which it holds.

use super::layout::{Paint, Paper};
use super::{clients, defects, generator, ramp, rounds, shown_round};
use crate::document::{
    Confirmation, Direction, Document, MetricSummary, Pace, Plan, Queue, Round, Status,
};
use crate::success;
use crate::units::{
    counted, format_size, grouped, human_bit_rate, human_bytes, human_count, human_duration_ns,
    human_ns,
};

/// The answer in plain words.
pub(crate) fn sentence(document: &Document) -> String {
    let plan = &document.plan;
    let what = format!("{} over {}", workload(plan), path(plan));
    let answer = match answer(document) {
        Some(answer) => format!(
            "{what}: {answer}{}{}, {}.",
            defects::all(document)
                .iter()
                .map(|defect| format!(", {defect}"))
                .collect::<String>(),
            connections(plan),
            engines(document)
        ),
        None => format!("{what}: {}.", why_not(document)),
    };
    match document.status {
        Status::Ok => answer,
        Status::Interrupted => format!("Interrupted, valid until then: {answer}"),
        Status::Partial => format!("Partial, {}: {answer}", who_is_missing(document)),
        Status::Failed => format!("Failed: {answer}"),
    }
}

/// `1 of 6 agents was lost`.
fn who_is_missing(document: &Document) -> String {
    let Some(round) = document.rounds.last() else {
        return "agents were lost".to_owned();
    };
    let lost = round.lost.len();
    let all = lost + round.load.len() + round.testee.len();
    let were = if lost == 1 { "was" } else { "were" };
    format!("{lost} of {all} agents {were} lost")
}

/// How many there are, where the answer has not said so.
fn connections(plan: &Plan) -> String {
    match plan.workload.holds() {
        true => String::new(),
        false if plan.workload.joins() => format!(", {}", counted(plan.connections, "client")),
        false => format!(", {}", counted(plan.connections, "connection")),
    }
}

fn workload(plan: &Plan) -> String {
    let name = plan.workload.name();
    match plan.direction {
        Some(direction) => format!("{name} ({})", direction.name()),
        None => name.to_owned(),
    }
}

fn path(plan: &Plan) -> String {
    let target = &plan.target;
    match (target.transport.as_str(), target.loopback) {
        ("unix", _) => "a Unix socket".to_owned(),
        (transport, true) => format!("{transport} loopback"),
        (transport, false) => {
            let prefix = format!("{transport}://");
            let address = target.endpoint.strip_prefix(&prefix);
            let more = match target.addresses.len() {
                0 | 1 => String::new(),
                n => format!(" ({n} addresses in turn)"),
            };
            format!(
                "{transport} to {}{more}",
                address.unwrap_or(&target.endpoint)
            )
        }
    }
}

fn answer(document: &Document) -> Option<String> {
    let metrics = &document.summary.as_ref()?.metrics;
    let plan = &document.plan;
    if document
        .rounds
        .iter()
        .all(|round| success::moved_nothing(plan, round))
    {
        return None;
    }
    let rate = |name: &str, show: fn(f64) -> String| {
        metrics
            .get(name)
            .map(|metric| mean_with_interval(metric, show))
    };
    if plan.workload.is_bulk() {
        let throughput = rate("throughput_bits_per_second", human_bit_rate)?;
        let unconfirmed = document
            .rounds
            .iter()
            .any(|round| round.rates.confirmation == Confirmation::SenderUnconfirmed);
        let remark = match (unconfirmed, plan.direction) {
            (true, _) => format!(" ({})", Confirmation::SenderUnconfirmed.words()),
            (false, Some(Direction::Both)) => " in both directions together".to_owned(),
            (false, _) => " received".to_owned(),
        };
        return Some(throughput + &remark);
    }
    if let (true, Some(round)) = (plan.workload.holds(), shown_round(document)) {
        let latency = latency(document);
        let latency = latency.map_or_else(String::new, |latency| format!(", {latency}"));
        return Some(ramp::answer(plan, round) + &latency);
    }
    let operations = rate("rate_per_second", human_count)?;
    let unit = plan.workload.operations();
    let mut answer = match defects::overload(document) {
        Some(asked) => format!("{operations} of {} {unit}/s asked for", human_count(asked)),
        None => format!("{operations} {unit}/s"),
    };
    let latency = latency(document).or_else(|| defects::no_latency(document));
    answer += &latency.map_or_else(String::new, |latency| format!(", {latency}"));
    Some(answer)
}

/// What most operations took; the longest where too few have no 99th percentile.
fn latency(document: &Document) -> Option<String> {
    let time = of_which_time(document);
    if let Some(p99) = rounds::summarised(document, "latency_p99_ns") {
        let rounds = match p99.n {
            0 | 1 => String::new(),
            n => format!(" (mean over {n} rounds)"),
        };
        return Some(format!("p99 {}{time}{rounds}", human_ns(p99.mean.get())));
    }
    let rounds = crate::assemble::counted(&document.rounds);
    let latencies = rounds.iter().map(|round| round.measured.latency.primary());
    let longest = latencies.flatten().map(|(_, latency)| latency.max_ns).max();
    longest.map(|ns| format!("max {}{time}", human_ns(ns as f64)))
}

/// `93.4 k`, or `93.4 k ± 512` where there are rounds to say so.
fn mean_with_interval(metric: &MetricSummary, show: fn(f64) -> String) -> String {
    let mean = show(metric.mean.get());
    match metric.confidence_interval_95_half_width {
        Some(half_width) => format!("{mean} ± {}", show(half_width.get())),
        None => mean,
    }
}

/// Which time a percentile is of, unless it is the plain one.
fn of_which_time(document: &Document) -> String {
    let summary = document.summary.as_ref();
    match summary.and_then(|summary| summary.methods.latency.as_deref()) {
        Some("service") if document.plan.workload.holds() => " (time to connect)".to_owned(),
        None | Some("service") => String::new(),
        Some(name) => format!(" ({name} time)"),
    }
}

fn why_not(document: &Document) -> String {
    if let Some(error) = document.errors.first() {
        return error.text.trim_end_matches('.').to_owned();
    }
    let errors = document
        .rounds
        .iter()
        .flat_map(|round| &round.measured.errors);
    match errors.max_by_key(|error| error.count) {
        Some(error) => format!(
            "no operation succeeded, {} failed with: {}",
            grouped(error.count),
            error.kind.words()
        ),
        None => "no operation was completed".to_owned(),
    }
}

fn engines(document: &Document) -> String {
    let Some(round) = document.rounds.first() else {
        return document.plan.engine.load.clone();
    };
    let load = round.load.first().map_or("-", |side| &side.engine.used);
    match round.testee.first() {
        Some(testee) => format!("{load} -> {}", testee.engine.used),
        None => format!("{load} -> a target that this run did not start"),
    }
}

/// How the load was made and what the window was.
pub(crate) fn conditions(document: &Document, paper: &mut Paper) {
    let plan = &document.plan;
    let mut parts = vec![match &plan.dialing {
        Some(dialing) => ramp::conditions(dialing),
        None => pace(plan),
    }];
    if let Some(web_socket) = &plan.web_socket {
        parts.extend(clients::conditions(web_socket));
    }
    if !plan.workload.is_bulk() && plan.dialing.is_none() {
        parts.push(format!("depth {} per connection", plan.depth));
    }
    parts.extend(sizes(plan));
    if let Some(limit) = plan.bitrate_bits_per_second {
        parts.push(format!("at most {}", human_bit_rate(limit as f64)));
    }
    if plan.workload.reconnects() {
        parts.push("a new connection for every operation".to_owned());
    }
    if plan.verify {
        parts.push("every received byte compared".to_owned());
    }
    paper.sentence(&format!("Load: {}.", parts.join(", ")), Paint::Plain);
    if let Some(round) = document.rounds.first() {
        paper.sentence(&window(document, round), Paint::Plain);
    }
    if let Some(limit) = shown_round(document).and_then(|round| generator::limit(plan, round)) {
        paper.sentence(&limit, Paint::Plain);
    }
    paper.blank();
}

fn pace(plan: &Plan) -> String {
    match &plan.pace {
        Pace::Closed if plan.workload.is_bulk() => "as fast as the connections take it".to_owned(),
        Pace::Closed => {
            "closed loop (a slow answer also delays the operations behind it, unmeasured)"
                .to_owned()
        }
        Pace::Constant { rate_per_second } => format!(
            "open loop, {} operations/s due at equal distances{}",
            human_count(rate_per_second.get()),
            queue(plan)
        ),
        Pace::Each {
            every_ns,
            rate_per_second,
        } => format!(
            "open loop, one due for each client every {} ({}/s in all)",
            human_duration_ns(*every_ns),
            human_count(rate_per_second.get())
        ),
        Pace::Poisson {
            rate_per_second, ..
        } => format!(
            "open loop, {} operations/s due at random (Poisson){}",
            human_count(rate_per_second.get()),
            queue(plan)
        ),
    }
}

/// What is not the default.
fn queue(plan: &Plan) -> String {
    match plan.queue {
        Some(Queue::Shared) => match plan.threads * plan.load_agents {
            1 => ", one queue for all connections".to_owned(),
            threads => format!(", {threads} queues, one for the connections of each thread"),
        },
        Some(Queue::Own) | None => String::new(),
    }
}

fn sizes(plan: &Plan) -> Vec<String> {
    let named = [
        ("request", plan.sizes.request_bytes),
        ("response", plan.sizes.response_bytes),
        ("message", plan.sizes.message_bytes),
    ];
    named
        .into_iter()
        .filter_map(|(name, bytes)| Some(format!("{name} {}", exact_bytes(bytes?))))
        .collect()
}

/// `64 KiB` where that is exact, else plain bytes.
fn exact_bytes(bytes: u64) -> String {
    let short = format_size(bytes);
    match short.strip_suffix(|c: char| c.is_ascii_alphabetic()) {
        Some(number) => format!("{number} {}iB", &short[number.len()..]),
        None => format!("{short} B"),
    }
}

fn window(document: &Document, round: &Round) -> String {
    let rounds = document.rounds.len();
    let length = human_duration_ns(round.window.length_ns);
    let warmup = match round.window.warmup_ns {
        0 => "without warm-up".to_owned(),
        ns => format!("after {} of warm-up", human_duration_ns(ns)),
    };
    let ended = if document.rounds.iter().any(|round| round.ended_early) {
        ", ended early"
    } else {
        ""
    };
    if rounds == 1 {
        format!(
            "Window: {length} measured {warmup}{ended}{}.",
            together(round)
        )
    } else {
        format!(
            "Window: {rounds} rounds of {length} {warmup}{ended}, each with new processes and \
             sockets."
        )
    }
}

/// `, together on all hosts for 9.99 s of it, for they began within 85 us`.
fn together(round: &Round) -> String {
    let Some((skew_ns, common_ns)) = round.start_skew_ns.zip(round.common_window_ns) else {
        return String::new();
    };
    let began = match skew_ns {
        0 => "at one instant of one clock".to_owned(),
        ns => format!("within {}", human_duration_ns(ns)),
    };
    format!(
        ", {} of it on all hosts together, which began {began}",
        human_duration_ns(common_ns)
    )
}

/// Bytes for a table.
pub(super) fn bytes(count: u64) -> String {
    human_bytes(count as f64)
}
