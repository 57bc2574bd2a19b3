//! Connections that are opened once and held: what became of them, and how they came up, as a picture.

use super::layout::{Paper, Table};
use crate::document::{Closing, Dialing, Plan, RampPoint, Round};
use crate::units::{grouped, human_bytes, human_count, human_duration_ns, human_ns};

/// Where the connections of a round were at the end of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Standing {
    /// Since they began to be opened, s.
    pub(crate) at_s: f64,
    pub(crate) dialing: u64,
    pub(crate) established: u64,
    /// Established, and lost since.
    pub(crate) closed: u64,
    pub(crate) failed: u64,
}

impl Standing {
    fn of_clients(point: &RampPoint) -> Self {
        Self {
            at_s: point.at_ns as f64 / 1e9,
            dialing: point.started.saturating_sub(point.opened + point.failed),
            established: point.opened.saturating_sub(point.lost),
            closed: point.lost,
            failed: point.failed,
        }
    }
}

/// How the connections of a round came up, interval by interval.
pub(crate) fn over_time(round: &Round) -> Vec<Standing> {
    if let Some(clients) = &round.measured.clients {
        return clients.ramp.iter().map(Standing::of_clients).collect();
    }
    let (mut started, mut opened, mut failed, mut closed) = (0, 0, 0, 0);
    let intervals = round.measured.intervals.iter();
    intervals
        .map(|interval| {
            started += interval.connections_started;
            opened += interval.operations;
            failed += interval.errors;
            closed += interval.connections_lost;
            Standing {
                at_s: (interval.start_offset_ns + interval.length_ns) as f64 / 1e9,
                dialing: u64::saturating_sub(started, opened + failed),
                established: u64::saturating_sub(opened, closed),
                closed,
                failed,
            }
        })
        .collect()
}

/// When they come due, and for how long they are held.
pub(crate) fn conditions(dialing: &Dialing) -> String {
    let due = match (dialing.rate_per_second, dialing.batch) {
        (Some(rate), _) => format!(
            "{} connections/s due at equal distances",
            human_count(rate.get())
        ),
        (None, Some(batch)) => format!(
            "{} connections due every {}",
            grouped(batch),
            human_duration_ns(dialing.batch_delay_ns.unwrap_or(0))
        ),
        (None, None) => "connections opened as fast as they go".to_owned(),
    };
    let held = match dialing.hold_ns {
        Some(ns) => format!("held for {}", human_duration_ns(ns)),
        None => "held until somebody ends it".to_owned(),
    };
    let closing = match dialing.closing {
        Closing::AllAtOnce => "closed all at once",
        Closing::Ramp => "closed as they were opened",
    };
    format!(
        "{due}, at most {} under way at a time in each thread, {held}, {closing}",
        grouped(dialing.at_once)
    )
}

/// `60,000 of 60,000 connections established in 2.41 s (24.9 k/s)`, and what became of them then.
pub(crate) fn answer(plan: &Plan, round: &Round) -> String {
    let measured = &round.measured;
    let rate = round.rates.operations_per_second;
    let rate = rate.map_or_else(String::new, |rate| {
        format!(" ({}/s)", human_count(rate.get()))
    });
    let mut text = format!(
        "{} of {} connections established in {}{rate}",
        grouped(measured.totals.operations),
        grouped(plan.connections),
        human_ns(round.window.length_ns as f64)
    );
    if let Some(held) = &measured.held {
        let lost = held.lost_total;
        if held.length_ns > 0 {
            text += &format!(", held for {}", human_ns(held.length_ns as f64));
        }
        if lost > 0 {
            text += &format!(", {} of them lost meanwhile", grouped(lost));
        }
    }
    text
}

/// What became of the connections, and how they came up.
pub(crate) fn connections(plan: &Plan, round: &Round, paper: &mut Paper) {
    table(plan, round, paper);
    picture(plan, round, paper);
}

