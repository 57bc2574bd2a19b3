//! What a connection has been asked to send and the kernel has not taken yet.
//!
//! Bounded: a connection holds at most [`LEASES_MAX`] leases of the shared receive buffers, one
//! while half of them are out, and none while few are left; beyond that its echoes are copied into
//! blocks of its own, and above [`Outbox::PAUSE_BYTES`] of them the worker pauses receiving. So a peer that never reads costs
//! a bounded amount of memory and starves nobody.

pub mod budget;
mod lending;

pub use lending::{LeaseShape, Lender, Supply};

use crate::proactor::{Lease, PIECES_MAX, Piece};
use crate::region::Region;
use crate::session::{How, SPACE_MAX};
use budget::Budget;
use std::collections::VecDeque;
use std::ops::Range;

/// Leases that one connection may hold.
pub const LEASES_MAX: u32 = 4;

/// Bytes of one block of output of a connection's own: copied, or written by its session.
const BLOCK_BYTES: usize = SPACE_MAX;

/// Blocks kept for reuse by a worker: 16 MiB.
const BLOCKS_KEPT: usize = 1024;

/// Reused memory for output of the connections' own.
#[derive(Debug)]
pub struct BlockPool {
    budget: &'static Budget,
    blocks: Vec<Vec<u8>>,
    /// Scratch of [`Outbox::settle`], empty between calls.
    moved: Vec<Chunk>,
}

impl Default for BlockPool {
    fn default() -> Self {
        Self::within(&budget::PROCESS)
    }
}

