//! Receive memory. [`Buffers`] is either a buffer of each connection's own (`own_buffers`), or the
//! provided-buffer ring: receive buffers that the kernel picks when bytes arrive.
//!
//! The application produces free buffers at the tail, the kernel consumes them at its own head.
//! Returned buffers are written at once and published once per turn with a single release store.

use super::mapping::Mapping;
use super::own_buffers::OwnBuffers;
use engine::proactor::Lease;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// The kernel's limit on the entries of one buffer ring (io_uring_register_buf_ring(3)).
pub(super) const BUFFERS_MAX: u32 = 32768;

/// Buffers start on cache-line boundaries.
const ALIGNMENT: usize = 64;

/// Where received bytes go.
pub(super) enum Buffers {
    /// A group that all connections share; the kernel picks.
    Group(BufferRing),
    /// One buffer per connection.
    Own(OwnBuffers),
}

impl Buffers {
    /// Number of buffers.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Group(group) => group.count(),
            Self::Own(own) => own.count(),
        }
    }

    /// Usable bytes of one buffer.
    pub(super) fn buffer_bytes(&self) -> u32 {
        match self {
            Self::Group(group) => group.buffer_bytes(),
            Self::Own(own) => own.buffer_bytes(),
        }
    }

    /// Buffers that nobody above holds. A connection cannot run out of its own: all.
    #[inline]
    pub(super) fn free(&self) -> u32 {
        match self {
            Self::Group(group) => group.free(),
            Self::Own(own) => own.count(),
        }
    }

    /// Whether what connection `index` holds may stay leased until something else happens: what
    /// happens next must find a buffer, and enough free ones that an echo needs no copy. In a buffer
    /// of its own the connection receives nothing meanwhile.
    #[inline]
    pub(super) fn may_wait(&self, index: u32) -> bool {
        match self {
            Self::Group(group) => group.leased <= group.count / 4,
            Self::Own(own) => !own.is_leased(index),
        }
    }

    /// The bytes of a lease.
    #[inline]
    pub(super) fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        match self {
            Self::Group(group) => group.bytes(lease),
            Self::Own(own) => own.bytes(lease),
        }
    }

    /// Keeps the memory mapped for ever: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        match self {
            Self::Group(group) => group.leak(),
            Self::Own(own) => own.leak(),
        }
    }
}

/// The buffers, and the ring that hands them to the kernel.
pub(super) struct BufferRing {
    /// `count` entries; the kernel reads them, and the tail inside the first one.
    entries: Mapping,
    /// `count` buffers, `stride` apart.
    memory: Mapping,
    count: u32,
    bytes: u32,
    stride: usize,
    tail: u16,
    published: u16,
    leased: u32,
    #[cfg(debug_assertions)]
    lease_map: Vec<bool>,
}

