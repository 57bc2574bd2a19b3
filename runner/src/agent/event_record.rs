//! The events of a load's workers go into a file, by a thread of its own that is on no worker's CPU.

use super::side::document_kind;
use crate::error::Failure;
use crate::event_record::EventRecordTask;
use crate::protocol::Task;
use engine::record::{ClientEvent, Ending, EventRecord, Happening, RingReader};
use report::document::EventRecordUse;
use report::event_record::{CHUNK_RECORDS_MAX, ChunkHeader, Event, Exit, What, chunk_into};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often the rings are emptied: several times before the ring of the fastest worker is full.
const EMPTIED_EVERY: Duration = Duration::from_millis(5);

/// The thread, until it has ended. Dropped, it writes what there is and ends.
pub(super) struct EventWriter {
    record: Arc<EventRecord>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<EventRecordUse>>,
}

impl EventWriter {
    /// Begins, where events are to be recorded.
    pub fn start(task: &Task) -> Result<Option<Self>, Failure> {
        let Some(wanted) = &task.event_record else {
            return Ok(None);
        };
        let path = wanted.file.path.display().to_string();
        let file = OpenOptions::new().append(true).open(&wanted.file.path);
        let file = file.map_err(|error| {
            Failure::usage(format!(
                "write the event record {path}: {error}; name a file that stays while it is written"
            ))
        })?;
        let record = Arc::new(EventRecord::default());
        let mut filing = Filing::new(file, path, wanted, task.agent.number as u16);
        let (stop, stopped) = channel();
        let rings = Arc::clone(&record);
        let thread = Builder::new()
            .name("event-record".to_owned())
            .spawn(move || filing.run(&rings, &stopped))
            .map_err(|error| {
                Failure::machine(format!(
                    "start the thread that writes the event record: {error}; raise the process limit (ulimit -u)"
                ))
            })?;
        Ok(Some(Self {
            record,
            stop: Some(stop),
            thread: Some(thread),
        }))
    }

    /// Where the workers get their recorders.
    pub fn record(&self) -> Arc<EventRecord> {
        Arc::clone(&self.record)
    }

    /// The workers have returned: writes the last events, and says what became of all.
    pub fn end(mut self) -> EventRecordUse {
        self.join().unwrap_or_else(|| EventRecordUse {
            failure: Some(
                "the thread that writes it has panicked, which is a bug in linerate".into(),
            ),
            ..EventRecordUse::default()
        })
    }

    fn join(&mut self) -> Option<EventRecordUse> {
        drop(self.stop.take());
        self.thread.take()?.join().ok()
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.join();
    }
}

/// What the thread has.
struct Filing<W> {
    file: W,
    path: String,
    run: u64,
    round: u32,
    agent: u16,
    workers: BTreeMap<u32, Worker>,
    /// Of the chunk that is being made.
    events: Vec<Event>,
    bytes: Vec<u8>,
    written: u64,
    /// Events that were taken, and that the file did not take.
    lost: u64,
    failure: Option<String>,
}

/// The rings of one worker.
#[derive(Default)]
struct Worker {
    rings: Vec<RingReader>,
    /// What the file says that it has dropped.
    dropped_said: u64,
}

impl Worker {
    fn dropped(&self) -> u64 {
        self.rings.iter().map(RingReader::dropped).sum()
    }

    /// Takes events, as many as a chunk holds.
    fn take(&mut self, events: &mut Vec<Event>) {
        events.clear();
        for ring in &mut self.rings {
            let room = CHUNK_RECORDS_MAX - events.len();
            events.extend(std::iter::from_fn(|| ring.pop()).take(room).map(event));
        }
    }
}

impl<W: Write> Filing<W> {
    fn new(file: W, path: String, task: &EventRecordTask, agent: u16) -> Self {
        Self {
            file,
            path,
            run: task.file.run,
            round: task.round,
            agent,
            workers: BTreeMap::new(),
            events: Vec::new(),
            bytes: Vec::new(),
            written: 0,
            lost: 0,
            failure: None,
        }
    }

    fn run(&mut self, record: &EventRecord, stopped: &Receiver<()>) -> EventRecordUse {
        loop {
            let is_over = stopped.recv_timeout(EMPTIED_EVERY) != Err(RecvTimeoutError::Timeout);
            let mut turns = 1;
            while self.take_all(record) && is_over && turns < LAST_TURNS {
                turns += 1;
            }
            if is_over {
                return self.usage();
            }
        }
    }

    /// Empties every ring into the file. Whether there may be more in them.
    fn take_all(&mut self, record: &EventRecord) -> bool {
        for (number, ring) in record.new_readers() {
            self.workers.entry(number).or_default().rings.push(ring);
        }
        let mut workers = std::mem::take(&mut self.workers);
        let mut has_more = false;
        for (number, worker) in &mut workers {
            // A worker that records as fast as this empties its ring does not keep the others waiting.
            let mut is_empty = false;
            for _ in 0..CHUNKS_PER_TURN {
                worker.take(&mut self.events);
                let dropped = worker.dropped();
                is_empty = self.events.len() < CHUNK_RECORDS_MAX;
                if self.events.is_empty() && dropped == worker.dropped_said {
                    break;
                }
                worker.dropped_said = dropped;
                self.write_chunk(*number as u16, dropped);
                if is_empty {
                    break;
                }
            }
            has_more |= !is_empty;
        }
        self.workers = workers;
        has_more
    }

