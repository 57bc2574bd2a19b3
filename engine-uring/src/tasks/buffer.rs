//! Owned buffers, of one kind for every runtime.
//!
//! A completion-based runtime takes a buffer by value for as long as the kernel may touch it. So
//! what is received into is a [`Block`] of a worker's [`Pool`], and what is sent is a [`Piece`]: a
//! block that goes back, or a range of the shared region, which nobody copies.

use engine::region::Region;
use engine::session::SPACE_MAX;
use std::cell::{Cell, OnceCell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// The region that all connections of a worker send from.
pub type SharedRegion = Rc<Arc<Region>>;

/// Bytes of free blocks that a pool keeps; beyond that they are given back to the allocator.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// The receive buffers of one worker. The last one used is the next one taken, for it is still in
/// the cache.
#[derive(Debug)]
pub struct Pool {
    free: RefCell<Vec<Vec<u8>>>,
    block_bytes: usize,
    /// See [`abandon`].
    abandoned: Cell<bool>,
    /// Blocks for what sessions write themselves.
    own: OnceCell<Rc<Self>>,
}

impl Pool {
    /// A pool of blocks of this size.
    pub fn new(block_bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            free: RefCell::default(),
            block_bytes,
            abandoned: Cell::new(false),
            own: OnceCell::new(),
        })
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// The pool of blocks for bytes of the sessions' own ([`engine::session::Out::space`]).
    pub fn own(&self) -> &Rc<Self> {
        self.own.get_or_init(|| Self::new(SPACE_MAX))
    }

    /// An empty block.
    #[inline]
    pub fn take(self: &Rc<Self>) -> Block {
        let free = self.free.borrow_mut().pop();
        Block {
            memory: free.unwrap_or_else(|| vec![0; self.block_bytes]),
            start: 0,
            end: 0,
            pool: Rc::clone(self),
        }
    }

    /// Gives the free blocks back to the allocator.
    pub fn forget(&self) {
        self.free.borrow_mut().clear();
        self.own().free.borrow_mut().clear();
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

/// Operations are in flight and nobody waits for them any more: their memory is never freed, nor
/// used again. A runtime drops what it was given before the kernel has let go of it.
pub fn abandon(pool: &Pool, region: &SharedRegion) {
    pool.abandoned.set(true);
    pool.own().abandoned.set(true);
    std::mem::forget(Rc::clone(region));
}

/// Memory of a [`Pool`], to which it returns when dropped: `start..end` of it is filled.
#[derive(Debug)]
pub struct Block {
    /// Its length never changes, and all of it is initialised.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    pool: Rc<Pool>,
}

impl Block {
    /// The bytes that are in it.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// The same, to be changed.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    /// Keeps only this range of the bytes.
    pub fn narrow(&mut self, range: Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.end - self.start,
            "a range of the bytes"
        );
        self.end = self.start + range.end;
        self.start += range.start;
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.memory.len() - self.end
    }

    /// Adds `bytes` zeros behind those that are in it, which fit, and returns them.
    pub fn extend(&mut self, bytes: usize) -> &mut [u8] {
        let from = self.end;
        self.end += bytes;
        let added = &mut self.memory[from..self.end];
        added.fill(0);
        added
    }

    /// Adds `bytes` behind those that are in it, if there is room for all of them.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let room = self.room() >= bytes.len();
        if room {
            self.memory[self.end..self.end + bytes.len()].copy_from_slice(bytes);
            self.end += bytes.len();
        }
        room
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.memory));
    }
}

/// Something to send.
#[derive(Debug)]
pub enum Piece {
    /// What was received, going back.
    Block(Block),
    /// A range of the region.
    Shared(SharedRegion, Range<u32>),
}

impl Piece {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Block(block) => block.bytes(),
            Self::Shared(region, range) => region.slice(range.clone()),
        }
    }

    /// How many bytes it has.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Block(block) => block.end - block.start,
            Self::Shared(_, range) => (range.end - range.start) as usize,
        }
    }

    /// Bytes of it that wait in a block.
    pub fn held_len(&self) -> usize {
        match self {
            Self::Block(_) => self.len(),
            Self::Shared(..) => 0,
        }
    }

    /// Forgets the first `bytes` bytes: the kernel has taken them.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "no more than there are");
        match self {
            Self::Block(block) => block.start += bytes,
            Self::Shared(_, range) => range.start += bytes as u32,
        }
    }
}

