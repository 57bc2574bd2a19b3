//! The memory of a readiness backend: connections, receive buffers, blocked sends. All of it is
//! reserved at creation.

use crate::sys;
use engine::proactor::{ConnectionId, Lease, PIECES_MAX, Piece};
use std::os::fd::OwnedFd;

/// One index of the connection table.
#[derive(Debug, Default)]
pub struct Connection {
    /// The socket; `None` while the index is free.
    pub socket: Option<OwnedFd>,
    /// Generation of the present tenant.
    pub generation: u32,
    /// A connect is under way.
    pub connecting: bool,
    /// We connected, so the peer has had no time to say anything when receiving begins.
    pub connected_here: bool,
    /// Receiving was asked for and has not ended.
    pub receiving: bool,
    /// Receiving is paused.
    pub paused: bool,
    /// Readiness was reported and not drained since: an edge is not reported again.
    pub readable: bool,
    /// FIN or an error was reported, so only an empty or failed receive means drained.
    pub eof: bool,
    /// The peer's FIN was received.
    pub finished: bool,
    /// Bytes that are readable still, where the selector told.
    pub avail: Option<i64>,
    /// The selector watches for reading.
    pub read_armed: bool,
    /// The selector is to watch for reading.
    pub read_wanted: bool,
    /// The selector watches for writing.
    pub write_armed: bool,
    /// The selector is to watch for writing.
    pub write_wanted: bool,
    /// It found no free buffer, and that was counted.
    pub starved: bool,
    /// Receives in turn `turn`.
    pub receives: u32,
    /// The turn that `receives` belongs to.
    pub turn: u32,
    /// The blocked send, if there is one.
    pub blocked: Option<u32>,
    /// The *index* is in a ready queue. Survives the tenant, for the entry does.
    pub queued: bool,
    /// The *index* is in the list of changed interests. Survives the tenant likewise.
    pub dirty: bool,
}

impl Connection {
    /// Gives the index to a new tenant.
    pub fn occupy(&mut self, id: ConnectionId, socket: OwnedFd) {
        let (queued, dirty) = (self.queued, self.dirty);
        *self = Self {
            socket: Some(socket),
            generation: id.generation,
            queued,
            dirty,
            ..Self::default()
        };
    }

    /// The present tenant, `index` being this entry's.
    #[inline]
    pub fn id(&self, index: u32) -> ConnectionId {
        ConnectionId {
            index,
            generation: self.generation,
        }
    }

    /// Judges the answer of one receive into a buffer of `capacity` bytes.
    #[inline]
    pub fn received(&mut self, capacity: usize, answer: Result<usize, i32>) -> Received {
        match answer {
            Ok(0) => {
                self.receiving = false;
                self.readable = false;
                self.finished = true;
                Received::Finished
            }
            Ok(len) => {
                self.avail = self.avail.map(|avail| avail.saturating_sub(len as i64));
                // After an EOF mark only the receive that fails or finds nothing is the last.
                self.readable = self.eof
                    || match self.avail {
                        Some(left) => left > 0,
                        None => len == capacity,
                    };
                Received::Bytes(len)
            }
            Err(errno) if sys::would_block(errno) => {
                self.readable = false;
                self.avail = None;
                Received::Nothing
            }
            Err(errno) => {
                self.receiving = false;
                self.readable = false;
                Received::Failed(errno)
            }
        }
    }

    /// Whether this is the tenant that `id` names.
    #[inline]
    pub fn is(&self, id: ConnectionId) -> bool {
        self.socket.is_some() && self.generation == id.generation
    }
}

/// What one receive gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It would have had to wait.
    Nothing,
    /// So many bytes, never 0.
    Bytes(usize),
    /// The peer's FIN.
    Finished,
    /// An errno.
    Failed(i32),
}

/// Receive buffers in one piece of memory. The free ones form a stack, so that the buffer used
/// last, which is still in the cache, is used next.
#[derive(Debug)]
pub struct Buffers {
    memory: Box<[u8]>,
    buffer_bytes: usize,
    free: Vec<u32>,
    /// Debug builds: which buffers are leased.
    leased: Vec<bool>,
}

impl Buffers {
    /// `count` buffers of `buffer_bytes` each, all free. The memory is zero pages until used.
    pub fn new(count: u32, buffer_bytes: u32) -> Self {
        Self {
            memory: vec![0; count as usize * buffer_bytes as usize].into_boxed_slice(),
            buffer_bytes: buffer_bytes as usize,
            free: (0..count).rev().collect(),
            leased: vec![
                false;
                if cfg!(debug_assertions) {
                    count as usize
                } else {
                    0
                }
            ],
        }
    }

    /// How many are free.
    #[inline]
    pub fn free(&self) -> u32 {
        self.free.len() as u32
    }

    /// The buffer that [`Buffers::lease`] would hand out.
    #[inline]
    pub fn top(&mut self) -> Option<&mut [u8]> {
        let index = *self.free.last()? as usize;
        Some(&mut self.memory[index * self.buffer_bytes..][..self.buffer_bytes])
    }

    /// Hands out the top buffer with `len` received bytes in it.
    #[inline]
    pub fn lease(&mut self, len: usize) -> Lease {
        let buffer = self.free.pop().expect("top() was asked before");
        if cfg!(debug_assertions) {
            self.leased[buffer as usize] = true;
        }
        Lease {
            buffer,
            offset: 0,
            len: len as u32,
        }
    }

