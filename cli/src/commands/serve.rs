//! `linerate serve`: listens until a signal, and says on stdout what came.

use std::time::Duration;

use engine::endpoint::Endpoint;
use engine::socket::takes_both_versions;
use report::document::Message;
use report::units::{grouped, human_duration_ns};
use runner::cancel::Cancel;
use runner::error::{ExitClass, Failure};
use runner::plan::{ServePlan, ServeRequest};
use runner::profile::{ProfileTask, Settings};
use runner::serve::{Limit, ListenerState, ServeCounts, ServeObserver, ServeTotals};

use crate::args::serve::ServeArgs;
use crate::output::Destination;
use crate::problem::Problem;
use crate::progress::say;
use crate::{serve_file, signals};

/// Serves until it is told to stop.
///
/// # Errors
/// A plan that cannot be, or what the system refused.
pub fn serve(args: &ServeArgs) -> Result<ExitClass, Problem> {
    let file = match &args.listeners.config {
        Some(path) => serve_file::read(path)?,
        None => ServeRequest::default(),
    };
    let plan = ServePlan::new(args.request(file))?;
    let mut watcher = Watcher {
        quiet: args.output.quiet,
    };
    for listener in plan.listeners() {
        if is_wildcard(listener.endpoint()) {
            watcher.say(&format!(
                "linerate: warning: {} is open to every network that reaches this machine{}, without any \
                 authentication; to narrow it, name one address",
                listener.endpoint(),
                versions(listener.endpoint())
            ));
        }
    }
    let cancel = Cancel::new();
    let (first, second) = (cancel.clone(), cancel.clone());
    signals::watch(move || first.raise(), move || second.raise(), || ())
        .map_err(|error| Failure::machine(format!("watch for signals: {error}")))?;
    let mut settings = begin_settings(args, &watcher)?;
    let totals = runner::serve::serve(&plan, &mut watcher, &cancel)?;
    for drift in settings.end()? {
        watcher.say(&format!(
            "linerate: warning: {} is {} and not {}: somebody else has written it, and it was left as it is",
            drift.key, drift.found, drift.expected
        ));
    }
    Destination::Stdout.write(&text(&totals))?;
    match cancel.is_raised_twice() {
        true => Ok(ExitClass::Interrupted),
        false => Ok(ExitClass::Done),
    }
}

/// Applies the profile that was asked for; without one there is nothing to end.
fn begin_settings(args: &ServeArgs, watcher: &Watcher) -> Result<Settings, Problem> {
    let Some(profile) = args.profile.profile.clone() else {
        return Ok(Settings::default());
    };
    let task = ProfileTask {
        profile,
        settings: true,
        allow_lower: args.profile.allow_lower,
        skip_read_only: args.profile.skip_read_only,
    };
    let settings = Settings::begin(Some(&task), "serve")?;
    if let Some(applied) = settings.applied() {
        watcher.say(&format!(
            "profile {}: {}",
            applied.name,
            report::text::profile_summary(applied)
        ));
    }
    Ok(settings)
}

/// Which version of IP a wildcard listens to.
fn versions(endpoint: &Endpoint) -> &'static str {
    let addresses = endpoint.resolve_to_listen().unwrap_or_default();
    match addresses.first() {
        Some(address) if takes_both_versions(address) => " over IPv4 or IPv6",
        Some(address) if address.is_ipv6() => " over IPv6",
        _ => " over IPv4",
    }
}

fn is_wildcard(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp { host, .. } => host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_unspecified()),
        Endpoint::Unix(_) => false,
    }
}

struct Watcher {
    quiet: bool,
}

impl Watcher {
    fn say(&self, line: &str) {
        if !self.quiet {
            say(line);
        }
    }
}

impl ServeObserver for Watcher {
    fn listening(&mut self, listeners: &[ListenerState]) {
        for listener in listeners {
            if let Some(warning) = &listener.passed_over {
                self.say(&passed_over_line(listener, warning));
            }
            self.say(&ready_line(listener));
        }
    }

    fn counted(&mut self, id: &str, counts: &ServeCounts) {
        self.say(&format!(
            "{id}: {} open, {}",
            grouped(counts.open()),
            counts_text(counts)
        ));
    }

    fn full(&mut self, id: &str, limit: Limit) {
        let why = match limit {
            Limit::Connections(most) => format!(
                "{} are open in a process, as many as it may have (--max-connections, --processes)",
                connections(most)
            ),
            Limit::Descriptors => {
                "descriptors ran out (ulimit -Hn, LimitNOFILE= in a unit, or --processes)"
                    .to_owned()
            }
        };
        self.say(&format!("{id}: the testee takes no more at present: {why}"));
    }

    fn draining(&mut self, open_connections: u64, deadline: Duration) {
        if open_connections == 0 {
            return;
        }
        let ns = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        self.say(&format!(
            "stopping: {} open, with {} to end; a second signal ends at once",
            connections(open_connections),
            human_duration_ns(ns)
        ));
    }
}

fn passed_over_line(listener: &ListenerState, warning: &Message) -> String {
    let cure = warning.cure.as_deref().unwrap_or_default();
    format!(
        "warning: {} takes {}, because {}: {cure}",
        listener.id, listener.engine, warning.text
    )
}

