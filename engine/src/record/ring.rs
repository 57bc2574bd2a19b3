//! A bounded ring of events between the one thread that records and the one that empties it.

use super::event::{ClientEvent, Words};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What both ends share. Positions only grow; a slot is its position modulo the number of slots.
#[derive(Debug)]
struct Ring {
    slots: Box<[[AtomicU64; 4]]>,
    /// What the recorder writes.
    recorded: OwnLine<Recorded>,
    /// Where the reader is: what is before it may be written over.
    read: OwnLine<AtomicU64>,
}

#[derive(Debug, Default)]
struct Recorded {
    /// Events that may be read.
    position: AtomicU64,
    /// Events that found no room.
    dropped: AtomicU64,
}

/// Alone on its cache lines: two, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OwnLine<T>(T);

/// The end of the thread that records.
#[derive(Debug)]
pub struct Recorder {
    ring: Arc<Ring>,
    position: u64,
    /// Where the reader was when last looked.
    read: u64,
    dropped: u64,
}

/// The other end.
#[derive(Debug)]
pub struct RingReader {
    ring: Arc<Ring>,
    position: u64,
}

/// A ring with room for so many events, rounded up to a power of two.
pub fn ring(events: usize) -> (Recorder, RingReader) {
    // Written to now, so that the memory is there before it is measured.
    let slots = (0..events.next_power_of_two()).map(|_| [0; 4].map(AtomicU64::new));
    let ring = Arc::new(Ring {
        slots: slots.collect(),
        recorded: OwnLine::default(),
        read: OwnLine::default(),
    });
    let reader = RingReader {
        ring: Arc::clone(&ring),
        position: 0,
    };
    let recorder = Recorder {
        ring,
        position: 0,
        read: 0,
        dropped: 0,
    };
    (recorder, reader)
}

impl Ring {
    #[inline]
    fn slot(&self, position: u64) -> &[AtomicU64; 4] {
        &self.slots[position as usize & (self.slots.len() - 1)]
    }

    fn len(&self) -> u64 {
        self.slots.len() as u64
    }
}

impl Recorder {
    /// Records an event, or counts it as dropped where the ring is full. Never waits.
    #[inline]
    pub fn record(&mut self, event: ClientEvent) {
        if !self.has_room() {
            return self.drop_one();
        }
        let words = event.to_words();
        for (slot, word) in self.ring.slot(self.position).iter().zip(words) {
            slot.store(word, Relaxed);
        }
        self.position += 1;
        // The words are there for whoever sees this position.
        self.ring.recorded.0.position.store(self.position, Release);
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        if self.position - self.read < self.ring.len() {
            return true;
        }
        // What the reader has left behind may be written over.
        self.read = self.ring.read.0.load(Acquire);
        self.position - self.read < self.ring.len()
    }

    #[cold]
    fn drop_one(&mut self) {
        self.dropped += 1;
        self.ring.recorded.0.dropped.store(self.dropped, Relaxed);
    }
}

impl RingReader {
    /// The oldest event that was not read, if there is one.
    pub fn pop(&mut self) -> Option<ClientEvent> {
        if self.position == self.ring.recorded.0.position.load(Acquire) {
            return None;
        }
        let mut words: Words = [0; 4];
        for (word, slot) in words.iter_mut().zip(self.ring.slot(self.position)) {
            *word = slot.load(Relaxed);
        }
        self.position += 1;
        // The recorder writes here again only after it has seen this.
        self.ring.read.0.store(self.position, Release);
        Some(ClientEvent::of_words(words))
    }

    /// Events that found no room so far.
    pub fn dropped(&self) -> u64 {
        self.ring.recorded.0.dropped.load(Relaxed)
    }

    /// Memory of the ring, bytes.
    pub fn bytes(&self) -> u64 {
        size_of_val::<[_]>(&self.ring.slots) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::Happening;
    use super::*;

    fn sent(number: u64) -> ClientEvent {
        ClientEvent {
            at_ns: number,
            client: number as u32,
            what: Happening::Sent(number),
        }
    }

    #[test]
    fn a_full_ring_drops_what_is_new_and_counts_it() {
        let (mut recorder, mut reader) = ring(4);
        (0..7).for_each(|number| recorder.record(sent(number)));
        assert_eq!(reader.dropped(), 3);
        let read: Vec<_> = std::iter::from_fn(|| reader.pop()).collect();
        assert_eq!(read, [0, 1, 2, 3].map(sent));
        recorder.record(sent(7));
        assert_eq!((reader.pop(), reader.pop()), (Some(sent(7)), None));
        assert_eq!(reader.dropped(), 3);
    }

    /// Whatever the two threads do: what was recorded comes once, in order and whole, and what is missing is counted.
    #[test]
    fn two_threads_lose_nothing_that_is_not_counted() {
        for (events, pause_every) in [(1, 3), (8, 1_000), (1 << 12, u64::MAX)] {
            const ALL: u64 = 300_000;
            let (mut recorder, mut reader) = ring(events);
            let recording = std::thread::spawn(move || {
                for number in 0..ALL {
                    recorder.record(sent(number));
                    if number % pause_every == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            let (mut read, mut last) = (0, None);
            loop {
                let is_over = recording.is_finished();
                while let Some(event) = reader.pop() {
                    assert_eq!(event, sent(event.at_ns), "its words belong together");
                    assert!(last < Some(event.at_ns), "{last:?} {event:?}");
                    last = Some(event.at_ns);
                    read += 1;
                }
                if is_over {
                    break;
                }
            }
            recording.join().unwrap();
            assert_eq!(read + reader.dropped(), ALL, "ring of {events}");
            assert!(read > 0);
        }
    }
}
