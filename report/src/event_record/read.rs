//! What a file has that can be read, and where it cannot: every chunk is found and checked before anything is said of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use super::format::{
    CHUNK_HEADER_BYTES, CHUNK_MAGIC, ChunkHeader, FILE_HEADER_BYTES, FileHeader, NoHeader,
    RECORD_BYTES,
};
use super::{Event, Placed};
use crate::units::grouped;

/// An event record that was looked through.
#[derive(Debug)]
pub struct Recording<R> {
    file: At<R>,
    header: FileHeader,
    /// Those with records, in the order of the file.
    pub(super) chunks: Vec<Chunk>,
    flaws: Flaws,
    /// Bytes of records that were read in chunks that are then not taken.
    in_vain: u64,
    /// Events that each worker has dropped in each round.
    dropped: BTreeMap<(u32, u16, u16), u64>,
}

/// A chunk that can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    header: ChunkHeader,
    /// Where its records begin.
    at: u64,
    /// How many of its records are there.
    records: u32,
}

impl Chunk {
    /// Instant of its earliest record on the conductor's clock, ns.
    pub fn first_ns(&self) -> u64 {
        self.header.on_conductors_clock(self.header.first_ns)
    }
}

/// Why nothing can be read of a file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It begins otherwise.
    #[error("it is no event record; `linerate run --event-record FILE` writes one")]
    Other,
    /// Of a later format.
    #[error(
        "it is an event record of format {0}, which this linerate does not know; use a newer one"
    )]
    Newer(u32),
    /// Its first 64 bytes are not as they were written.
    #[error("its header (bytes 0 to 64) is damaged or cut short, and nothing of it can be read")]
    Damaged,
}

impl<R: Read + Seek> Recording<R> {
    /// Looks through a file.
    ///
    /// # Errors
    /// What the system answers, and a file that is none of ours. What is damaged in it is in [`Recording::flaws`].
    pub fn open(file: R) -> Result<Self, OpenError> {
        let mut file = At::new(file)?;
        let mut header = [0; FILE_HEADER_BYTES];
        let length = file.read(0, &mut header)?;
        let header = FileHeader::read(&header[..length]).map_err(|why| match why {
            NoHeader::Other => OpenError::Other,
            NoHeader::Newer(version) => OpenError::Newer(version),
            NoHeader::Damaged => OpenError::Damaged,
        })?;
        let mut recording = Self {
            file,
            header,
            chunks: Vec::new(),
            flaws: Flaws::default(),
            in_vain: 0,
            dropped: BTreeMap::new(),
        };
        recording.look_through()?;
        Ok(recording)
    }

    fn look_through(&mut self) -> io::Result<()> {
        let mut at = FILE_HEADER_BYTES as u64;
        let mut buffer = Vec::new();
        while at < self.file.length {
            if self.in_vain > IN_VAIN_MAX * self.file.length {
                self.flaws.add(Flaw {
                    from: at,
                    to: self.file.length,
                    why: "too many chunks before it are damaged".to_owned(),
                });
                return Ok(());
            }
            at = match self.chunk_at(at, &mut buffer)? {
                Ok(next) => next,
                Err((from, why)) => self.skip(at, from, why)?,
            };
        }
        Ok(())
    }

