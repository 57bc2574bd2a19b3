//! A provided-buffer ring of io_uring: equal buffers, handed to the kernel and taken back.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The ring of entries and the buffers behind it. Never unmapped: the kernel may write until the
/// io_uring itself is gone, and a floor ends with its process.
pub struct BufferRing {
    entries: *mut BufRingEntry,
    buffers: *mut u8,
    buffer_bytes: usize,
    count: u16,
    tail: u16,
}

impl BufferRing {
    /// Registers `count` (a power of two) buffers of `buffer_bytes` as group `group`, all given
    /// to the kernel. Fails as `mmap` or `IORING_REGISTER_PBUF_RING` do.
    pub fn register(
        submitter: &Submitter<'_>,
        group: u16,
        count: u16,
        buffer_bytes: usize,
    ) -> io::Result<Self> {
        let entries = pages(usize::from(count) * size_of::<BufRingEntry>())?;
        let buffers = pages(usize::from(count) * buffer_bytes)?;
        // SAFETY: the entries are page-aligned, `count` long, zeroed, and never unmapped.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, count, group, 0)? };
        let mut ring = Self {
            entries: entries.cast(),
            buffers,
            buffer_bytes,
            count,
            tail: 0,
        };
        for id in 0..count {
            ring.give_back(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Address of buffer `id`: readable until it is given back.
    #[inline]
    pub fn address(&self, id: u16) -> *const u8 {
        self.buffers
            .wrapping_add(usize::from(id) * self.buffer_bytes)
    }

    /// Puts buffer `id` back; the kernel sees it after [`BufferRing::publish`].
    #[inline]
    pub fn give_back(&mut self, id: u16) {
        let address = self.address(id);
        // SAFETY: the index is masked to the `count` entries of the mapping, which only this
        // thread writes; the kernel reads an entry only after the tail has passed it.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail & (self.count - 1))) };
        entry.set_addr(address as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows everything given back to the kernel: once per batch.
    #[inline]
    pub fn publish(&self) {
        // SAFETY: the tail lies in the first entry of the ring, a valid and aligned u16.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

fn pages(length: usize) -> io::Result<*mut u8> {
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
    );
    // SAFETY: a new anonymous mapping; no existing memory is named.
    let address = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(address.cast())
}