impl BlockPool {
    /// A pool whose blocks count against `budget` while connections hold them.
    pub fn within(budget: &'static Budget) -> Self {
        Self {
            budget,
            blocks: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Bytes of unsent output above which a connection is not received from: none, while all connections
    /// together hold too much. Receiving goes on below half of it, or when nothing is left.
    #[inline]
    fn pause_bytes(&self) -> u64 {
        if self.budget.is_exceeded() {
            0
        } else {
            Outbox::PAUSE_BYTES
        }
    }

    fn take(&mut self) -> Vec<u8> {
        self.budget.take(BLOCK_BYTES as u64);
        self.blocks
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    fn put(&mut self, mut block: Vec<u8>) {
        if self.blocks.len() < BLOCKS_KEPT {
            block.clear();
            self.blocks.push(block);
        }
        if self.budget.put(BLOCK_BYTES as u64) {
            self.blocks.clear();
            budget::give_memory_back();
        }
    }
}

#[derive(Debug)]
enum Chunk {
    /// Of the shared region.
    Shared { at: u32, len: u32 },
    /// Of a leased buffer; `owns` on the last chunk of the lease, which gives it back.
    Leased {
        buffer: u32,
        lease_offset: u32,
        lease_len: u32,
        at: u32,
        len: u32,
        owns: bool,
    },
    /// Of the connection's own. Never touched again once it is in flight, so its address is stable.
    Own {
        block: Vec<u8>,
        /// Where what is left of it begins.
        from: u32,
    },
}

impl Chunk {
    /// Where its bytes are.
    #[inline]
    fn piece<L: Lender>(&self, region: &Region, lender: &mut L) -> Piece {
        let bytes: &[u8] = match self {
            Self::Shared { at, len } => region.slice(*at..*at + *len),
            Self::Leased {
                buffer,
                lease_offset,
                lease_len,
                at,
                len,
                ..
            } => {
                let lease = Lease {
                    buffer: *buffer,
                    offset: *lease_offset,
                    len: *lease_len,
                };
                &lender.bytes(&lease)[*at as usize..(*at + *len) as usize]
            }
            Self::Own { block, from } => &block[*from as usize..],
        };
        Piece {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// Bytes that are left of it.
    fn len(&self) -> usize {
        match self {
            Self::Shared { len, .. } | Self::Leased { len, .. } => *len as usize,
            Self::Own { block, from } => block.len() - *from as usize,
        }
    }

    /// Forgets the first `bytes`, fewer than there are.
    fn cut(&mut self, bytes: usize) {
        let cut = bytes as u32;
        match self {
            Self::Shared { at, len } | Self::Leased { at, len, .. } => {
                *at += cut;
                *len -= cut;
            }
            Self::Own { from, .. } => *from += cut,
        }
    }

    /// Bytes of memory that wait with it: all but those of the region.
    #[inline]
    fn held_len(&self) -> usize {
        match self {
            Self::Shared { .. } => 0,
            Self::Leased { len, .. } => *len as usize,
            Self::Own { block, from } => block.len() - *from as usize,
        }
    }
}

/// The output of one connection, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// How many of the oldest are in flight.
    in_flight: u32,
    leases: u32,
    /// Chunks of the lease being delivered, until [`Outbox::settle`] decides about it.
    unsettled: u32,
    /// Bytes that wait in memory of leases and blocks: what pausing the receiving can stop.
    held_bytes: u64,
    /// The only chunk is a request whose answer will prove that it was sent.
    proven_by_answer: bool,
    /// FIN is to follow the last chunk.
    pub shutdown: bool,
    /// The connection is to be closed: after the last chunk (FIN) or at once (RST).
    pub close: Option<How>,
    /// When the session wants its timer called, ns (testees; a load's life keeps its own).
    pub timer_ns: Option<u64>,
}

impl Outbox {
    /// Above this many bytes of output that holds memory receiving is paused; it resumes below half of it.
    pub const PAUSE_BYTES: u64 = 512 * 1024;

    /// Bytes of output that hold memory and were not taken by the kernel yet.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// So much waits that nothing should be received any more.
    #[inline]
    pub fn is_too_full(&self, pool: &BlockPool) -> bool {
        self.held_bytes > pool.pause_bytes()
    }

    /// So little waits that who was paused may be received from again.
    #[inline]
    pub fn has_room_again(&self, pool: &BlockPool) -> bool {
        self.held_bytes == 0 || self.held_bytes < pool.pause_bytes() / 2
    }

    /// Something of the lease being delivered was echoed.
    #[inline]
    pub fn is_unsettled(&self) -> bool {
        self.unsettled > 0
    }

    /// Nothing is left to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// A send is in flight.
    #[inline]
    pub fn is_sending(&self) -> bool {
        self.in_flight > 0
    }

    /// Queues a range of the region; joins it to the previous one where they touch.
    #[inline]
    pub fn push_shared(&mut self, range: Range<u32>) {
        let len = range.end - range.start;
        if len == 0 {
            return;
        }
        self.proven_by_answer = false;
        let may_join = self.chunks.len() > self.in_flight as usize;
        if let Some(Chunk::Shared { at, len: last }) = self.chunks.back_mut().filter(|_| may_join)
            && *at + *last == range.start
        {
            *last += len;
            return;
        }
        self.chunks.push_back(Chunk::Shared {
            at: range.start,
            len,
        });
    }

    /// Room for `bytes` bytes of the session's own, see [`crate::session::Out::space`].
    pub fn space(&mut self, bytes: usize, pool: &mut BlockPool) -> &mut [u8] {
        assert!(
            (1..=SPACE_MAX).contains(&bytes),
            "1 to {SPACE_MAX} bytes at a time"
        );
        let may_join = self.chunks.len() > self.in_flight as usize;
        let fits = matches!(
            self.chunks.back(),
            Some(Chunk::Own { block, .. }) if may_join && block.len() + bytes <= BLOCK_BYTES
        );
        if !fits {
            self.chunks.push_back(Chunk::Own {
                block: pool.take(),
                from: 0,
            });
        }
        self.held_bytes += bytes as u64;
        let Some(Chunk::Own { block, .. }) = self.chunks.back_mut() else {
            unreachable!("it was pushed just now");
        };
        let from = block.len();
        block.resize(from + bytes, 0);
        &mut block[from..]
    }

    /// Queues a request, see [`crate::session::Out::request`].
    #[inline]
    pub fn push_request(&mut self, range: Range<u32>) {
        let is_alone = self.chunks.is_empty();
        self.push_shared(range);
        self.proven_by_answer = is_alone;
    }

    /// Whether all that is queued is one request whose answer will prove that it was sent. Asking
    /// takes the mark away.
    #[inline]
    pub fn take_proven_by_answer(&mut self) -> bool {
        std::mem::take(&mut self.proven_by_answer) && self.chunks.len() == 1
    }

    /// Whether all that is in flight is of the shared region.
    #[inline]
    pub fn sends_region_only(&self) -> bool {
        let mut in_flight = self.chunks.iter().take(self.in_flight as usize);
        in_flight.all(|chunk| matches!(chunk, Chunk::Shared { .. }))
    }

    /// Queues a range of a leased buffer. [`Outbox::settle`] must follow.
    #[inline]
    pub fn push_echo(&mut self, lease: &LeaseShape, range: Range<u32>) {
        let len = range.end - range.start;
        if len == 0 {
            return;
        }
        debug_assert!(
            range.end <= lease.len,
            "an echo lies within what was received"
        );
        self.held_bytes += u64::from(len);
        self.unsettled += 1;
        self.chunks.push_back(Chunk::Leased {
            buffer: lease.buffer,
            lease_offset: lease.offset,
            lease_len: lease.len,
            at: range.start,
            len,
            owns: false,
        });
    }

    /// Decides about a lease after the session has seen it: given back at once if nothing of it
    /// was echoed, kept for the last echo, or copied and given back when leases are scarce.
    #[inline]
    pub fn settle<L: Lender>(
        &mut self,
        lease: Lease,
        supply: Supply,
        lender: &mut L,
        pool: &mut BlockPool,
    ) {
        let echoes = std::mem::take(&mut self.unsettled);
        if echoes == 0 {
            return lender.give_back(lease);
        }
        let may_keep = match supply {
            Supply::Ample => LEASES_MAX,
            Supply::Scarce => 1,
            Supply::Critical => 0,
        };
        if self.leases >= may_keep {
            return self.copy_out(echoes, lease, lender, pool);
        }
        // The session may have asked for something else after its last echo.
        let last = self.chunks.iter_mut().rev().find_map(|chunk| match chunk {
            Chunk::Leased { owns, .. } => Some(owns),
            _ => None,
        });
        *last.expect("what was echoed is queued") = true;
        self.leases += 1;
        // The lease now lives in the chunk, which gives it back.
        drop(lease);
    }

    /// Copies the newest `echoes` leased chunks, all of `lease`, into blocks and gives it back.
    #[cold]
    fn copy_out<L: Lender>(
        &mut self,
        mut echoes: u32,
        lease: Lease,
        lender: &mut L,
        pool: &mut BlockPool,
    ) {
        let mut moved = std::mem::take(&mut pool.moved);
        while echoes > 0 {
            let chunk = self.chunks.pop_back().expect("what was echoed is queued");
            echoes -= u32::from(matches!(chunk, Chunk::Leased { .. }));
            moved.push(chunk);
        }
        let bytes = lender.bytes(&lease);
        for chunk in moved.drain(..).rev() {
            match chunk {
                Chunk::Leased { at, len, .. } => {
                    self.append_copy(&bytes[at as usize..(at + len) as usize], pool);
                }
                other => self.chunks.push_back(other),
            }
        }
        pool.moved = moved;
        lender.give_back(lease);
    }

    fn append_copy(&mut self, mut bytes: &[u8], pool: &mut BlockPool) {
        while !bytes.is_empty() {
            let may_join = self.chunks.len() > self.in_flight as usize;
            let block = match self.chunks.back_mut().filter(|_| may_join) {
                Some(Chunk::Own { block, .. }) if block.len() < BLOCK_BYTES => block,
                _ => {
                    self.chunks.push_back(Chunk::Own {
                        block: pool.take(),
                        from: 0,
                    });
                    continue;
                }
            };
            let len = bytes.len().min(BLOCK_BYTES - block.len());
            block.extend_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
        }
    }

    /// If there is one chunk, which is the common case: marks it as in flight and describes it.
    #[inline]
    pub fn gather_one<L: Lender>(&mut self, region: &Region, lender: &mut L) -> Option<Piece> {
        match self.chunks.len() {
            1 => self.gather_oldest(region, lender),
            _ => None,
        }
    }

    /// Marks the oldest chunk as in flight and describes it: for those who send one piece at a time.
    #[inline]
    pub fn gather_oldest<L: Lender>(&mut self, region: &Region, lender: &mut L) -> Option<Piece> {
        debug_assert_eq!(self.in_flight, 0, "one send per connection is in flight");
        let piece = self.chunks.front()?.piece(region, lender);
        self.in_flight = 1;
        Some(piece)
    }

    /// The memory of all that is queued, if that is one range of the shared region and a close with
    /// FIN is to follow.
    #[inline]
    pub fn last_words<L: Lender>(&self, region: &Region, lender: &mut L) -> Option<Piece> {
        if self.close != Some(How::Fin) || self.shutdown || self.in_flight > 0 {
            return None;
        }
        let is_alone = self.chunks.len() == 1;
        let chunk = (self.chunks.front()).filter(|chunk| matches!(chunk, Chunk::Shared { .. }))?;
        is_alone.then(|| chunk.piece(region, lender))
    }

    /// Marks up to [`PIECES_MAX`] of the oldest chunks as in flight and describes their memory.
    /// Returns how many pieces there are.
    pub fn gather<L: Lender>(
        &mut self,
        pieces: &mut [Piece; PIECES_MAX],
        region: &Region,
        lender: &mut L,
    ) -> usize {
        debug_assert_eq!(self.in_flight, 0, "one send per connection is in flight");
        let mut count = 0;
        for (piece, chunk) in pieces.iter_mut().zip(&self.chunks) {
            *piece = chunk.piece(region, lender);
            count += 1;
        }
        self.in_flight = count as u32;
        count
    }

    /// The send in flight is over: forgets its chunks and gives their memory back.
    #[inline]
    pub fn complete<L: Lender>(&mut self, lender: &mut L, pool: &mut BlockPool) {
        for _ in 0..std::mem::take(&mut self.in_flight) {
            if let Some(chunk) = self.chunks.pop_front() {
                self.held_bytes -= chunk.held_len() as u64;
                self.release(chunk, lender, pool);
            }
        }
    }

    /// The kernel took `taken` bytes of the send in flight, perhaps not all of it: forgets these and leaves
    /// the rest to the next send. For those who send by plain system calls.
    pub fn advance<L: Lender>(&mut self, mut taken: usize, lender: &mut L, pool: &mut BlockPool) {
        self.in_flight = 0;
        while let Some(chunk) = self.chunks.front_mut() {
            if taken < chunk.len() {
                chunk.cut(taken);
                if !matches!(chunk, Chunk::Shared { .. }) {
                    self.held_bytes -= taken as u64;
                }
                return;
            }
            taken -= chunk.len();
            if let Some(chunk) = self.chunks.pop_front() {
                self.held_bytes -= chunk.held_len() as u64;
                self.release(chunk, lender, pool);
            }
        }
    }

    /// Copies what lies in leased buffers into blocks and gives the leases back, so that the buffers can be
    /// received into. With no send in flight.
    pub fn detach<L: Lender>(&mut self, lender: &mut L, pool: &mut BlockPool) {
        debug_assert_eq!(self.in_flight, 0, "nothing references the buffers");
        if !self
            .chunks
            .iter()
            .any(|chunk| matches!(chunk, Chunk::Leased { .. }))
        {
            return;
        }
        let mut moved = std::mem::take(&mut pool.moved);
        moved.extend(self.chunks.drain(..));
        for chunk in moved.drain(..) {
            let Chunk::Leased {
                buffer,
                lease_offset,
                lease_len,
                at,
                len,
                ..
            } = chunk
            else {
                self.chunks.push_back(chunk);
                continue;
            };
            let lease = Lease {
                buffer,
                offset: lease_offset,
                len: lease_len,
            };
            let bytes = &lender.bytes(&lease)[at as usize..(at + len) as usize];
            self.append_copy(bytes, pool);
            drop(lease);
            self.release(chunk, lender, pool);
        }
        pool.moved = moved;
    }

    /// Forgets everything. Only when the backend references none of it: after
    /// [`crate::proactor::Event::Closed`].
    pub fn clear<L: Lender>(&mut self, lender: &mut L, pool: &mut BlockPool) {
        while let Some(chunk) = self.chunks.pop_front() {
            self.release(chunk, lender, pool);
        }
        self.in_flight = 0;
        self.unsettled = 0;
        self.held_bytes = 0;
        self.shutdown = false;
        self.close = None;
        self.timer_ns = None;
        self.proven_by_answer = false;
    }

    #[inline]
    fn release<L: Lender>(&mut self, chunk: Chunk, lender: &mut L, pool: &mut BlockPool) {
        match chunk {
            Chunk::Shared { .. } => {}
            Chunk::Leased {
                buffer,
                lease_offset,
                lease_len,
                owns,
                ..
            } => {
                if owns {
                    self.leases -= 1;
                    lender.give_back(Lease {
                        buffer,
                        offset: lease_offset,
                        len: lease_len,
                    });
                }
            }
            Chunk::Own { block, .. } => pool.put(block),
        }
    }
}

#[cfg(test)]
mod tests;