    /// Takes in the chunk that begins at `at`, and returns where the next one does; or from where to look for another,
    /// and why.
    fn chunk_at(
        &mut self,
        at: u64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Result<u64, (u64, &'static str)>> {
        let mut bytes = [0; CHUNK_HEADER_BYTES];
        let length = self.file.read(at, &mut bytes)?;
        let Some(header) = ChunkHeader::read(&bytes[..length]) else {
            let why = match length < CHUNK_HEADER_BYTES {
                true => ENDS_IN_HEADER,
                false => "there is no chunk, or the header of one is damaged",
            };
            return Ok(Err((at + 1, why)));
        };
        let records_at = at + CHUNK_HEADER_BYTES as u64;
        if header.run != self.header.unix_ns {
            return Ok(Err((records_at, "a chunk of another run")));
        }
        buffer.resize(header.records_bytes(), 0);
        let length = self.file.read(records_at, buffer)?;
        self.in_vain += length as u64;
        if length < buffer.len() {
            return self.cut_chunk(at, &header, &buffer[..length]);
        }
        if crc32fast::hash(buffer) != header.records_crc || !are_valid(&header, buffer) {
            return Ok(Err((records_at, "the records of a chunk are damaged")));
        }
        self.in_vain -= length as u64;
        self.take(&header, records_at, header.records);
        Ok(Ok(records_at + length as u64))
    }

    /// A chunk that is longer than what is left of the file: cut with it; or a write was cut short, and others wrote on.
    fn cut_chunk(
        &mut self,
        at: u64,
        header: &ChunkHeader,
        bytes: &[u8],
    ) -> io::Result<Result<u64, (u64, &'static str)>> {
        let records_at = at + CHUNK_HEADER_BYTES as u64;
        if self.next_magic(records_at)?.is_some() {
            return Ok(Err((records_at, "a chunk was not written whole")));
        }
        let records = bytes.chunks_exact(RECORD_BYTES);
        let whole = records.take_while(|bytes| header.record(bytes).is_some());
        let whole = whole.count() as u32;
        self.take(header, records_at, whole);
        let from = records_at + u64::from(whole) * RECORD_BYTES as u64;
        self.flaws.add(Flaw {
            from,
            to: self.file.length,
            why: format!(
                "the file ends in a chunk, of which {} of {} events are there",
                grouped(whole.into()),
                grouped(header.records.into())
            ),
        });
        Ok(Ok(self.file.length))
    }

    fn take(&mut self, header: &ChunkHeader, at: u64, records: u32) {
        let worker = (header.round, header.agent, header.worker);
        let dropped = self.dropped.entry(worker).or_default();
        *dropped = (*dropped).max(header.dropped);
        if records > 0 {
            self.chunks.push(Chunk {
                header: *header,
                at,
                records,
            });
        }
    }

    /// Goes on with the next chunk from `from` on; what is between `at` and that is not read.
    fn skip(&mut self, at: u64, from: u64, why: &str) -> io::Result<u64> {
        let to = self.next_magic(from)?.unwrap_or(self.file.length);
        self.flaws.add(Flaw {
            from: at,
            to,
            why: why.to_owned(),
        });
        Ok(to)
    }

    /// Where the next chunk may begin.
    fn next_magic(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        const OVERLAP: usize = CHUNK_MAGIC.len() - 1;
        let mut block = vec![0; 1 << 16];
        loop {
            let length = self.file.read(from, &mut block)?;
            let found = block[..length]
                .windows(CHUNK_MAGIC.len())
                .position(|bytes| bytes == CHUNK_MAGIC);
            match found {
                Some(index) => return Ok(Some(from + index as u64)),
                None if length < block.len() => return Ok(None),
                None => from += (length - OVERLAP) as u64,
            }
        }
    }

    /// The events of a chunk, in the order of the file.
    pub(super) fn events(&mut self, chunk: &Chunk) -> io::Result<Vec<Placed>> {
        let header = &chunk.header;
        let mut bytes = vec![0; chunk.records as usize * RECORD_BYTES];
        let length = self.file.read(chunk.at, &mut bytes)?;
        let is_cut = chunk.records < header.records;
        if length < bytes.len() || !is_cut && crc32fast::hash(&bytes) != header.records_crc {
            return Err(has_changed());
        }
        let placed = |bytes: &[u8]| {
            let event = header.record(bytes).ok_or_else(has_changed)?;
            Ok(Placed {
                event: Event {
                    at_ns: header.on_conductors_clock(event.at_ns),
                    ..event
                },
                round: header.round,
                agent: header.agent,
                worker: header.worker,
            })
        };
        bytes.chunks_exact(RECORD_BYTES).map(placed).collect()
    }

    /// What the file begins with.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// What of it cannot be read, and where it ends before its time.
    pub fn flaws(&self) -> &Flaws {
        &self.flaws
    }

    /// Events that can be read.
    pub fn events_count(&self) -> u64 {
        let records = self.chunks.iter().map(|chunk| u64::from(chunk.records));
        records.sum()
    }

    /// Events that happened and are not in the file, because nobody emptied a worker's ring in time.
    pub fn dropped(&self) -> u64 {
        let dropped = self.dropped.values();
        dropped.fold(0, |sum, dropped| sum.saturating_add(*dropped))
    }
}

/// Headers that are whole and promise records that are not could make a short file take for ever: no more than so many times
/// its length is read for them.
const IN_VAIN_MAX: u64 = 8;

const ENDS_IN_HEADER: &str = "the file ends in the header of a chunk";

fn are_valid(header: &ChunkHeader, bytes: &[u8]) -> bool {
    let mut records = bytes.chunks_exact(RECORD_BYTES);
    records.all(|bytes| header.record(bytes).is_some())
}

fn has_changed() -> io::Error {
    let why = "it has changed while it was read";
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A part of a file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Its first byte.
    pub from: u64,
    /// The byte after its last.
    pub to: u64,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, why } = self;
        write!(f, "bytes {from} to {to} are not read: {why}")
    }
}

/// All of them: the first ones in words, the others as a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    listed: Vec<Flaw>,
    count: u64,
    bytes: u64,
}

/// Flaws that are kept in words.
const LISTED: usize = 20;

impl Flaws {
    fn add(&mut self, flaw: Flaw) {
        self.bytes += flaw.to - flaw.from;
        let are_all_listed = self.more() == 0;
        if let Some(last) = self.listed.last_mut()
            && are_all_listed
            && last.to == flaw.from
        {
            // What follows without a gap is the same damage.
            last.to = flaw.to;
            return;
        }
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push(flaw);
        }
    }

    /// Whether all of the file can be read.
    pub fn are_none(&self) -> bool {
        self.count == 0
    }

    /// How many bytes cannot be read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first ones, in the order of the file.
    pub fn listed(&self) -> &[Flaw] {
        &self.listed
    }

    /// How many more there are.
    pub fn more(&self) -> u64 {
        self.count - self.listed.len() as u64
    }
}

/// A file that is read at places of it.
#[derive(Debug)]
struct At<R> {
    source: R,
    /// Where it is.
    at: u64,
    /// Its length when it was opened: what is added meanwhile is of no interest.
    length: u64,
}

impl<R: Read + Seek> At<R> {
    fn new(mut source: R) -> io::Result<Self> {
        let length = source.seek(SeekFrom::End(0))?;
        Ok(Self {
            source,
            at: length,
            length,
        })
    }

    /// Fills `buffer` from byte `at` on, as far as the file goes; returns how far.
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(at);
        let wanted = left.min(buffer.len() as u64) as usize;
        if self.at != at {
            self.source.seek(SeekFrom::Start(at))?;
        }
        let mut filled = 0;
        while filled < wanted {
            match self.source.read(&mut buffer[filled..wanted]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.at = at + filled as u64;
        Ok(filled)
    }
}
