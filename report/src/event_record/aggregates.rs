//! What the seed's `compile_stats` makes of events, from every event that can be read.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek};

use serde::Serialize;

use super::read::Recording;
use super::statistics::Statistics;
use super::{Exit, Placed, What};

/// The schema of the aggregates, named in them.
const SCHEMA: &str = "linerate.event-stats/1";

/// Aggregates over all rounds and workers of a record, warm-up and drain included. The first eight have the names and the
/// meaning that they have in the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Aggregates {
    /// Always `linerate.event-stats/1`.
    pub schema: &'static str,
    /// Clients that were started. One that is started again counts again.
    pub clients: u64,
    /// Clients that were ready for traffic: connected, and their handshake done.
    pub handshakes: u64,
    /// From a client's start to that, ms.
    pub handshake_time_ms: Statistics,
    /// Messages that clients sent.
    pub messages_sent: u64,
    /// Answers that clients received whole.
    pub messages_recv: u64,
    /// From sending a message to having the answer to it, ms.
    pub message_latency_ms: Statistics,
    /// Clients that were not established within the connect timeout.
    pub connection_timeouts: u64,
    /// Clients that could not be opened, or were lost, in another way.
    pub crashes: u64,
    /// Of these, how many for which reason.
    pub crash_reasons: BTreeMap<&'static str, u64>,
    /// Clients that ended as planned, or with the run, owing nothing.
    pub normal_exits: u64,
    /// Clients whose run ended before they were open, or before they had every answer.
    pub unfinished: u64,
    /// Clients whose end is not in what can be read.
    pub open_at_the_end: u64,
    /// Messages that were sent and whose answer is not in what can be read.
    pub unanswered: u64,
    /// Handshakes whose client's start is not in what can be read: they have no time.
    pub handshakes_without_start: u64,
    /// Answers to messages that are not in what can be read: they have no latency.
    pub answers_without_message: u64,
    /// Rounds that have events.
    pub rounds: u64,
    /// Events that can be read.
    pub events: u64,
    /// Events that happened and are not in the record, because nobody took them in time.
    pub dropped: u64,
    /// Bytes of the file that cannot be read.
    pub unread_bytes: u64,
}

impl<R: Read + Seek> Recording<R> {
    /// Adds up all events that can be read. In memory are 8 bytes for each sample, and what is in flight.
    ///
    /// # Errors
    /// What the system answers.
    pub fn aggregates(&mut self) -> io::Result<Aggregates> {
        let mut tally = Tally::default();
        self.each_in_file(|placed| tally.add(placed))?;
        let mut aggregates = tally.finish();
        aggregates.dropped = self.dropped();
        aggregates.unread_bytes = self.flaws().bytes();
        Ok(aggregates)
    }
}

#[derive(Default)]
struct Tally {
    sums: Aggregates,
    /// By round and number.
    clients: HashMap<(u32, u32), Client>,
    handshakes_ns: Vec<u64>,
    latencies_ns: Vec<u64>,
    /// The round of the last event.
    round: Option<u32>,
    rounds: std::collections::BTreeSet<u32>,
}

/// What is known of a client that has not ended.
#[derive(Default)]
struct Client {
    started_ns: Option<u64>,
    /// Messages without an answer so far: when each was sent.
    in_flight: BTreeMap<u64, u64>,
}

impl Tally {
    fn add(&mut self, placed: &Placed) {
        let sums = &mut self.sums;
        sums.events += 1;
        if self.round != Some(placed.round) {
            self.round = Some(placed.round);
            self.rounds.insert(placed.round);
        }
        let at_ns = placed.event.at_ns;
        let name = (placed.round, placed.event.client);
        if let What::Exit(exit) = placed.event.what {
            let client = self.clients.remove(&name);
            return sums.exit(exit, client.unwrap_or_default());
        }
        let client = self.clients.entry(name).or_default();
        match placed.event.what {
            What::Start => {
                // The end of the one before it may be in what cannot be read.
                let before = std::mem::take(client);
                sums.open_at_the_end += u64::from(before.started_ns.is_some());
                sums.unanswered += before.in_flight.len() as u64;
                sums.clients += 1;
                client.started_ns = Some(at_ns);
            }
            What::Open => {
                sums.handshakes += 1;
                match client.started_ns {
                    Some(started_ns) => {
                        self.handshakes_ns.push(at_ns.saturating_sub(started_ns));
                    }
                    None => sums.handshakes_without_start += 1,
                }
            }
            What::Sent(sequence) => {
                sums.messages_sent += 1;
                let same = client.in_flight.insert(sequence, at_ns);
                sums.unanswered += u64::from(same.is_some());
            }
            What::Received(sequence) => {
                sums.messages_recv += 1;
                match client.in_flight.remove(&sequence) {
                    Some(sent_ns) => self.latencies_ns.push(at_ns.saturating_sub(sent_ns)),
                    None => sums.answers_without_message += 1,
                }
            }
            What::Exit(_) => {}
        }
    }

    fn finish(self) -> Aggregates {
        let mut sums = self.sums;
        for client in self.clients.into_values() {
            sums.open_at_the_end += u64::from(client.started_ns.is_some());
            sums.unanswered += client.in_flight.len() as u64;
        }
        Aggregates {
            schema: SCHEMA,
            rounds: self.rounds.len() as u64,
            handshake_time_ms: Statistics::of(self.handshakes_ns),
            message_latency_ms: Statistics::of(self.latencies_ns),
            ..sums
        }
    }
}

impl Aggregates {
    fn exit(&mut self, exit: Exit, client: Client) {
        self.unanswered += client.in_flight.len() as u64;
        match exit {
            Exit::Normal => self.normal_exits += 1,
            Exit::ConnectTimeout => self.connection_timeouts += 1,
            Exit::Unfinished => self.unfinished += 1,
            Exit::Crash { reason, .. } => {
                self.crashes += 1;
                *self.crash_reasons.entry(reason.name()).or_default() += 1;
            }
        }
    }
}
