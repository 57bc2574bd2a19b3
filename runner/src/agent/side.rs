//! From what workers bring home to the document's form of a side.

use crate::engines::{Chosen, EngineChoice};
use crate::plan::Plan;
use crate::workers::Pinned;
use engine::load::Accounts;
use engine::meter::{ErrorKind, Recorded};
use engine::proactor::BackendCounters;
use engine::socket::Granted;
use engine::tcp_info::TcpInfoSummary;
use report::document::{
    ClientAnswers, Clients, ConnectionAccounts, EngineOption, EngineUse, ErrorCount, Finite, Held,
    Latencies, LatencySummary, Measurement, RampPoint, SocketOption, Spread, TcpInfo, Totals,
    Unfinished, Unknown, Worker,
};
use report::histogram::{Histogram, HistogramError};
use report::units::format_size;
use std::collections::BTreeMap;

/// The engine of a side.
pub(super) fn engine_use(
    requested: &EngineChoice,
    chosen: &Chosen,
    features: Vec<(String, String)>,
    options_granted: Vec<(String, String)>,
) -> EngineUse {
    EngineUse {
        requested: requested.to_string(),
        used: chosen.driver.name().to_owned(),
        reason: chosen.reason.clone(),
        other: None,
        features: features.into_iter().collect(),
        options: engine_options(&requested.options, options_granted),
    }
}

/// Whether the engine has a thread per connection, so that pinned workers are groups of threads.
pub(super) fn has_thread_per_connection(chosen: &Chosen) -> bool {
    chosen.driver.capabilities().thread_per_connection
}

/// Engine options asked for, beside what the workers were granted.
fn engine_options(
    requested: &[(String, String)],
    granted: Vec<(String, String)>,
) -> Vec<EngineOption> {
    let mut options: Vec<EngineOption> = Vec::new();
    let written = requested
        .iter()
        .map(|(name, value)| (name, Some(value), None));
    let in_force = granted
        .iter()
        .map(|(name, value)| (name, None, Some(value)));
    for (name, requested, granted) in in_force.chain(written) {
        let place = options.iter().position(|option| option.name == *name);
        let place = place.unwrap_or_else(|| {
            options.push(EngineOption {
                name: name.clone(),
                requested: None,
                granted: None,
            });
            options.len() - 1
        });
        let option = &mut options[place];
        option.requested = option.requested.take().or(requested.cloned());
        match (&mut option.granted, granted) {
            (Some(all), Some(one)) if !all.split(", ").any(|other| other == one) => {
                *all += &format!(", {one}");
            }
            (none @ None, Some(one)) => *none = Some(one.clone()),
            _ => {}
        }
    }
    options
}

/// One worker.
pub(super) fn worker(pinned: &Pinned, connections: u64, cpu_ns: Option<u64>) -> Worker {
    Worker {
        cpu_requested: pinned.requested,
        cpus_granted: pinned.granted.clone(),
        connections,
        cpu_ns,
    }
}

