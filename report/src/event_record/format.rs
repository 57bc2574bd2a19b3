//! Bytes of the event record: see the module's text.

use super::{Event, Exit, What};
use crate::document::ErrorKind;

const FILE_MAGIC: &[u8; 8] = b"lrevents";
const VERSION: u32 = 1;
pub(super) const FILE_HEADER_BYTES: usize = 64;

pub(super) const CHUNK_MAGIC: &[u8; 8] = b"lrchunk\n";
pub(super) const CHUNK_HEADER_BYTES: usize = 72;

pub(super) const RECORD_BYTES: usize = 32;

/// Records of one chunk at most: half a MiB.
pub const CHUNK_RECORDS_MAX: usize = 1 << 14;

/// Why clients crash, by number in the file. New ones are added at the end; what a reader does not know is
/// [`ErrorKind::Other`] to it.
pub const REASONS: [ErrorKind; 13] = [
    ErrorKind::Other,
    ErrorKind::ConnectRefused,
    ErrorKind::ConnectTimeout,
    ErrorKind::Reset,
    ErrorKind::ClosedEarly,
    ErrorKind::Timeout,
    ErrorKind::Short,
    ErrorKind::Long,
    ErrorKind::Unsolicited,
    ErrorKind::Mismatch,
    ErrorKind::NoPorts,
    ErrorKind::NoDescriptors,
    ErrorKind::Protocol,
];

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Boot id of the kernel; zeros where there is none.
    pub boot_id: [u8; 16],
    /// Wall clock when the record began, ns since 1970-01-01 UTC. Names the run.
    pub unix_ns: u64,
    /// The conductor's monotonic clock at the same instant, ns.
    pub monotonic_ns: u64,
}

/// What a chunk begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The run: [`FileHeader::unix_ns`].
    pub run: u64,
    /// The agent's monotonic clock minus the conductor's, ns.
    pub clock_offset_ns: i64,
    /// Instant of the earliest record, ns.
    pub first_ns: u64,
    /// Instant of the latest, ns.
    pub last_ns: u64,
    /// Events that the worker has dropped so far in this round.
    pub dropped: u64,
    /// The round, from 1.
    pub round: u32,
    /// How many records follow.
    pub records: u32,
    /// The load agent, from 0.
    pub agent: u16,
    /// Its worker, from 0.
    pub worker: u16,
    /// CRC-32 of the records.
    pub records_crc: u32,
}

/// Why a file is no event record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// It begins otherwise.
    Other,
    /// It is one, of a later version.
    Newer(u32),
    /// It begins like one, and the rest of the header is damaged.
    Damaged,
}

