//! Several agents become one measurement: counts are summed, histograms added.
//!
//! Percentiles are never averaged: the percentile of a union is not the mean of the percentiles.

pub mod apart;
mod together;

pub use together::Together;

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{
    ClientAnswers, Clients, ConnectionAccounts, ErrorCount, ErrorKind, Finite, Held, Interval,
    Latencies, LatencySummary, Measurement, RampPoint, Totals, Unfinished,
};
use crate::histogram::{self, HistogramError};

/// The measurements of several agents of the same round as one. `interval_ns` is the length at which
/// all of them cut their windows.
///
/// # Errors
/// If a histogram cannot be read or has other bounds.
pub fn measurements(
    parts: &[&Measurement],
    interval_ns: u64,
) -> Result<Measurement, HistogramError> {
    let latency_of = |pick: fn(&Latencies) -> &Option<LatencySummary>| {
        latencies(parts.iter().map(|part| pick(&part.latency).as_ref()))
    };
    Ok(Measurement {
        totals: totals(parts),
        errors: errors(parts),
        unfinished: unfinished(parts)?,
        connections: (parts.iter().filter_map(|part| part.connections))
            .reduce(ConnectionAccounts::and),
        held: held(parts),
        clients: clients(parts)?,
        schedule_lag: latencies(parts.iter().map(|part| part.schedule_lag.as_ref()))?,
        latency: Latencies {
            service: latency_of(|latency| &latency.service)?,
            response: latency_of(|latency| &latency.response)?,
            connect: latency_of(|latency| &latency.connect)?,
            handshake: latency_of(|latency| &latency.handshake)?,
            total: latency_of(|latency| &latency.total)?,
            error: latency_of(|latency| &latency.error)?,
        },
        intervals: intervals(parts, interval_ns),
    })
}

/// Distributions as one, by adding their histograms; `None` if there is none.
///
/// # Errors
/// If a histogram cannot be read or has other bounds.
pub fn latencies<'a>(
    parts: impl Iterator<Item = Option<&'a LatencySummary>>,
) -> Result<Option<LatencySummary>, HistogramError> {
    let present: Vec<&LatencySummary> = parts.flatten().collect();
    if let [only] = present[..] {
        return Ok(Some(only.clone()));
    }
    let mut sum = histogram::new();
    for part in present {
        histogram::add(&mut sum, &part.to_histogram()?)?;
    }
    LatencySummary::from_histogram(&sum)
}

fn totals(parts: &[&Measurement]) -> Totals {
    let sum = |pick: fn(&Totals) -> u64| parts.iter().map(|part| pick(&part.totals)).sum();
    Totals {
        operations: sum(|totals| totals.operations),
        bytes_sent: sum(|totals| totals.bytes_sent),
        bytes_received: sum(|totals| totals.bytes_received),
        connections_opened: sum(|totals| totals.connections_opened),
    }
}

/// Errors of the same kind become one entry; `other` stays apart by its text.
fn errors(parts: &[&Measurement]) -> Vec<ErrorCount> {
    summed(parts.iter().flat_map(|part| &part.errors))
}

fn summed<'a>(counts: impl Iterator<Item = &'a ErrorCount>) -> Vec<ErrorCount> {
    let mut sums: BTreeMap<(ErrorKind, Option<String>), ErrorCount> = BTreeMap::new();
    for error in counts {
        let distinction = match error.kind {
            ErrorKind::Other => error.text.clone(),
            _ => None,
        };
        sums.entry((error.kind, distinction))
            .and_modify(|sum| {
                sum.count += error.count;
                if sum.text.is_none() {
                    sum.text.clone_from(&error.text);
                }
            })
            .or_insert_with(|| error.clone());
    }
    sums.into_values().collect()
}

fn held(parts: &[&Measurement]) -> Option<Held> {
    let all: Vec<&Held> = parts.iter().filter_map(|part| part.held.as_ref()).collect();
    let length_ns = all.iter().map(|held| held.length_ns).min()?;
    Some(Held {
        length_ns,
        standing: all.iter().map(|held| held.standing).sum(),
        most_at_once: all.iter().map(|held| held.most_at_once).sum(),
        lost_total: all.iter().map(|held| held.lost_total).sum(),
        lost: summed(all.iter().flat_map(|held| &held.lost)),
    })
}

fn clients(parts: &[&Measurement]) -> Result<Option<Clients>, HistogramError> {
    let all: Vec<&Clients> = parts
        .iter()
        .filter_map(|part| part.clients.as_ref())
        .collect();
    if all.is_empty() {
        return Ok(None);
    }
    let sum = |pick: fn(&Clients) -> u64| all.iter().map(|one| pick(one)).sum::<u64>();
    Ok(Some(Clients {
        started: sum(|one| one.started),
        opened: sum(|one| one.opened),
        standing: sum(|one| one.standing),
        not_opened: sum(|one| one.not_opened),
        failed_total: sum(|one| one.failed_total),
        failed: summed(all.iter().flat_map(|one| &one.failed)),
        lost_total: sum(|one| one.lost_total),
        lost: summed(all.iter().flat_map(|one| &one.lost)),
        answers: answers(&all),
        mean_latency: latencies(all.iter().map(|one| one.mean_latency.as_ref()))?,
        longest_latency: latencies(all.iter().map(|one| one.longest_latency.as_ref()))?,
        ramp: ramp(&all),
    }))
}

