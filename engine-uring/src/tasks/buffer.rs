//! Owned buffers, of one kind for every runtime.
//!
//! A completion-based runtime takes a buffer by value for as long as the kernel may touch it. What is
//! received into is a [`Block`] of a worker's [`Pool`]. What is sent lies where its outbox keeps it: in the
//! region, in memory of the connection's own, or in a block that was received and is [`Lent`] to it. A
//! [`Parcel`] says where.

use engine::outbox::{LEASES_MAX, LeaseShape, Lender, Supply, budget};
use engine::proactor::{Lease, Piece};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Bytes of free blocks that a pool keeps; beyond that they are given back to the allocator.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// A lent block of at most so many bytes is not counted in what all connections of the process may hold:
/// with all that a connection may have on lease, 16 KiB, an answer that is just going out.
const UNCOUNTED_BYTES: usize = 16 * 1024 / LEASES_MAX as usize;

/// The receive buffers of one worker. The last one used is the next one taken, for it is still in
/// the cache.
#[derive(Debug)]
pub struct Pool {
    free: RefCell<Vec<Vec<u8>>>,
    block_bytes: usize,
    /// See [`Pool::abandon`].
    abandoned: Cell<bool>,
}

impl Pool {
    /// A pool of blocks of this size.
    pub fn new(block_bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            free: RefCell::default(),
            block_bytes,
            abandoned: Cell::new(false),
        })
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// An empty block.
    #[inline]
    pub fn take(self: &Rc<Self>) -> Block {
        let free = self.free.borrow_mut().pop();
        Block {
            memory: free.unwrap_or_else(|| vec![0; self.block_bytes]),
            len: 0,
            pool: Rc::clone(self),
        }
    }

    /// Gives the free blocks back to the allocator.
    fn forget(&self) {
        self.free.borrow_mut().clear();
    }

    /// Receives are in flight and nobody waits for them any more: their memory is never freed, nor
    /// used again. A runtime drops what it was given before the kernel has let go of it.
    pub fn abandon(&self) {
        self.abandoned.set(true);
    }

    fn put(&self, memory: Vec<u8>) {
        if self.abandoned.get() {
            return std::mem::forget(memory);
        }
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT_BYTES / self.block_bytes {
            free.push(memory);
        }
    }
}

/// Memory of a [`Pool`], to which it returns when dropped: the first `len` bytes of it are filled.
#[derive(Debug)]
pub struct Block {
    /// Its length never changes, and all of it is initialised.
    memory: Vec<u8>,
    len: usize,
    pool: Rc<Pool>,
}

impl Block {
    /// How many bytes are in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes that are in it.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }

    /// Has these bytes in it, and no others.
    #[cfg(test)]
    pub fn fill(&mut self, bytes: &[u8]) {
        self.memory[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len();
    }

    fn set_len(&mut self, len: usize) {
        assert!(len <= self.memory.len(), "what fits");
        self.len = len;
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.memory));
    }
}

#[cfg(feature = "tokio-uring")]
// SAFETY: the pointer is to the heap memory of a vector that is neither grown nor freed while the
// block lives, so moving the block does not move the bytes; all of the vector is initialised.
unsafe impl tokio_uring::buf::IoBuf for Block {
    fn stable_ptr(&self) -> *const u8 {
        self.memory.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len
    }

    fn bytes_total(&self) -> usize {
        self.memory.len()
    }
}

#[cfg(feature = "tokio-uring")]
// SAFETY: the pointer is to exclusively owned memory of `bytes_total` bytes that does not move
// with the block (see above); `set_init` only ever says what the kernel has written there.
unsafe impl tokio_uring::buf::IoBufMut for Block {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, bytes: usize) {
        self.set_len(bytes);
    }
}

#[cfg(feature = "monoio")]
// SAFETY: as for tokio-uring: exclusively owned, of `bytes_total` bytes, not moving.
unsafe impl monoio::buf::IoBufMut for Block {
    fn write_ptr(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.memory.len()
    }

    unsafe fn set_init(&mut self, bytes: usize) {
        self.set_len(bytes);
    }
}

/// The received blocks that the outboxes of a worker send from.
#[derive(Debug, Default)]
pub struct Lent {
    blocks: Vec<Option<Block>>,
    /// Numbers that no block has.
    free: Vec<u32>,
}

impl Lent {
    /// The lease of the next block that is lent, which has `len` bytes in it.
    #[inline]
    pub fn next_lease(&self, len: usize) -> LeaseShape {
        LeaseShape {
            buffer: self
                .free
                .last()
                .copied()
                .unwrap_or(self.blocks.len() as u32),
            offset: 0,
            len: len as u32,
        }
    }