    /// The bytes of a lease.
    #[inline]
    pub fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        let start = lease.buffer as usize * self.buffer_bytes + lease.offset as usize;
        &mut self.memory[start..start + lease.len as usize]
    }

    /// Takes a lease back.
    #[inline]
    pub fn give_back(&mut self, lease: Lease) {
        if cfg!(debug_assertions) {
            let leased = std::mem::replace(&mut self.leased[lease.buffer as usize], false);
            assert!(leased, "buffer {} was given back twice", lease.buffer);
        }
        self.free.push(lease.buffer);
    }
}

/// What remains of a send that the kernel did not take at once.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    pieces: [Piece; PIECES_MAX],
    first: u8,
    count: u8,
    /// Whether the kernel has taken a part of it.
    pub short: bool,
    /// Bytes of the whole send.
    pub total: usize,
}

impl Blocked {
    /// A send of which nothing is taken yet.
    pub fn new(pieces: &[Piece], total: usize) -> Self {
        let mut own = [Piece {
            ptr: std::ptr::null(),
            len: 0,
        }; PIECES_MAX];
        own[..pieces.len()].copy_from_slice(pieces);
        Self {
            pieces: own,
            first: 0,
            count: pieces.len() as u8,
            short: false,
            total,
        }
    }

    /// What is still to be sent.
    pub fn remaining(&self) -> &[Piece] {
        &self.pieces[self.first as usize..self.count as usize]
    }

    /// Removes `taken` bytes from the front.
    pub fn advance(&mut self, mut taken: usize) {
        while taken > 0 {
            let piece = &mut self.pieces[self.first as usize];
            let step = taken.min(piece.len);
            // Within the piece, so the pointer stays inside the caller's memory (or one past it).
            piece.ptr = piece.ptr.wrapping_add(step);
            piece.len -= step;
            taken -= step;
            if piece.len == 0 {
                self.first += 1;
            }
        }
    }

    /// Whether all of it is taken.
    pub fn is_done(&self) -> bool {
        self.first == self.count
    }
}

/// Storage for blocked sends, one per connection at most. It fills from the bottom, so pages that
/// no blocked send ever needed are never touched.
#[derive(Debug)]
pub struct BlockedSends {
    entries: Vec<Blocked>,
    free: Vec<u32>,
}

impl BlockedSends {
    /// Room for one per connection.
    pub fn new(connections: u32) -> Self {
        Self {
            entries: Vec::with_capacity(connections as usize),
            free: Vec::with_capacity(connections as usize),
        }
    }

    /// Stores one.
    pub fn insert(&mut self, blocked: Blocked) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = blocked;
                index
            }
            None => {
                self.entries.push(blocked);
                self.entries.len() as u32 - 1
            }
        }
    }

    /// One that is stored.
    pub fn get(&mut self, index: u32) -> &mut Blocked {
        &mut self.entries[index as usize]
    }

    /// Forgets one.
    pub fn remove(&mut self, index: u32) {
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_used_last_is_used_next() {
        let mut buffers = Buffers::new(4, 16);
        let first = buffers.lease(3);
        let second = buffers.lease(16);
        assert_eq!(buffers.free(), 2);
        let hot = second.buffer;
        buffers.bytes(&second)[15] = 7;
        buffers.give_back(second);
        assert_eq!(buffers.top().unwrap()[15], 7);
        let again = buffers.lease(1);
        assert_eq!(again.buffer, hot);
        assert_eq!(buffers.bytes(&first).len(), 3);
        buffers.give_back(first);
        buffers.give_back(again);
        assert_eq!(buffers.free(), 4);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "given back twice")]
    fn a_lease_given_back_twice_is_noticed() {
        let mut buffers = Buffers::new(2, 16);
        let lease = buffers.lease(1);
        let forged = Lease { ..lease };
        let copy = Lease {
            buffer: forged.buffer,
            offset: 0,
            len: 1,
        };
        buffers.give_back(forged);
        buffers.give_back(copy);
    }

    #[test]
    fn a_blocked_send_advances_over_pieces() {
        let bytes = [0u8; 10];
        let piece = |range: std::ops::Range<usize>| Piece {
            ptr: bytes[range.clone()].as_ptr(),
            len: range.len(),
        };
        let mut blocked = Blocked::new(&[piece(0..3), piece(3..4), piece(4..10)], 10);
        blocked.advance(3);
        assert_eq!(blocked.remaining().len(), 2);
        blocked.advance(2);
        let rest = blocked.remaining();
        assert_eq!((rest.len(), rest[0].len), (1, 5));
        assert_eq!(rest[0].ptr, bytes[5..].as_ptr());
        assert!(!blocked.is_done());
        blocked.advance(5);
        assert!(blocked.is_done());
    }

    #[test]
    fn storage_of_blocked_sends_is_reused() {
        let mut sends = BlockedSends::new(2);
        let blocked = Blocked::new(
            &[Piece {
                ptr: std::ptr::null(),
                len: 1,
            }],
            1,
        );
        let (a, b) = (sends.insert(blocked), sends.insert(blocked));
        sends.remove(a);
        assert_eq!(sends.insert(blocked), a);
        assert_ne!(a, b);
    }
}