fn answers(all: &[&Clients]) -> Option<ClientAnswers> {
    let known = || {
        all.iter()
            .filter_map(|one| Some((one.answers?, one.opened)))
    };
    let opened: u64 = known().map(|(_, opened)| opened).sum();
    let sum: f64 = known()
        .map(|(answers, opened)| answers.mean.get() * opened as f64)
        .sum();
    Some(ClientAnswers {
        least: known().map(|(answers, _)| answers.least).min()?,
        mean: Finite::ratio(sum, opened as f64)?,
        most: known().map(|(answers, _)| answers.most).max()?,
    })
}

/// At each instant at which an agent looked, what all of them had seen last.
fn ramp(all: &[&Clients]) -> Vec<RampPoint> {
    let points = || all.iter().flat_map(|one| &one.ramp);
    let instants: BTreeSet<u64> = points().map(|point| point.at_ns).collect();
    let seen = |at_ns: u64| {
        let last = |one: &&&Clients| {
            let seen = one.ramp.iter().take_while(|point| point.at_ns <= at_ns);
            seen.last().copied()
        };
        let sum = all.iter().filter_map(|one| last(&one));
        let sum = sum.reduce(RampPoint::and).unwrap_or_default();
        RampPoint { at_ns, ..sum }
    };
    let whole: Vec<RampPoint> = instants.into_iter().map(seen).collect();
    // Agents look a little apart: no more points than the one that looked most often.
    let most = all.iter().map(|one| one.ramp.len()).max().unwrap_or(0);
    let every = whole.len().div_ceil(most.max(1)).max(1);
    let kept = whole.iter().rev().step_by(every);
    let mut kept: Vec<RampPoint> = kept.copied().collect();
    kept.reverse();
    kept
}

fn unfinished(parts: &[&Measurement]) -> Result<Unfinished, HistogramError> {
    Ok(Unfinished {
        count: parts.iter().map(|part| part.unfinished.count).sum(),
        never_sent: parts.iter().map(|part| part.unfinished.never_sent).sum(),
        text: parts.iter().find_map(|part| part.unfinished.text.clone()),
        oldest_age_ns: parts
            .iter()
            .filter_map(|part| part.unfinished.oldest_age_ns)
            .max(),
        age: latencies(parts.iter().map(|part| part.unfinished.age.as_ref()))?,
    })
}

fn intervals(parts: &[&Measurement], interval_ns: u64) -> Vec<Interval> {
    let mut together = Together::new(parts.len(), interval_ns);
    let mut merged = Vec::new();
    for (agent, part) in parts.iter().enumerate() {
        for interval in &part.intervals {
            together.add(agent, *interval);
        }
        together.end(agent);
    }
    merged.extend(std::iter::from_fn(|| together.next_part()));
    merged.extend(together.take_rest());
    merged
}

fn interval(slices: &[&Interval]) -> Interval {
    let sum = |pick: fn(&Interval) -> u64| slices.iter().map(|slice| pick(slice)).sum();
    let start_offset_ns = slices.iter().map(|slice| slice.start_offset_ns).min();
    let end_ns = slices
        .iter()
        .map(|slice| slice.start_offset_ns + slice.length_ns)
        .max();
    let start_offset_ns = start_offset_ns.unwrap_or(0);
    Interval {
        start_offset_ns,
        length_ns: end_ns.unwrap_or(0) - start_offset_ns,
        operations: sum(|slice| slice.operations),
        bytes_sent: sum(|slice| slice.bytes_sent),
        bytes_received: sum(|slice| slice.bytes_received),
        errors: sum(|slice| slice.errors),
        latency_mean_ns: mean_latency(slices),
        latency_max_ns: slices.iter().filter_map(|slice| slice.latency_max_ns).max(),
        connections_started: sum(|slice| slice.connections_started),
        connections_lost: sum(|slice| slice.connections_lost),
    }
}