    /// Takes a block in: the lease is the one that was foretold.
    #[inline]
    pub fn lend(&mut self, block: Block) -> Lease {
        if block.memory.len() > UNCOUNTED_BYTES {
            budget::PROCESS.take(block.memory.len() as u64);
        }
        let LeaseShape {
            buffer,
            offset,
            len,
        } = self.next_lease(block.len);
        match self.free.pop() {
            Some(number) => self.blocks[number as usize] = Some(block),
            None => self.blocks.push(Some(block)),
        }
        Lease {
            buffer,
            offset,
            len,
        }
    }

    /// There is always another block: what bounds them is what all connections hold.
    #[inline]
    pub fn supply(&self) -> Supply {
        match budget::PROCESS.is_exceeded() {
            true => Supply::Critical,
            false => Supply::Ample,
        }
    }
}

impl Lender for Lent {
    #[inline]
    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        let block = self.blocks[lease.buffer as usize].as_mut();
        block.expect("a lease is given back once").bytes_mut()
    }

    #[inline]
    fn give_back(&mut self, lease: Lease) {
        let block = self.blocks[lease.buffer as usize].take();
        self.free.push(lease.buffer);
        let Some(block) = block else { return };
        let (bytes, pool) = (block.memory.len(), Rc::clone(&block.pool));
        drop(block);
        if bytes > UNCOUNTED_BYTES && budget::PROCESS.put(bytes as u64) {
            pool.forget();
            budget::give_memory_back();
        }
    }
}

/// Where something lies that is to be sent.
#[derive(Debug)]
pub struct Parcel(Piece);

impl Parcel {
    /// Of this memory.
    ///
    /// # Safety
    /// It stays as it is until the send has ended, and for ever if that is not waited for.
    pub unsafe fn new(piece: Piece) -> Self {
        Self(piece)
    }

    /// How many bytes it has.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Where they are.
    #[cfg(test)]
    pub fn ptr(&self) -> *const u8 {
        self.0.ptr
    }
}

#[cfg(feature = "tokio-uring")]
// SAFETY: whoever made the parcel vouches for its memory, which is elsewhere and so does not move with it.
unsafe impl tokio_uring::buf::IoBuf for Parcel {
    fn stable_ptr(&self) -> *const u8 {
        self.0.ptr
    }

    fn bytes_init(&self) -> usize {
        self.0.len
    }

    fn bytes_total(&self) -> usize {
        self.0.len
    }
}

#[cfg(feature = "monoio")]
// SAFETY: as for tokio-uring.
unsafe impl monoio::buf::IoBuf for Parcel {
    fn read_ptr(&self) -> *const u8 {
        self.0.ptr
    }

    fn bytes_init(&self) -> usize {
        self.0.len
    }
}

#[cfg(all(test, feature = "tokio-uring", feature = "monoio"))]
mod tests {
    use super::*;
    use tokio_uring::buf::IoBuf;

    #[test]
    fn a_dropped_block_is_the_next_one_taken() {
        let pool = Pool::new(4096);
        let mut block = pool.take();
        block.fill(&[7; 10]);
        let address = block.stable_ptr();
        drop(block);
        let again = pool.take();
        assert_eq!((again.len(), again.stable_ptr()), (0, address));
    }

    #[test]
    fn memory_of_abandoned_receives_is_kept_for_ever() {
        let pool = Pool::new(4096);
        let block = pool.take();
        let address = block.stable_ptr();
        pool.abandon();
        drop(block);
        for _ in 0..4 {
            let other = std::mem::ManuallyDrop::new(pool.take());
            assert_ne!(other.stable_ptr(), address);
        }
    }

    #[test]
    fn a_block_does_not_move_with_its_owner() {
        let block = Pool::new(64).take();
        let before = block.stable_ptr();
        let mut boxed = Box::new(block);
        assert_eq!(boxed.stable_ptr(), before);
        assert_eq!(
            monoio::buf::IoBufMut::write_ptr(&mut *boxed).cast_const(),
            before
        );
    }

    #[test]
    fn what_is_lent_keeps_its_number_until_it_is_given_back() {
        let (pool, mut lent) = (Pool::new(8), Lent::default());
        let lend = |lent: &mut Lent, bytes: &[u8]| {
            let mut block = pool.take();
            block.fill(bytes);
            let foretold = lent.next_lease(bytes.len());
            let lease = lent.lend(block);
            assert_eq!((foretold.buffer, foretold.len), (lease.buffer, lease.len));
            lease
        };
        let (one, other) = (lend(&mut lent, b"one"), lend(&mut lent, b"other"));
        assert_eq!(
            (lent.bytes(&one).to_vec(), lent.bytes(&other).to_vec()),
            (b"one".to_vec(), b"other".to_vec())
        );
        let number = one.buffer;
        lent.give_back(one);
        let third = lend(&mut lent, b"third");
        assert_eq!(third.buffer, number);
        assert_eq!(lent.bytes(&other), b"other");
        lent.give_back(other);
        lent.give_back(third);
    }
}