/// What became of the connections.
pub(crate) fn table(plan: &Plan, round: &Round, paper: &mut Paper) {
    let measured = &round.measured;
    paper.heading("Connections");
    let failed: u64 = measured.errors.iter().map(|one| one.count).sum();
    let never = measured.unfinished.never_sent.unwrap_or(0);
    let held = measured.held.clone().unwrap_or_default();
    let mut table = Table::new();
    let mut row = |name: &str, count: u64| table.row([name.to_owned(), grouped(count)]);
    row("asked for", plan.connections);
    row("established", measured.totals.operations);
    row("  at the same time, at most", held.most_at_once);
    row("  standing when they were closed", held.standing);
    row("  lost before that", held.lost_total);
    row("failed", failed);
    row(
        "being opened at the end",
        measured.unfinished.count.saturating_sub(never),
    );
    row("not initiated", never);
    paper.table(&table);
    for one in &held.lost {
        let text = one.text.as_deref().unwrap_or(one.kind.words());
        paper.note(&format!("lost: {} times, {text}.", grouped(one.count)));
    }
    paper.blank();
}

const COLUMNS: usize = 60;
const ROWS: usize = 8;

/// The ramp over time: established, and on top of it what is being opened and what has failed.
pub(crate) fn picture(plan: &Plan, round: &Round, paper: &mut Paper) {
    let points = over_time(round);
    let (Some(last), true) = (points.last(), points.len() > 1) else {
        return;
    };
    let most = plan.connections.max(1);
    let end_s = last.at_s;
    let column = |index: usize| {
        let at_s = end_s * (index + 1) as f64 / COLUMNS as f64;
        let point = points.iter().find(|point| point.at_s >= at_s * 0.999_999);
        point.unwrap_or(last)
    };
    let scale = grouped(most);
    let width = scale.len();
    paper.heading("Ramp");
    for row in (0..ROWS).rev() {
        let line: String = (0..COLUMNS)
            .map(|index| cell(column(index), row, most))
            .collect();
        let mark = if row == ROWS - 1 { scale.as_str() } else { "" };
        paper.verbatim(format!("  {mark:>width$} |{line}").trim_end());
    }
    paper.verbatim(&format!("  {:>width$} +{}", "0", "-".repeat(COLUMNS)));
    let until = human_ns(end_s * 1e9);
    let gap = COLUMNS.saturating_sub(until.len() + 1);
    paper.verbatim(&format!("  {:>width$}  0{:gap$}{until}", "", ""));
    let mut legend = vec!["# established"];
    if points.iter().any(|point| point.dialing > 0) {
        legend.push(". being opened");
    }
    if points.iter().any(|point| point.failed > 0) {
        legend.push("x failed");
    }
    paper.note(&format!("{}.", legend.join(", ")));
    paper.blank();
}

/// What stands in a row of a column: rows count from below, and a part of one is a whole one.
fn cell(point: &Standing, row: usize, most: u64) -> char {
    let above = row as f64 * most as f64 / ROWS as f64;
    let reaches = |count: u64| count as f64 > above;
    match point {
        point if reaches(point.established) => '#',
        point if reaches(point.established + point.dialing) => '.',
        point if reaches(point.established + point.dialing + point.failed) => 'x',
        _ => ' ',
    }
}

/// What a connection costs in memory: of either process, and of the kernel of each host.
pub(crate) fn memory(round: &Round, paper: &mut Paper) {
    let processes = [("load", &round.cost.load), ("testee", &round.cost.testee)];
    let processes = processes.map(|(name, cost)| (name, cost.memory_bytes_per_connection));
    let sockets = round
        .hosts
        .iter()
        .filter_map(|host| Some((host, host.slab_bytes_per_socket?)));
    let sockets: Vec<_> = sockets.collect();
    if sockets.is_empty() && processes.iter().all(|(_, each)| each.is_none()) {
        return;
    }
    paper.heading("Memory");
    for (name, each) in processes {
        if let Some(each) = each {
            let each = human_bytes(each.get());
            paper.hanging(
                name,
                &format!("{each} a connection, tables and buffers included"),
            );
        }
    }
    for (host, each) in sockets {
        let text = format!(
            "kernel: {} a socket (what the slab of the whole machine grew by)",
            human_bytes(each.get())
        );
        paper.hanging(&host.host, &text);
    }
    paper.blank();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_stacked_and_rounded_up() {
        let point = Standing {
            at_s: 1.0,
            established: 30,
            dialing: 30,
            closed: 0,
            failed: 20,
        };
        let column: String = (0..ROWS).map(|row| cell(&point, row, 80)).collect();
        assert_eq!(column, "###...xx");
        let one = Standing {
            established: 1,
            dialing: 0,
            failed: 0,
            ..point
        };
        let column: String = (0..ROWS).map(|row| cell(&one, row, 80)).collect();
        assert_eq!(column, "#       ");
    }
}
