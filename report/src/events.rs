//! What `--events` writes while a run goes on: one JSON object per line (NDJSON).
//!
//! Events are for watching; the document is the result. The first is `start`, the last `end`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Finite, Interval, Message, Plan, Status, Workload};

/// The schema of the events, named in the first.
pub const SCHEMA: &str = "linerate.events/1";

/// One line of `--events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    Start {
        /// Always `linerate.events/1`.
        schema: String,
        /// Version of linerate.
        linerate_version: String,
        /// When, nanoseconds since 1970-01-01 UTC.
        at_unix_ns: u64,
        /// What one operation is.
        workload: Workload,
        /// The resolved plan, as in the document.
        plan: Box<Plan>,
    },
    /// A part of the window of a round has passed.
    Interval {
        /// The round, from 1.
        round: u32,
        /// The load agent that reports, as in the document.
        agent: String,
        /// What it counted.
        interval: Interval,
        /// Operations per second in it; null if it has no length.
        operations_per_second: Option<Finite>,
        /// Payload in both directions; null if it has no length.
        throughput_bits_per_second: Option<Finite>,
    },
    /// Something to know before believing the numbers.
    Warning {
        /// As in the document's `warnings`.
        warning: Message,
    },
    /// The run is over; nothing follows.
    End {
        /// When, nanoseconds since 1970-01-01 UTC.
        at_unix_ns: u64,
        /// How it ended, as in the document.
        status: Status,
        /// As in the document's `errors`.
        errors: Vec<Message>,
    },
}

impl Event {
    /// The first event of a run.
    pub fn start(linerate_version: &str, at_unix_ns: u64, plan: &Plan) -> Self {
        Event::Start {
            schema: SCHEMA.to_owned(),
            linerate_version: linerate_version.to_owned(),
            at_unix_ns,
            workload: plan.workload,
            plan: Box::new(plan.clone()),
        }
    }

    /// An interval with the rates that follow from it.
    pub fn interval(round: u32, agent: &str, interval: Interval) -> Self {
        let seconds = interval.length_ns as f64 / 1e9;
        let bytes = interval.bytes_sent + interval.bytes_received;
        Event::Interval {
            round,
            agent: agent.to_owned(),
            interval,
            operations_per_second: Finite::ratio(interval.operations as f64, seconds),
            throughput_bits_per_second: Finite::ratio(bytes as f64 * 8.0, seconds),
        }
    }

    /// The event as one line of JSON, newline included.
    ///
    /// # Errors
    /// None for an event built from its types; passed on rather than hidden.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        let mut text = crate::foreign::in_json(serde_json::to_string(self)?);
        text.push('\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_one_line_with_its_rates() {
        let interval = Interval {
            start_offset_ns: 1_000_000_000,
            length_ns: 500_000_000,
            operations: 100,
            bytes_sent: 125,
            bytes_received: 125,
            ..Interval::default()
        };
        let event = Event::interval(2, "load", interval);
        let line = event.line().unwrap();
        assert_eq!(
            line,
            "{\"event\":\"interval\",\"round\":2,\"agent\":\"load\",\"interval\":{\
             \"start_offset_ns\":1000000000,\"length_ns\":500000000,\"operations\":100,\
             \"bytes_sent\":125,\"bytes_received\":125,\"errors\":0,\"latency_mean_ns\":null,\
             \"latency_max_ns\":null},\"operations_per_second\":200.0,\
             \"throughput_bits_per_second\":4000.0}\n"
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn an_interval_without_length_has_no_rate() {
        let event = Event::interval(1, "load", Interval::default());
        assert!(
            event
                .line()
                .unwrap()
                .contains("\"operations_per_second\":null")
        );
    }

    #[test]
    fn the_end_says_how() {
        let event = Event::End {
            at_unix_ns: 7,
            status: Status::Interrupted,
            errors: Vec::new(),
        };
        assert_eq!(
            event.line().unwrap(),
            "{\"event\":\"end\",\"at_unix_ns\":7,\"status\":\"interrupted\",\"errors\":[]}\n"
        );
    }
}