    fn write_chunk(&mut self, worker: u16, dropped: u64) {
        let count = self.events.len() as u64;
        if self.failure.is_none() {
            let header = ChunkHeader {
                dropped,
                ..ChunkHeader::of(self.run, self.round, self.agent, worker)
            };
            chunk_into(&mut self.bytes, &header, &self.events);
            // One write(2), so that agents do not write into each other's chunks: the file was opened to append.
            if let Err(error) = self.file.write_all(&self.bytes) {
                self.failure = Some(format!("cannot write {}: {error}", self.path));
            }
        }
        match self.failure {
            None => self.written += count,
            Some(_) => self.lost += count,
        }
    }

    fn usage(&self) -> EventRecordUse {
        let dropped: u64 = self.workers.values().map(Worker::dropped).sum();
        EventRecordUse {
            events: self.written + self.lost + dropped,
            written: self.written,
            failure: self.failure.clone(),
        }
    }
}

/// Twice what the ring of a worker holds.
const CHUNKS_PER_TURN: usize = 16;

/// Of the last turn, after which workers record nothing: the rings of ten million threads hold no more.
const LAST_TURNS: u32 = 2_500;

/// The event as the file has it.
fn event(event: ClientEvent) -> Event {
    Event {
        at_ns: event.at_ns,
        client: event.client,
        what: match event.what {
            Happening::Start => What::Start,
            Happening::Open => What::Open,
            Happening::Sent(sequence) => What::Sent(sequence),
            Happening::Received(sequence) => What::Received(sequence),
            Happening::Exit(ending) => What::Exit(exit(ending)),
        },
    }
}

fn exit(ending: Ending) -> Exit {
    match ending {
        Ending::Normal => Exit::Normal,
        Ending::Unfinished => Exit::Unfinished,
        Ending::ConnectTimeout => Exit::ConnectTimeout,
        Ending::Failed { kind, errno } => Exit::Crash {
            reason: document_kind(kind),
            errno,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_record::EventFile;
    use engine::meter::ErrorKind;
    use report::event_record::{FileHeader, REASONS, Recording, file_header_bytes};
    use std::io::{self, Cursor};

    const RUN: u64 = 77;

    fn filing<W: Write>(file: W) -> Filing<W> {
        let task = EventRecordTask {
            file: EventFile {
                path: "/here".into(),
                run: RUN,
            },
            round: 1,
        };
        Filing::new(file, "/here".to_owned(), &task, 3)
    }

    fn sent(client: u32, sequence: u64) -> ClientEvent {
        ClientEvent {
            at_ns: 1_000 + sequence,
            client,
            what: Happening::Sent(sequence),
        }
    }

    #[test]
    fn the_last_turn_empties_the_rings_of_thousands_of_threads() {
        let record = EventRecord::default();
        let mut recorders: Vec<_> = (0..6_000).map(|_| record.recorder(0, 6_000)).collect();
        for (recorder, client) in recorders.iter_mut().zip(0..) {
            (0..64).for_each(|number| recorder.record(sent(client, number)));
        }
        let (stop, stopped) = channel();
        drop(stop);
        let usage = filing(header()).run(&record, &stopped);
        assert_eq!((usage.events, usage.written), (384_000, 384_000));
    }

    /// A disk that takes so many bytes.
    struct Small(Vec<u8>, usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1 - self.0.len());
            if taken == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn header() -> Vec<u8> {
        file_header_bytes(&FileHeader {
            boot_id: [0; 16],
            unix_ns: RUN,
            monotonic_ns: 0,
        })
    }

    #[test]
    fn what_workers_record_is_in_the_file_and_what_they_drop_is_counted() {
        let record = EventRecord::default();
        let mut recorders = [record.recorder(0, 1), record.recorder(1, 1 << 20)];
        let mut filing = filing(header());
        filing.take_all(&record);
        for number in 0..100_000 {
            recorders[0].record(sent(0, number));
        }
        // Its ring holds 64.
        for number in 0..70 {
            recorders[1].record(sent(1, number));
        }
        filing.take_all(&record);
        recorders[1].record(sent(1, 70));
        filing.take_all(&record);
        let usage = filing.usage();
        let expected = EventRecordUse {
            events: 100_071,
            written: 100_065,
            failure: None,
        };
        assert_eq!((usage.missing(), usage), (6, expected));
        let mut recording = Recording::open(Cursor::new(filing.file)).unwrap();
        assert!(recording.flaws().are_none());
        let sums = recording.aggregates().unwrap();
        assert_eq!((sums.messages_sent, sums.dropped), (100_065, 6));
        let is_of_agent = |placed: &report::event_record::Placed| placed.agent == 3;
        let each = recording.each_in_time(|placed| {
            assert!(is_of_agent(placed));
            Ok(())
        });
        each.unwrap();
    }

    #[test]
    fn a_full_disk_loses_events_and_counts_them() {
        let record = EventRecord::default();
        let mut recorder = record.recorder(0, 1);
        let mut filing = filing(Small(header(), 1_000));
        for turn in 0..10 {
            recorder.record(sent(0, 2 * turn));
            recorder.record(sent(0, 2 * turn + 1));
            filing.take_all(&record);
        }
        let usage = filing.usage();
        // Six chunks of 136 bytes behind a header of 64.
        assert_eq!((usage.events, usage.written), (20, 12));
        let why = usage.failure.expect("a reason");
        assert!(why.starts_with("cannot write /here: "), "{why}");
        let recording = Recording::open(Cursor::new(filing.file.0)).unwrap();
        let (readable, flaws) = (recording.events_count(), recording.flaws());
        assert!((12..14).contains(&readable) && !flaws.are_none());
    }

    /// A kind without a number in the file would be another one when it is read.
    #[test]
    fn every_kind_of_failure_has_its_number() {
        for kind in ErrorKind::ALL {
            let reason = document_kind(kind);
            assert_eq!(reason.name(), kind.name());
            assert!(REASONS.contains(&reason), "{reason:?}");
        }
    }
}