/// The backend's counters by name; those that stayed at zero too, for a zero is a finding.
pub(super) fn engine_counters(counters: &BackendCounters) -> BTreeMap<String, u64> {
    [
        ("system_calls", counters.system_calls),
        ("waits", counters.waits),
        ("events", counters.events),
        ("enobufs", counters.no_buffers),
        ("cq_overflow", counters.completion_overflows),
        ("short_sends", counters.short_sends),
        ("receive_pauses", counters.receive_pauses),
        ("rearms", counters.rearms),
        ("zero_copy_sends", counters.zero_copy_sends),
        ("zero_copy_copied", counters.zero_copy_copied),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The sum over workers; `None` if one of them does not know.
pub(super) fn backend_sum<'a>(
    workers: impl Iterator<Item = &'a Option<BackendCounters>>,
) -> Option<BackendCounters> {
    let mut sum = BackendCounters::default();
    for counters in workers {
        sum.add(counters.as_ref()?);
    }
    Some(sum)
}

/// The load's record as the document has it.
///
/// # Errors
/// When a histogram cannot be encoded.
pub(super) fn measurement(
    recorded: &Recorded,
    connections_opened: u64,
    accounts: Accounts,
    intervals: Vec<report::document::Interval>,
    held_ns: Option<u64>,
) -> Result<Measurement, HistogramError> {
    let summary = |histogram: &Histogram| LatencySummary::from_histogram(histogram);
    let unfinished = &recorded.unfinished;
    Ok(Measurement {
        totals: Totals {
            operations: recorded.operations,
            bytes_sent: recorded.bytes_sent,
            bytes_received: recorded.bytes_received,
            connections_opened,
        },
        errors: by_kind(&recorded.errors, recorded),
        unfinished: Unfinished {
            count: unfinished.count,
            never_sent: Some(unfinished.never_sent),
            oldest_age_ns: (unfinished.count > 0).then_some(unfinished.oldest_age_ns),
            text: unfinished.part.map(|part| part.to_string()),
            age: None,
        },
        connections: Some(ConnectionAccounts {
            started: accounts.started,
            succeeded: accounts.succeeded,
            failed: accounts.failed,
            lost: accounts.lost,
            unfinished: accounts.unfinished,
        }),
        held: held_ns.map(|length_ns| Held {
            length_ns,
            standing: accounts.succeeded,
            // At most: the round has the intervals of all agents.
            most_at_once: recorded.operations,
            lost_total: recorded.lost.iter().sum(),
            lost: by_kind(&recorded.lost, recorded),
        }),
        clients: None,
        schedule_lag: summary(&recorded.lag)?,
        latency: Latencies {
            service: summary(&recorded.service)?,
            response: summary(&recorded.response)?,
            connect: summary(&recorded.connect)?,
            handshake: summary(&recorded.handshake)?,
            total: summary(&recorded.total)?,
            error: summary(&recorded.failed)?,
        },
        intervals,
    })
}

/// What became of `asked` clients, beside what is measured; `ramp` is how they came up.
///
/// # Errors
/// When a histogram cannot be encoded.
pub(super) fn clients(
    recorded: &Recorded,
    asked: u64,
    ramp: Vec<RampPoint>,
) -> Result<Clients, HistogramError> {
    // Those of clients begin small, and documents have one kind of bounds.
    let summary = |histogram: &Histogram| {
        let mut whole = report::histogram::new();
        report::histogram::add(&mut whole, histogram)?;
        LatencySummary::from_histogram(&whole)
    };
    let all = recorded.clients.as_deref();
    let last = ramp.last().copied().unwrap_or_default();
    let opened = all.map_or(0, |all| all.count);
    let failed = recorded.unopened.iter().sum::<u64>();
    let lost = recorded.lost.iter().sum::<u64>();
    Ok(Clients {
        opened,
        standing: opened.saturating_sub(lost),
        not_opened: asked.saturating_sub(opened + failed),
        started: last.started,
        failed_total: failed,
        failed: by_kind(&recorded.unopened, recorded),
        lost_total: lost,
        lost: by_kind(&recorded.lost, recorded),
        answers: all.and_then(|all| {
            Some(ClientAnswers {
                least: all.answers_least,
                mean: Finite::ratio(all.answers as f64, all.count as f64)?,
                most: all.answers_most,
            })
        }),
        mean_latency: all.map(|all| summary(&all.mean)).transpose()?.flatten(),
        longest_latency: all.map(|all| summary(&all.longest)).transpose()?.flatten(),
        ramp,
    })
}

/// Counts by kind, with the first text of each.
fn by_kind(counts: &[u64; ErrorKind::ALL.len()], recorded: &Recorded) -> Vec<ErrorCount> {
    let text = |kind: ErrorKind| {
        let said = recorded.error_texts.iter().find(|(seen, _)| *seen == kind);
        said.map(|(_, text)| text.clone())
    };
    ErrorKind::ALL
        .into_iter()
        .map(|kind| (kind, counts[kind as usize]))
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| ErrorCount {
            kind: document_kind(kind),
            count,
            text: text(kind),
        })
        .collect()
}