fn ready_line(listener: &ListenerState) -> String {
    let workers = match listener.threads {
        1 => "1 worker".to_owned(),
        threads => format!("{threads} workers"),
    };
    let workers = match listener.processes {
        1 => workers,
        processes => format!(
            "{processes} processes of {workers} for {} in all,",
            connections(listener.max_connections)
        ),
    };
    let cpus: Vec<String> = listener.cpus.iter().map(ToString::to_string).collect();
    let place = match cpus.len() {
        0 => "unpinned".to_owned(),
        1 => format!("on CPU {}", cpus[0]),
        _ => format!("on CPUs {}", cpus.join(",")),
    };
    let name = match listener.id == listener.endpoint {
        true => String::new(),
        false => format!(" ({})", listener.id),
    };
    let fitted = match listener.fitted {
        true => format!(
            ", at most {} at once (the limit of open files; ulimit -Hn, or LimitNOFILE= in a unit)",
            connections(listener.max_connections)
        ),
        false => String::new(),
    };
    format!(
        "listening on {}{name}, role {}, engine {}, {workers} {place}, accept {}{fitted}",
        listener.endpoint, listener.role, listener.engine, listener.accept
    )
}

fn text(totals: &ServeTotals) -> String {
    let mut text = String::new();
    for (id, counts) in &totals.listeners {
        text += &format!("{id}: {}\n", counts_text(counts));
    }
    if totals.cut_off > 0 {
        text += &format!(
            "{} cut off at the end of the drain\n",
            connections(totals.cut_off)
        );
    }
    text
}

/// What always counts, and of the rest what happened.
fn counts_text(counts: &ServeCounts) -> String {
    let mut text = format!(
        "{} accepted, {} bytes received, {} bytes sent",
        connections(counts.accepted),
        grouped(counts.bytes_received),
        grouped(counts.bytes_sent)
    );
    let rare = [
        (
            counts.failed.saturating_sub(counts.reset),
            "ended in an error",
        ),
        (counts.reset, "reset by their peer"),
        (counts.idle_closed, "closed as idle"),
        (counts.over_limit, "closed because too many were open"),
        (
            counts.peer_not_reading,
            "pauses because a peer did not read",
        ),
        (
            counts.accept_backoffs_descriptors(),
            "pauses because descriptors ran out",
        ),
        (
            counts.accept_backoffs_memory,
            "pauses because the kernel had no memory for connections",
        ),
        (
            counts.accept_backoffs_threads,
            "pauses because threads ran out",
        ),
        (
            counts.accept_backoffs_other,
            "pauses because accepting failed",
        ),
    ];
    for (count, what) in rare.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {} {what}", grouped(count));
    }
    text
}

fn connections(count: u64) -> String {
    match count {
        1 => "1 connection".to_owned(),
        _ => format!("{} connections", grouped(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_says_where_and_how() {
        let mut listener = ListenerState {
            id: "tcp://127.0.0.1:9000".to_owned(),
            endpoint: "tcp://127.0.0.1:9000".to_owned(),
            role: "echo",
            engine: "uring",
            engine_reason: String::new(),
            passed_over: None,
            threads: 1,
            accept: "reuseport",
            cpus: vec![0],
            max_connections: 16_384,
            processes: 1,
            fitted: false,
        };
        assert_eq!(
            ready_line(&listener),
            "listening on tcp://127.0.0.1:9000, role echo, engine uring, 1 worker on CPU 0, accept reuseport"
        );
        (listener.fitted, listener.max_connections) = (true, 928);
        let line = ready_line(&listener);
        assert!(
            line.contains(", at most 928 connections at once (the limit of open files"),
            "{line}"
        );
        listener.fitted = false;
        (listener.threads, listener.cpus) = (4, Vec::new());
        listener.id = "bulk".to_owned();
        assert_eq!(
            ready_line(&listener),
            "listening on tcp://127.0.0.1:9000 (bulk), role echo, engine uring, 4 workers unpinned, accept reuseport"
        );
    }

    #[test]
    fn totals_name_what_happened() {
        let counts = ServeCounts {
            accepted: 1,
            bytes_received: 1_234_567,
            idle_closed: 2,
            ..ServeCounts::default()
        };
        let totals = ServeTotals {
            listeners: vec![("echo".to_owned(), counts)],
            cut_off: 3,
        };
        assert_eq!(
            text(&totals),
            "echo: 1 connection accepted, 1,234,567 bytes received, 0 bytes sent, 2 closed as idle\n\
             3 connections cut off at the end of the drain\n"
        );
    }

    #[test]
    fn wildcards_are_recognised() {
        let wildcard = |text: &str| is_wildcard(&text.parse().unwrap());
        assert!(wildcard("tcp://0.0.0.0:9000") && wildcard("tcp://[::]:9000"));
        assert!(
            !wildcard("tcp://127.0.0.1:9000")
                && !wildcard("tcp://localhost:1")
                && !wildcard("unix:///x")
        );
        let versions = |text: &str| versions(&text.parse().unwrap());
        assert_eq!(versions("tcp://0.0.0.0:9000"), " over IPv4");
        let both = versions("tcp://[::]:9000");
        assert!(
            both.contains("IPv4 or") || cfg!(target_os = "openbsd"),
            "{both}"
        );
    }
}