/// The mean of all operations: each slice weighs as many as it completed.
fn mean_latency(slices: &[&Interval]) -> Option<Finite> {
    let weighted: Vec<(f64, f64)> = slices
        .iter()
        .filter_map(|slice| Some((slice.latency_mean_ns?.get(), slice.operations as f64)))
        .collect();
    let operations: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    let sum: f64 = weighted.iter().map(|(mean, weight)| mean * weight).sum();
    Finite::ratio(sum, operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measurement(latencies_ns: &[u64]) -> Measurement {
        let mut recorded = histogram::new();
        for value in latencies_ns {
            recorded.record(*value).unwrap();
        }
        let summary = LatencySummary::from_histogram(&recorded).unwrap();
        Measurement {
            totals: Totals {
                operations: latencies_ns.len() as u64,
                bytes_sent: 3,
                bytes_received: 4,
                connections_opened: 1,
            },
            latency: Latencies {
                service: summary,
                ..Latencies::default()
            },
            ..Measurement::default()
        }
    }

    #[test]
    fn percentiles_come_from_the_union_and_not_from_an_average() {
        // 99 fast ones here, 1 slow one there: the median is fast; an average would be in between.
        let fast = measurement(&[10_000; 99]);
        let slow = measurement(&[1_000_000]);
        let merged = measurements(&[&fast, &slow], 1_000).unwrap();
        let service = merged.latency.service.unwrap();
        assert_eq!(service.count, 100);
        assert!(service.p50_ns < 10_100 && service.p99_ns < 10_100);
        assert!(service.max_ns >= 1_000_000);
        assert_eq!(merged.totals.operations, 100);
        assert_eq!(merged.totals.bytes_sent, 6);
        assert_eq!(merged.latency.response, None);
    }

    #[test]
    fn errors_add_up_by_kind() {
        let error = |kind, count, text: Option<&str>| ErrorCount {
            kind,
            count,
            text: text.map(str::to_owned),
        };
        let one = Measurement {
            errors: vec![
                error(ErrorKind::Reset, 2, None),
                error(ErrorKind::Other, 1, Some("EIO")),
            ],
            ..Measurement::default()
        };
        let two = Measurement {
            errors: vec![
                error(ErrorKind::Reset, 3, Some("ECONNRESET")),
                error(ErrorKind::Other, 1, Some("ENOBUFS")),
            ],
            ..Measurement::default()
        };
        let merged = measurements(&[&one, &two], 1_000).unwrap();
        assert_eq!(
            merged.errors,
            [
                error(ErrorKind::Reset, 5, Some("ECONNRESET")),
                error(ErrorKind::Other, 1, Some("EIO")),
                error(ErrorKind::Other, 1, Some("ENOBUFS")),
            ]
        );
    }

    #[test]
    fn intervals_add_up_by_place_and_weigh_by_operations() {
        let slice = |start_offset_ns, operations, mean_ns: f64| Interval {
            start_offset_ns,
            length_ns: 1_000,
            operations,
            latency_mean_ns: Finite::new(mean_ns),
            latency_max_ns: Some(mean_ns as u64),
            ..Interval::default()
        };
        let one = Measurement {
            intervals: vec![slice(0, 1, 100.0), slice(1_000, 1, 7.0)],
            ..Measurement::default()
        };
        let two = Measurement {
            intervals: vec![slice(0, 3, 200.0)],
            ..Measurement::default()
        };
        let merged = measurements(&[&one, &two], 1_000).unwrap();
        assert_eq!(merged.intervals.len(), 2);
        assert_eq!(merged.intervals[0].operations, 4);
        assert_eq!(merged.intervals[0].latency_mean_ns, Finite::new(175.0));
        assert_eq!(merged.intervals[0].latency_max_ns, Some(200));
        assert_eq!(merged.intervals[1].operations, 1);
    }

    #[test]
    fn ramps_of_agents_add_up_at_each_instant() {
        let of = |points: &[(u64, u64)]| Measurement {
            clients: Some(Clients {
                opened: points.last().map_or(0, |(_, opened)| *opened),
                answers: Some(ClientAnswers {
                    least: points.len() as u64,
                    mean: 10_u32.into(),
                    most: 20,
                }),
                ramp: points
                    .iter()
                    .map(|&(at_ns, opened)| RampPoint {
                        at_ns,
                        opened,
                        ..RampPoint::default()
                    })
                    .collect(),
                ..Clients::default()
            }),
            ..Measurement::default()
        };
        // One has missed an instant, and is done sooner.
        let parts = [
            of(&[(10, 1), (20, 2), (30, 3), (40, 4)]),
            of(&[(10, 5), (31, 7)]),
        ];
        let merged = measurements(&[&parts[0], &parts[1]], 1_000).unwrap();
        let clients = merged.clients.unwrap();
        let ramp: Vec<(u64, u64)> = clients
            .ramp
            .iter()
            .map(|point| (point.at_ns, point.opened))
            .collect();
        assert_eq!(ramp, [(10, 6), (30, 8), (40, 11)]);
        assert_eq!(clients.opened, 11);
        let answers = clients.answers.unwrap();
        assert_eq!(
            (answers.least, answers.mean.get(), answers.most),
            (2, 10.0, 20)
        );
    }

    proptest! {
        #[test]
        fn merging_a_split_gives_the_whole(
            left in prop::collection::vec(1..=histogram::HIGHEST_NS, 0..80),
            right in prop::collection::vec(1..=histogram::HIGHEST_NS, 0..80),
        ) {
            let whole: Vec<u64> = left.iter().chain(&right).copied().collect();
            let merged = measurements(&[&measurement(&left), &measurement(&right)], 1_000).unwrap();
            prop_assert_eq!(merged.latency, measurement(&whole).latency);
        }
    }
}