pub(super) fn document_kind(kind: ErrorKind) -> report::document::ErrorKind {
    use report::document::ErrorKind as Document;
    match kind {
        ErrorKind::ConnectRefused => Document::ConnectRefused,
        ErrorKind::ConnectTimeout => Document::ConnectTimeout,
        ErrorKind::Reset => Document::Reset,
        ErrorKind::ClosedEarly => Document::ClosedEarly,
        ErrorKind::Timeout => Document::Timeout,
        ErrorKind::Long => Document::Long,
        ErrorKind::Unsolicited => Document::Unsolicited,
        ErrorKind::Mismatch => Document::Mismatch,
        ErrorKind::Protocol => Document::Protocol,
        ErrorKind::NoPorts => Document::NoPorts,
        ErrorKind::NoDescriptors => Document::NoDescriptors,
        ErrorKind::Other => Document::Other,
    }
}

/// Why nothing is known, from the errno with which the open connections refused, if any was open.
fn without_tcp_info(refused: Option<i32>) -> String {
    match refused {
        _ if !cfg!(target_os = "linux") => "TCP_INFO is read on Linux only".to_owned(),
        None => "no connection was open at the end".to_owned(),
        Some(errno) => engine::tcp_info::refusal(errno),
    }
}

/// TCP_INFO of all workers together; why there is none otherwise.
///
/// With several workers the medians are the middle ones of the workers' medians: the samples
/// themselves stay with the workers.
pub(super) fn tcp_info(
    workers: &[&TcpInfoSummary],
    granted: Option<&Granted>,
) -> Result<TcpInfo, String> {
    let answered: Vec<&TcpInfoSummary> = workers
        .iter()
        .copied()
        .filter(|summary| summary.connections > 0)
        .collect();
    if answered.is_empty() {
        let refused = workers.iter().find_map(|summary| summary.refused);
        return Err(without_tcp_info(refused));
    }
    let workers = &answered[..];
    let three = |pick: fn(&TcpInfoSummary) -> [u32; 3]| {
        let all: Vec<[u32; 3]> = workers.iter().map(|summary| pick(summary)).collect();
        let mut medians: Vec<u64> = all.iter().map(|three| u64::from(three[1])).collect();
        let median = Spread::of(&mut medians)?.median;
        Some(Spread {
            min: u64::from(all.iter().map(|three| three[0]).min()?),
            median,
            max: u64::from(all.iter().map(|three| three[2]).max()?),
        })
    };
    let medians = |pick: fn(&TcpInfoSummary) -> u32| {
        Spread::of(
            &mut workers
                .iter()
                .map(|summary| u64::from(pick(summary)))
                .collect::<Vec<_>>(),
        )
    };
    let congestion_control = granted.and_then(|granted| granted.congestion_control.clone());
    let unknown = match congestion_control {
        Some(_) => Vec::new(),
        None => vec![Unknown::new("congestion_control", "the system did not say")],
    };
    Ok(TcpInfo {
        connections_sampled: workers.iter().map(|s| u64::from(s.connections)).sum(),
        rtt_us: three(|summary| summary.rtt_us),
        rttvar_us: medians(|summary| summary.rtt_variance_us_median),
        retransmits_total: Some(workers.iter().map(|summary| summary.retransmits).sum()),
        cwnd_segments: three(|summary| summary.congestion_window_segments),
        mss_bytes: medians(|summary| summary.send_mss_bytes_median),
        congestion_control,
        unknown,
    })
}