impl BufferRing {
    /// Allocates `count` (a power of two) buffers of `bytes` and publishes all. The caller
    /// registers [`BufferRing::entries_address`], and unregisters it before this is dropped.
    pub(super) fn new(count: u32, bytes: u32) -> io::Result<Self> {
        if !count.is_power_of_two() || count > BUFFERS_MAX || bytes == 0 {
            let text = format!(
                "engine uring: {count} receive buffers of {bytes} bytes: the number must be a power of two up to {BUFFERS_MAX}, the size at least 1"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // One line more than needed: buffers of whole pages would all start in the same few cache
        // sets, and small messages touch nothing but the starts.
        let stride = (bytes as usize).next_multiple_of(ALIGNMENT) + ALIGNMENT;
        let mut buffers = Self {
            entries: Mapping::new(count as usize * size_of::<BufRingEntry>())?,
            memory: Mapping::new(count as usize * stride)?,
            count,
            bytes,
            stride,
            tail: 0,
            published: 0,
            leased: 0,
            #[cfg(debug_assertions)]
            lease_map: vec![false; count as usize],
        };
        for buffer in 0..count {
            buffers.recycle(buffer as u16);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// What to register.
    pub(super) fn entries_address(&self) -> u64 {
        self.entries.address().as_ptr() as u64
    }

    /// Number of buffers.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Usable bytes of one buffer.
    pub(super) fn buffer_bytes(&self) -> u32 {
        self.bytes
    }

    /// Buffers that nobody above holds. Completions not yet read may already own some of them.
    #[inline]
    pub(super) fn free(&self) -> u32 {
        self.count - self.leased
    }

    /// Turns a buffer that the kernel filled into a lease.
    #[inline]
    pub(super) fn lease(&mut self, buffer: u16, len: u32) -> Lease {
        assert!(
            u32::from(buffer) < self.count && len <= self.bytes,
            "the kernel named a buffer of another ring"
        );
        #[cfg(debug_assertions)]
        assert!(
            !std::mem::replace(&mut self.lease_map[usize::from(buffer)], true),
            "buffer {buffer} was leased twice"
        );
        self.leased += 1;
        Lease {
            buffer: u32::from(buffer),
            offset: 0,
            len,
        }
    }

    /// The bytes of a lease.
    #[inline]
    pub(super) fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        let end = u64::from(lease.offset) + u64::from(lease.len);
        assert!(
            lease.buffer < self.count && end <= u64::from(self.bytes),
            "a lease of another backend"
        );
        #[cfg(debug_assertions)]
        assert!(
            self.lease_map[lease.buffer as usize],
            "buffer {} is not leased",
            lease.buffer
        );
        let at = lease.buffer as usize * self.stride + lease.offset as usize;
        // SAFETY: in bounds of the mapping by the assertion above; the kernel does not touch a
        // leased buffer, and `&mut self` excludes every other reference from here.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.memory.address().as_ptr().add(at),
                lease.len as usize,
            )
        }
    }

    /// Takes a lease back.
    #[inline]
    pub(super) fn give_back(&mut self, lease: Lease) {
        assert!(lease.buffer < self.count, "a lease of another backend");
        #[cfg(debug_assertions)]
        assert!(
            std::mem::replace(&mut self.lease_map[lease.buffer as usize], false),
            "buffer {} was given back twice",
            lease.buffer
        );
        self.leased -= 1;
        self.recycle(lease.buffer as u16);
    }

    /// Queues a buffer that was never leased (or no longer is) for the kernel.
    #[inline]
    pub(super) fn recycle(&mut self, buffer: u16) {
        debug_assert!(u32::from(buffer) < self.count);
        let slot = usize::from(self.tail) & (self.count as usize - 1);
        let base = self.entries.address().as_ptr().cast::<BufRingEntry>();
        // At most `count` buffers exist, so the kernel consumed this entry long ago. The setters
        // leave the tail alone, which shares its bytes with entry 0's reserved field.
        // SAFETY: `slot` and `buffer` are below `count`, so both places are inside their mappings,
        // which are page aligned; the kernel only reads entries, and not beyond the tail.
        unsafe {
            let entry = base.add(slot);
            let address = self
                .memory
                .address()
                .as_ptr()
                .add(usize::from(buffer) * self.stride);
            (*entry).set_addr(address as u64);
            (*entry).set_len(self.bytes);
            (*entry).set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel everything that was queued.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.tail == self.published {
            return;
        }
        self.published = self.tail;
        let base = self.entries.address().as_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the first entry of the mapping; the field is an aligned u16 that only
        // this thread writes and that the kernel reads with acquire semantics.
        unsafe {
            (*BufRingEntry::tail(base).cast::<AtomicU16>()).store(self.tail, Ordering::Release)
        };
    }

    /// Keeps the memory mapped for ever: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        self.entries.leak();
        self.memory.leak();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_come_back_and_are_counted() {
        let mut buffers = BufferRing::new(4, 100).unwrap();
        assert_eq!(
            (buffers.count(), buffers.free(), buffers.buffer_bytes()),
            (4, 4, 100)
        );
        let lease = buffers.lease(2, 100);
        assert_eq!(buffers.free(), 3);
        buffers.bytes(&lease).fill(7);
        buffers.give_back(lease);
        buffers.publish();
        assert_eq!((buffers.free(), buffers.published), (4, 5));
    }

    #[test]
    fn the_tail_wraps_at_16_bits() {
        let mut buffers = BufferRing::new(1, 1).unwrap();
        for _ in 0..70_000 {
            let lease = buffers.lease(0, 1);
            buffers.give_back(lease);
        }
        buffers.publish();
        assert_eq!(buffers.published, (70_001 % 65_536) as u16);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "given back twice")]
    fn a_second_give_back_is_caught() {
        let mut buffers = BufferRing::new(2, 8).unwrap();
        let lease = buffers.lease(1, 8);
        let copy = Lease {
            buffer: lease.buffer,
            offset: 0,
            len: 8,
        };
        buffers.give_back(lease);
        buffers.give_back(copy);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (count, bytes) in [(0, 1), (3, 1), (65_536, 1), (4, 0)] {
            assert_eq!(
                BufferRing::new(count, bytes).err().unwrap().kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }
}