#[cfg(feature = "tokio-uring")]
// SAFETY: the pointer is into the heap memory of a vector that is neither
// grown nor freed while the block lives, so moving the block does not move the bytes; the first
// `end - start` bytes behind the pointer are initialised, for all of the vector is.
unsafe impl tokio_uring::buf::IoBuf for Block {
    fn stable_ptr(&self) -> *const u8 {
        self.memory[self.start..].as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.end - self.start
    }

    fn bytes_total(&self) -> usize {
        self.memory.len() - self.start
    }
}

#[cfg(feature = "tokio-uring")]
// SAFETY: the pointer is to exclusively owned memory of `bytes_total` bytes that does not move
// with the block (see above); `set_init` only ever says what the kernel has written there.
unsafe impl tokio_uring::buf::IoBufMut for Block {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.memory[self.start..].as_mut_ptr()
    }

    unsafe fn set_init(&mut self, bytes: usize) {
        self.fill(bytes);
    }
}

#[cfg(feature = "monoio")]
// SAFETY: as for tokio-uring: exclusively owned, of `bytes_total` bytes, not moving.
unsafe impl monoio::buf::IoBufMut for Block {
    fn write_ptr(&mut self) -> *mut u8 {
        self.memory[self.start..].as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.memory.len() - self.start
    }

    unsafe fn set_init(&mut self, bytes: usize) {
        self.fill(bytes);
    }
}

impl Block {
    fn fill(&mut self, bytes: usize) {
        assert!(bytes <= self.memory.len() - self.start, "what fits");
        self.end = self.start + bytes;
    }
}

#[cfg(feature = "tokio-uring")]
// SAFETY: the bytes are those of a block (see there), or of the region, which is immutable and
// kept alive by the piece's own reference; neither moves with the piece, all are initialised.
unsafe impl tokio_uring::buf::IoBuf for Piece {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }

    fn bytes_total(&self) -> usize {
        self.len()
    }
}

#[cfg(feature = "monoio")]
// SAFETY: as for tokio-uring.
unsafe impl monoio::buf::IoBuf for Piece {
    fn read_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

#[cfg(all(test, feature = "tokio-uring", feature = "monoio"))]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_block_is_the_next_one_taken() {
        let pool = Pool::new(4096);
        let mut block = pool.take();
        block.append(&[7; 10]);
        let address = block.bytes().as_ptr();
        drop(block);
        let again = pool.take();
        assert_eq!(again.bytes(), b"");
        assert_eq!(tokio_uring::buf::IoBuf::stable_ptr(&again), address);
    }

    #[test]
    fn memory_of_abandoned_operations_is_kept_for_ever() {
        let region: SharedRegion = Rc::new(Arc::new(engine::pattern::region(100)));
        let pool = Pool::new(4096);
        let mut block = pool.take();
        block.append(b"in flight");
        let address = block.bytes().as_ptr();
        let (kept, sending) = (
            Arc::downgrade(&region),
            Piece::Shared(Rc::clone(&region), 0..10),
        );
        abandon(&pool, &region);
        drop((block, sending, region));
        assert!(kept.upgrade().is_some(), "the region");
        for _ in 0..4 {
            let other = std::mem::ManuallyDrop::new(pool.take());
            assert_ne!(tokio_uring::buf::IoBuf::stable_ptr(&*other), address);
        }
    }

    #[test]
    fn blocks_take_what_fits_and_give_it_in_parts() {
        let pool = Pool::new(8);
        let mut block = pool.take();
        assert!(block.append(b"abcdef"));
        assert!(!block.append(b"ghi"), "only two more fit");
        assert_eq!(block.bytes(), b"abcdef");
        block.narrow(1..5);
        let mut piece = Piece::Block(block);
        piece.advance(1);
        assert_eq!((piece.bytes(), piece.held_len()), (&b"cde"[..], 3));
    }

    #[test]
    fn a_buffer_does_not_move_with_its_owner() {
        let mut block = Pool::new(64).take();
        block.append(b"stay");
        let before = tokio_uring::buf::IoBuf::stable_ptr(&block);
        let boxed = Box::new(Piece::Block(block));
        assert_eq!(monoio::buf::IoBuf::read_ptr(&*boxed), before);
    }

    #[test]
    fn a_range_of_the_region_is_sent_where_it_lies() {
        let region: SharedRegion = Rc::new(Arc::new(engine::pattern::region(100)));
        let mut piece = Piece::Shared(Rc::clone(&region), 10..60);
        assert_eq!(piece.bytes(), region.slice(10..60));
        piece.advance(20);
        assert_eq!((piece.len(), piece.held_len()), (30, 0));
        assert_eq!(piece.bytes().as_ptr(), region.slice(30..60).as_ptr());
    }
}