/// Options asked for, beside what the system granted.
pub(super) fn socket_options(plan: &Plan, granted: Option<&Granted>) -> Vec<SocketOption> {
    let mut requested = plan.requested_socket_options();
    let nothing_read = match granted {
        Some(_) => "the system did not say",
        None => "no socket was there to ask",
    };
    let default = Granted::default();
    let granted = granted.unwrap_or(&default);
    let read_back = [
        ("nodelay", granted.nodelay.map(|on| on.to_string())),
        ("sndbuf", granted.send_buffer_bytes.map(format_size)),
        ("rcvbuf", granted.receive_buffer_bytes.map(format_size)),
        ("congestion", granted.congestion_control.clone()),
        ("mss", granted.mss_bytes.map(|bytes| bytes.to_string())),
    ];
    let mut options: Vec<SocketOption> = read_back
        .into_iter()
        .map(|(name, granted)| SocketOption {
            name: name.to_owned(),
            requested: requested.remove(name),
            granted_unknown: granted.is_none().then(|| nothing_read.to_owned()),
            granted,
        })
        .collect();
    options.extend(requested.into_iter().map(|(name, value)| SocketOption {
        name,
        requested: Some(value),
        granted: None,
        granted_unknown: Some("the system took it; it is not read back".to_owned()),
    }));
    options.retain(|option| option.requested.is_some() || option.granted.is_some());
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanRequest;
    use engine::meter::{Meter, PartOfAnswer};

    #[test]
    fn every_kind_of_failure_has_the_same_name_on_both_sides() {
        for kind in ErrorKind::ALL {
            assert_eq!(kind.name(), document_kind(kind).name());
        }
    }

    #[test]
    fn a_record_becomes_a_measurement() {
        let mut meter = Meter::for_tests();
        meter.operation(1, 1, 1_001);
        meter.failure(ErrorKind::Reset, Some(5), 10, || "said so".into());
        let measured = measurement(
            &meter.into_recorded(),
            3,
            Accounts::default(),
            Vec::new(),
            None,
        )
        .unwrap();
        assert_eq!(
            (
                measured.totals.operations,
                measured.totals.connections_opened
            ),
            (1, 3)
        );
        assert_eq!(measured.latency.service.unwrap().count, 1);
        assert_eq!(measured.errors[0].text.as_deref(), Some("said so"));
        assert_eq!(measured.unfinished.oldest_age_ns, None);
        assert_eq!(measured.unfinished.text, None);
    }

    #[test]
    fn what_has_no_answer_says_whether_it_was_sent() {
        let mut meter = Meter::for_tests();
        meter.unfinished(5, 1_005, true);
        meter.answered_in_part(PartOfAnswer {
            received: 1,
            of: 4_096,
        });
        meter.unfinished(6, 1_005, false);
        let unfinished = measurement(
            &meter.into_recorded(),
            1,
            Accounts::default(),
            Vec::new(),
            None,
        )
        .unwrap()
        .unfinished;
        assert_eq!((unfinished.count, unfinished.never_sent), (2, Some(1)));
        let text = unfinished.text.unwrap();
        assert!(text.contains("1 of 4096 bytes"), "{text}");
    }

    #[test]
    fn options_are_shown_as_requested_and_as_granted() {
        let mut request = PlanRequest::default();
        request.common.socket.send_buffer_bytes = Some(65_536);
        request.common.socket.tos = Some(0x10);
        let plan = Plan::new(request).unwrap();
        let granted = Granted {
            send_buffer_bytes: Some(131_072),
            ..Granted::default()
        };
        let options = socket_options(&plan, Some(&granted));
        let find = |name: &str| options.iter().find(|option| option.name == name).unwrap();
        assert_eq!(find("sndbuf").requested.as_deref(), Some("64K"));
        assert_eq!(find("sndbuf").granted.as_deref(), Some("128K"));
        assert_eq!(find("tos").granted, None);
        assert!(find("tos").granted_unknown.is_some(), "a null has a reason");
        assert_eq!(find("sndbuf").granted_unknown, None);
    }

    #[test]
    fn engine_options_of_all_workers_stand_beside_what_was_asked() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let requested = pairs(&[("receive", "single"), ("napi", "50us")]);
        let granted = pairs(&[
            ("receive", "single"),
            ("spin", "0us"),
            ("receive", "single"),
            ("spin", "5us"),
        ]);
        let options: Vec<_> = engine_options(&requested, granted)
            .into_iter()
            .map(|option| (option.name, option.requested, option.granted))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            options,
            [
                ("receive".to_owned(), text("single"), text("single")),
                ("spin".to_owned(), None, text("0us, 5us")),
                ("napi".to_owned(), text("50us"), None),
            ]
        );
    }

    #[test]
    fn one_worker_without_counters_leaves_the_sum_unknown() {
        let known = Some(BackendCounters {
            waits: 2,
            ..BackendCounters::default()
        });
        assert_eq!(backend_sum([&known, &known].into_iter()).unwrap().waits, 4);
        assert_eq!(backend_sum([&known, &None].into_iter()), None);
    }
}
