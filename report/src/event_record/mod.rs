//! The event record (`run --event-record FILE`): what each client of a load did, event by event.
//!
//! A file begins with a header and goes on with chunks, each of which is a header and records of one size. All numbers are
//! little-endian; what is reserved is zero. Every load agent of a run appends chunks of its own, one write(2) each, so
//! that chunks of several workers, and of several agents, stand in any order; merging them in time is the reader's work
//! ([`Recording::each_in_time`]). Within a worker's chunks the events of one client stand as they happened.
//!
//! | file header: 64 bytes | |
//! |---|---|
//! | 0..8 | `lrevents` |
//! | 8..12 | version of the format, 1 |
//! | 12..16 | length of this header, 64 |
//! | 16..32 | boot id of the kernel (`/proc/sys/kernel/random/boot_id`), zeros where there is none |
//! | 32..40 | wall clock when the record began, ns since 1970-01-01 UTC; it names the run in every chunk |
//! | 40..48 | the conductor's monotonic clock at the same instant, ns |
//! | 48..60 | reserved |
//! | 60..64 | CRC-32 of bytes 0..60 |
//!
//! | chunk header: 72 bytes | |
//! |---|---|
//! | 0..8 | `lrchunk` and a line feed |
//! | 8..16 | the run: bytes 32..40 of the file's header |
//! | 16..24 | the agent's monotonic clock minus the conductor's, signed ns; 0 on the same host |
//! | 24..32, 32..40 | instants of the earliest and the latest record, on the agent's monotonic clock, ns |
//! | 40..48 | events that this worker has dropped so far in this round, because nobody emptied its ring in time |
//! | 48..52 | round, from 1 |
//! | 52..56 | records, at most 16384; 0 in a chunk that only says what was dropped |
//! | 56..58, 58..60 | agent, worker, from 0 |
//! | 60..64 | CRC-32 of the records |
//! | 64..68 | reserved |
//! | 68..72 | CRC-32 of bytes 0..68 |
//!
//! | record: 32 bytes | |
//! |---|---|
//! | 0..8 | instant, on the agent's monotonic clock, ns |
//! | 8..16 | sent, received: number of the message on its connection, from 0 |
//! | 16..20 | client: number of the connection among all of the run |
//! | 20..24 | exit by crash: what the system said (errno), 0 where it said nothing |
//! | 24 | 0 start, 1 open, 2 sent, 3 received, 4 exit |
//! | 25 | exit: 0 normal, 1 connect timeout, 2 crash, 3 unfinished (the run ended first) |
//! | 26 | exit by crash: why, the position in [`REASONS`] |
//! | 27..32 | reserved |
//!
//! CRC-32 is that of zip and Ethernet (reflected polynomial 0xEDB88320). What does not fit its sum is skipped and told;
//! of a chunk that the file ends in, the records that are there whole are taken.

mod aggregates;
mod format;
mod merge;
mod read;
mod render;
mod statistics;

pub use aggregates::Aggregates;
pub use format::{
    CHUNK_RECORDS_MAX, ChunkHeader, FileHeader, REASONS, chunk_into, file_header_bytes,
};
pub use read::{Flaw, Flaws, OpenError, Recording};
pub use render::{Form, aggregates_json, aggregates_text, write_event, write_heading};
pub use statistics::{Bin, Statistics};

use crate::document::ErrorKind;

/// Something that a client did, or that happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, ns: in a file on the agent's monotonic clock, as read on the conductor's.
    pub at_ns: u64,
    /// Number of the client's connection among all of the run.
    pub client: u32,
    /// What.
    pub what: What,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It begins to connect.
    Start,
    /// It is ready for traffic: connected, and its handshake done.
    Open,
    /// It sent the message of this number on its connection.
    Sent(u64),
    /// It received the whole answer to that message.
    Received(u64),
    /// Its connection has ended; one for each start.
    Exit(Exit),
}

/// How a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As planned, or with the run, owing nothing.
    Normal,
    /// It was not established within the connect timeout.
    ConnectTimeout,
    /// It could not be opened, or was lost, in another way.
    Crash {
        /// Why.
        reason: ErrorKind,
        /// What the system said; 0 where it said nothing.
        errno: i32,
    },
    /// The run ended before it was open, or before it had every answer.
    Unfinished,
}

/// An event, and who recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The event.
    pub event: Event,
    /// The round, from 1.
    pub round: u32,
    /// The load agent, from 0.
    pub agent: u16,
    /// Its worker, from 0.
    pub worker: u16,
}
