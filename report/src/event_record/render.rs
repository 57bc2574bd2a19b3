//! Events and their aggregates, for people and for programs. All of it is numbers and names of our own.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::aggregates::Aggregates;
use super::format::FileHeader;
use super::statistics::{PERCENTILES, Statistics};
use super::{Exit, Placed, What};
use crate::units::{counted, grouped};
use crate::utc::rfc3339;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line each, for people.
    Text,
    /// A JSON object each, on a line.
    Ndjson,
}

/// What comes before the first event: in text a line on what the columns are.
///
/// # Errors
/// What `out` answers.
pub fn write_heading(form: Form, header: &FileHeader, out: &mut dyn Write) -> io::Result<()> {
    match form {
        Form::Text => writeln!(
            out,
            "# seconds since {}, round, agent/worker, client, event",
            rfc3339(header.unix_ns)
        ),
        Form::Ndjson => Ok(()),
    }
}

/// One event, on a line.
///
/// # Errors
/// What `out` answers.
pub fn write_event(
    form: Form,
    header: &FileHeader,
    placed: &Placed,
    out: &mut dyn Write,
) -> io::Result<()> {
    // Since the record began; what happened before that is no event of it, whatever a file says.
    let since_ns = placed.event.at_ns.wrapping_sub(header.monotonic_ns);
    match form {
        Form::Text => write_line(since_ns, placed, out),
        Form::Ndjson => write_object(since_ns, header, placed, out),
    }
}

fn write_line(since_ns: u64, placed: &Placed, out: &mut dyn Write) -> io::Result<()> {
    let Placed {
        event,
        round,
        agent,
        worker,
    } = placed;
    let (seconds, ns) = (since_ns / 1_000_000_000, since_ns % 1_000_000_000);
    let client = event.client;
    write!(out, "{seconds}.{ns:09} {round} {agent}/{worker} {client} ")?;
    match event.what {
        What::Start => writeln!(out, "start"),
        What::Open => writeln!(out, "open"),
        What::Sent(sequence) => writeln!(out, "sent {sequence}"),
        What::Received(sequence) => writeln!(out, "received {sequence}"),
        What::Exit(Exit::Crash { reason, errno: 0 }) => {
            writeln!(out, "exit crash {}", reason.name())
        }
        What::Exit(Exit::Crash { reason, errno }) => {
            writeln!(out, "exit crash {} errno {errno}", reason.name())
        }
        What::Exit(exit) => writeln!(out, "exit {}", exit.name()),
    }
}

fn write_object(
    since_ns: u64,
    header: &FileHeader,
    placed: &Placed,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Placed {
        event,
        round,
        agent,
        worker,
    } = placed;
    let unix_ns = header.unix_ns.wrapping_add(since_ns);
    let client = event.client;
    write!(
        out,
        "{{\"at_ns\":{since_ns},\"at_unix_ns\":{unix_ns},\"round\":{round},\"agent\":{agent},\"worker\":{worker},\
         \"client\":{client},"
    )?;
    match event.what {
        What::Start => writeln!(out, "\"event\":\"start\"}}"),
        What::Open => writeln!(out, "\"event\":\"open\"}}"),
        What::Sent(sequence) => {
            writeln!(out, "\"event\":\"sent\",\"sequence\":{sequence}}}")
        }
        What::Received(sequence) => {
            writeln!(out, "\"event\":\"received\",\"sequence\":{sequence}}}")
        }
        What::Exit(Exit::Crash { reason, errno }) => writeln!(
            out,
            "\"event\":\"exit\",\"ending\":\"crash\",\"reason\":\"{}\",\"errno\":{errno}}}",
            reason.name()
        ),
        What::Exit(exit) => {
            writeln!(out, "\"event\":\"exit\",\"ending\":\"{}\"}}", exit.name())
        }
    }
}

impl Exit {
    /// The name in text and JSON.
    fn name(self) -> &'static str {
        match self {
            Exit::Normal => "normal",
            Exit::ConnectTimeout => "connect_timeout",
            Exit::Crash { .. } => "crash",
            Exit::Unfinished => "unfinished",
        }
    }
}