/// The first bytes of a file.
pub fn file_header_bytes(header: &FileHeader) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES);
    bytes.extend(FILE_MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((FILE_HEADER_BYTES as u32).to_le_bytes());
    bytes.extend(header.boot_id);
    bytes.extend(header.unix_ns.to_le_bytes());
    bytes.extend(header.monotonic_ns.to_le_bytes());
    bytes.extend([0; 12]);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

impl FileHeader {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, NoHeader> {
        if bytes.get(..8) != Some(FILE_MAGIC) {
            return Err(NoHeader::Other);
        }
        if bytes.len() < FILE_HEADER_BYTES {
            return Err(NoHeader::Damaged);
        }
        // First: another version may have another header.
        let version = u32_at(bytes, 8);
        let is_whole = crc32fast::hash(&bytes[..60]) == u32_at(bytes, 60);
        match (version, is_whole) {
            (VERSION, true) => Ok(Self {
                boot_id: std::array::from_fn(|index| bytes[16 + index]),
                unix_ns: u64_at(bytes, 32),
                monotonic_ns: u64_at(bytes, 40),
            }),
            (VERSION, false) => Err(NoHeader::Damaged),
            (newer @ 2..=1_000, _) => Err(NoHeader::Newer(newer)),
            _ => Err(NoHeader::Damaged),
        }
    }
}

/// Puts a chunk with these events, at most [`CHUNK_RECORDS_MAX`], into `bytes`, and nothing else. `header` says who recorded
/// them and what was dropped; the rest of it follows from the events.
pub fn chunk_into(bytes: &mut Vec<u8>, header: &ChunkHeader, events: &[Event]) {
    bytes.clear();
    bytes.resize(CHUNK_HEADER_BYTES, 0);
    for event in events {
        bytes.extend(record_bytes(event));
    }
    let instants = || events.iter().map(|event| event.at_ns);
    let header = ChunkHeader {
        first_ns: instants().min().unwrap_or(0),
        last_ns: instants().max().unwrap_or(0),
        records: events.len() as u32,
        records_crc: crc32fast::hash(&bytes[CHUNK_HEADER_BYTES..]),
        ..*header
    };
    bytes[..CHUNK_HEADER_BYTES].copy_from_slice(&header.bytes());
}

impl ChunkHeader {
    /// Of a worker that has dropped nothing yet.
    pub fn of(run: u64, round: u32, agent: u16, worker: u16) -> Self {
        Self {
            run,
            clock_offset_ns: 0,
            first_ns: 0,
            last_ns: 0,
            dropped: 0,
            round,
            records: 0,
            agent,
            worker,
            records_crc: 0,
        }
    }

    fn bytes(&self) -> [u8; CHUNK_HEADER_BYTES] {
        let mut bytes = [0; CHUNK_HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, CHUNK_MAGIC);
        put(8, &self.run.to_le_bytes());
        put(16, &self.clock_offset_ns.to_le_bytes());
        put(24, &self.first_ns.to_le_bytes());
        put(32, &self.last_ns.to_le_bytes());
        put(40, &self.dropped.to_le_bytes());
        put(48, &self.round.to_le_bytes());
        put(52, &self.records.to_le_bytes());
        put(56, &self.agent.to_le_bytes());
        put(58, &self.worker.to_le_bytes());
        put(60, &self.records_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..68]);
        bytes[68..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if these bytes are none, or are damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let is_whole = bytes.len() >= CHUNK_HEADER_BYTES
            && bytes.starts_with(CHUNK_MAGIC)
            && crc32fast::hash(&bytes[..68]) == u32_at(bytes, 68);
        if !is_whole {
            return None;
        }
        let header = Self {
            run: u64_at(bytes, 8),
            clock_offset_ns: u64_at(bytes, 16).cast_signed(),
            first_ns: u64_at(bytes, 24),
            last_ns: u64_at(bytes, 32),
            dropped: u64_at(bytes, 40),
            round: u32_at(bytes, 48),
            records: u32_at(bytes, 52),
            agent: u16_at(bytes, 56),
            worker: u16_at(bytes, 58),
            records_crc: u32_at(bytes, 60),
        };
        (header.records as usize <= CHUNK_RECORDS_MAX).then_some(header)
    }

    /// Length of the records, bytes.
    pub(super) fn records_bytes(&self) -> usize {
        self.records as usize * RECORD_BYTES
    }

    /// The record that lies in these bytes; `None` if they are none of this chunk.
    pub(super) fn record(&self, bytes: &[u8]) -> Option<Event> {
        let event = read_record(bytes)?;
        (self.first_ns..=self.last_ns)
            .contains(&event.at_ns)
            .then_some(event)
    }

    /// An instant of this chunk on the conductor's clock.
    pub(super) fn on_conductors_clock(&self, at_ns: u64) -> u64 {
        at_ns.wrapping_add_signed(self.clock_offset_ns.wrapping_neg())
    }
}

fn record_bytes(event: &Event) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(&event.at_ns.to_le_bytes());
    bytes[16..20].copy_from_slice(&event.client.to_le_bytes());
    let (kind, sequence) = match event.what {
        What::Start => (0, 0),
        What::Open => (1, 0),
        What::Sent(sequence) => (2, sequence),
        What::Received(sequence) => (3, sequence),
        What::Exit(_) => (4, 0),
    };
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    bytes[24] = kind;
    if let What::Exit(exit) = event.what {
        bytes[25] = match exit {
            Exit::Normal => 0,
            Exit::ConnectTimeout => 1,
            Exit::Crash { .. } => 2,
            Exit::Unfinished => 3,
        };
        if let Exit::Crash { reason, errno } = exit {
            let number = REASONS.iter().position(|known| *known == reason);
            bytes[26] = number.unwrap_or(0) as u8;
            bytes[20..24].copy_from_slice(&errno.to_le_bytes());
        }
    }
    bytes
}

