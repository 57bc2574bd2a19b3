//! The event record: what each client of a load did, one event after the other.
//!
//! A [`Meter`](crate::meter::Meter) adds up; this keeps every event with its instant. Each thread of a load that records has a
//! ring of fixed size ([`Recorder`]), made before the run, which one other thread of the process empties
//! ([`RingReader`]). Recording neither waits nor allocates nor locks: where the ring is full, the event is dropped and
//! counted. A load that records nothing has no [`Recorder`], and pays for one look at an `Option`.

mod event;
mod ring;

pub use event::{ClientEvent, Ending, Happening};
pub use ring::{Recorder, RingReader, ring};

use std::sync::{Mutex, PoisonError};

/// Events that the rings of one worker hold together: a twentieth of a second at 2.6 million events per second, 4 MiB.
const EVENTS_PER_WORKER: usize = 1 << 17;

/// Events that the ring of a thread holds at least, where each connection has a thread: 2 KiB.
const EVENTS_PER_THREAD_MIN: usize = 1 << 6;

/// Where the workers of a process get their recorders, and whoever empties them their other ends.
#[derive(Debug, Default)]
pub struct EventRecord {
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    /// Of rings that nobody empties yet: with the worker that each belongs to.
    readers: Vec<(u32, RingReader)>,
    bytes: u64,
}

impl EventRecord {
    /// A recorder for one of the `threads` of a worker. Call it before the run: it allocates.
    pub fn recorder(&self, worker: u32, threads: u32) -> Recorder {
        let share = EVENTS_PER_WORKER / (threads.max(1) as usize);
        let (recorder, reader) = ring(share.max(EVENTS_PER_THREAD_MIN));
        let mut made = self.lock();
        made.bytes += reader.bytes();
        made.readers.push((worker, reader));
        recorder
    }

    /// The readers of all rings that were made since the last call, each with the worker that it belongs to.
    pub fn new_readers(&self) -> Vec<(u32, RingReader)> {
        std::mem::take(&mut self.lock().readers)
    }

    /// Memory of all rings, bytes.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Made> {
        // A panicking worker must not take the others' events away.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_worker_share_its_room_and_each_has_some() {
        let record = EventRecord::default();
        let _kept = [record.recorder(0, 1), record.recorder(1, 10_000)];
        let readers = record.new_readers();
        let of: Vec<(u32, u64)> = readers
            .iter()
            .map(|(worker, reader)| (*worker, reader.bytes()))
            .collect();
        assert_eq!(of, [(0, 4 << 20), (1, 2 << 10)]);
        assert_eq!(record.bytes(), (4 << 20) + (2 << 10));
        assert!(record.new_readers().is_empty(), "each is handed out once");
    }
}