/// The aggregates as JSON.
///
/// # Errors
/// None for what is built from its types; passed on rather than hidden.
pub fn aggregates_json(aggregates: &Aggregates) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(aggregates).map(|text| text + "\n")
}

/// The aggregates for people: the seed's first, then what explains them.
pub fn aggregates_text(header: &FileHeader, aggregates: &Aggregates) -> String {
    let mut text = format!(
        "event record of {}: {} of {}, warm-up and drain included\n\n",
        rfc3339(header.unix_ns),
        counted(aggregates.events, "event"),
        counted(aggregates.rounds, "round"),
    );
    counts(aggregates, &mut text);
    let columns = [
        ("handshake_time", &aggregates.handshake_time_ms),
        ("message_latency", &aggregates.message_latency_ms),
    ];
    table(columns, &mut text);
    for (name, statistics) in columns {
        histogram(name, statistics, &mut text);
    }
    text
}

fn counts(aggregates: &Aggregates, text: &mut String) {
    let always = [
        ("clients", aggregates.clients),
        ("handshakes", aggregates.handshakes),
        ("messages_sent", aggregates.messages_sent),
        ("messages_recv", aggregates.messages_recv),
        ("connection_timeouts", aggregates.connection_timeouts),
        ("crashes", aggregates.crashes),
    ];
    let if_any = [
        ("normal_exits", aggregates.normal_exits),
        ("unfinished", aggregates.unfinished),
        ("open_at_the_end", aggregates.open_at_the_end),
        ("unanswered", aggregates.unanswered),
        (
            "handshakes_without_start",
            aggregates.handshakes_without_start,
        ),
        (
            "answers_without_message",
            aggregates.answers_without_message,
        ),
        ("dropped", aggregates.dropped),
        ("unread_bytes", aggregates.unread_bytes),
    ];
    let if_any = if_any.iter().filter(|(_, count)| *count > 0);
    for (name, count) in always.iter().chain(if_any) {
        let _ = writeln!(text, "{name:<24} {:>15}", grouped(*count));
    }
    for (reason, count) in &aggregates.crash_reasons {
        let _ = writeln!(text, "  crash {reason:<16} {:>15}", grouped(*count));
    }
}

/// What of the samples stands in a row of the table.
type Pick = fn(&Statistics) -> Option<f64>;

const ROWS: [(&str, Pick); 10] = [
    ("min", |of| of.min),
    ("max", |of| of.max),
    ("arithmetic_mean", |of| of.arithmetic_mean),
    ("geometric_mean", |of| of.geometric_mean),
    ("harmonic_mean", |of| of.harmonic_mean),
    ("median", |of| of.median),
    ("variance (ms^2)", |of| of.variance),
    ("standard_deviation", |of| of.standard_deviation),
    ("skewness (no unit)", |of| of.skewness),
    ("kurtosis (no unit)", |of| of.kurtosis),
];

fn table(columns: [(&str, &Statistics); 2], text: &mut String) {
    text.push('\n');
    let mut row = |name: &str, cells: [String; 2]| {
        let [one, other] = cells;
        let _ = writeln!(text, "{name:<20} {one:>20} {other:>20}");
    };
    row("ms", columns.map(|(name, _)| name.to_owned()));
    row("samples", columns.map(|(_, of)| grouped(of.samples)));
    for (name, pick) in ROWS {
        row(name, columns.map(|(_, of)| cell(pick(of))));
    }
    for (_, percent) in PERCENTILES {
        let value = |of: &Statistics| of.percentile.get(percent).copied();
        let cells = columns.map(|(_, of)| cell(value(of)));
        row(&format!("percentile {percent}"), cells);
    }
}

/// Six digits after the point are whole nanoseconds; what has none of these has its digits all the same.
fn cell(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value != 0.0 && value.abs() < 1e-3 => format!("{value:.6e}"),
        Some(value) => format!("{value:.6}"),
    }
}

fn histogram(name: &str, statistics: &Statistics, text: &mut String) {
    if statistics.samples == 0 {
        return;
    }
    let _ = writeln!(text, "\n{name}: up to (ms), samples");
    for bin in statistics.histogram.iter().filter(|bin| bin.count > 0) {
        let _ = writeln!(text, "{:>20.6} {:>15}", bin.up_to, grouped(bin.count));
    }
}