fn read_record(bytes: &[u8]) -> Option<Event> {
    let number = u64_at(bytes, 8);
    let what = match (bytes[24], bytes[25]) {
        (0, 0) => What::Start,
        (1, 0) => What::Open,
        (2, 0) => What::Sent(number),
        (3, 0) => What::Received(number),
        (4, 0) => What::Exit(Exit::Normal),
        (4, 1) => What::Exit(Exit::ConnectTimeout),
        (4, 2) => What::Exit(Exit::Crash {
            reason: *REASONS.get(bytes[26] as usize).unwrap_or(&ErrorKind::Other),
            errno: u32_at(bytes, 20).cast_signed(),
        }),
        (4, 3) => What::Exit(Exit::Unfinished),
        _ => return None,
    };
    let is_rest_zero = bytes[27..32].iter().all(|&byte| byte == 0);
    is_rest_zero.then(|| Event {
        at_ns: u64_at(bytes, 0),
        client: u32_at(bytes, 16),
        what,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes as the module's text has them, written out by hand: a file of today is read tomorrow.
    #[test]
    fn the_bytes_are_those_of_version_1() {
        let crash = Exit::Crash {
            reason: ErrorKind::Reset,
            errno: 104,
        };
        let event = Event {
            at_ns: 0x0102_0304_0506_0708,
            client: 0x0a0b_0c0d,
            what: What::Exit(crash),
        };
        let expected = "0807060504030201 0000000000000000 0d0c0b0a 68000000 04 02 03 0000000000";
        assert_eq!(hex(&record_bytes(&event)), expected.replace(' ', ""));
        let sent = Event {
            what: What::Sent(0x11),
            ..event
        };
        let expected = "0807060504030201 1100000000000000 0d0c0b0a 00000000 02 00 00 0000000000";
        assert_eq!(hex(&record_bytes(&sent)), expected.replace(' ', ""));
        let mut chunk = Vec::new();
        let header = ChunkHeader {
            clock_offset_ns: -2,
            dropped: 9,
            ..ChunkHeader::of(1, 3, 4, 5)
        };
        chunk_into(&mut chunk, &header, &[]);
        // Sums by python3's zlib.crc32.
        let expected = "6c726368756e6b0a 0100000000000000 feffffffffffffff 0000000000000000 0000000000000000 \
                        0900000000000000 03000000 00000000 0400 0500 00000000 00000000 CRC";
        let body = expected.replace(' ', "").replace("CRC", "");
        assert_eq!(hex(&chunk[..68]), body);
        assert_eq!(u32_at(&chunk, 68), CHUNK_CRC);
        let file = file_header_bytes(&FileHeader {
            boot_id: std::array::from_fn(|index| index as u8),
            unix_ns: 1,
            monotonic_ns: 2,
        });
        let expected = "6c726576656e7473 01000000 40000000 000102030405060708090a0b0c0d0e0f \
                        0100000000000000 0200000000000000 000000000000000000000000";
        assert_eq!(hex(&file[..60]), expected.replace(' ', ""));
        assert_eq!(u32_at(&file, 60), FILE_CRC);
    }

    const CHUNK_CRC: u32 = 0xc281_3a4c;
    const FILE_CRC: u32 = 0x78c0_b8d3;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_reason_that_is_not_known_is_another() {
        let event = Event {
            at_ns: 0,
            client: 0,
            what: What::Exit(Exit::Crash {
                reason: ErrorKind::Timeout,
                errno: 0,
            }),
        };
        let mut bytes = record_bytes(&event);
        assert_eq!(read_record(&bytes), Some(event));
        bytes[26] = 200;
        let crash = Exit::Crash {
            reason: ErrorKind::Other,
            errno: 0,
        };
        let read = read_record(&bytes).map(|event| event.what);
        assert_eq!(read, Some(What::Exit(crash)));
    }
}
