//! A receive buffer of each connection's own, for `receive=single`.
//!
//! While its bytes are leased the connection receives nothing: that bounds it without any count of
//! buffers, and the same few cache lines serve every message of a connection.

use super::mapping::Mapping;
use engine::proactor::Lease;
use std::io;

/// Buffers start on cache-line boundaries, and not all in the same cache set.
const ALIGNMENT: usize = 64;

/// One buffer for each place of the connection table, by index. Pages that no connection has used
/// cost no memory.
pub(super) struct OwnBuffers {
    memory: Mapping,
    bytes: u32,
    stride: usize,
    leased: Box<[bool]>,
}

impl OwnBuffers {
    /// Maps a buffer of `bytes` for each of `count` connections.
    pub(super) fn new(count: u32, bytes: u32) -> io::Result<Self> {
        let stride = (bytes as usize).next_multiple_of(ALIGNMENT) + ALIGNMENT;
        Ok(Self {
            memory: Mapping::new(count as usize * stride)?,
            bytes,
            stride,
            leased: vec![false; count as usize].into_boxed_slice(),
        })
    }

    pub(super) fn count(&self) -> u32 {
        self.leased.len() as u32
    }

    pub(super) fn buffer_bytes(&self) -> u32 {
        self.bytes
    }

    /// Whether the bytes of connection `index` are still in use.
    #[inline]
    pub(super) fn is_leased(&self, index: u32) -> bool {
        self.leased[index as usize]
    }

    /// Where the kernel may write for connection `index`.
    #[inline]
    pub(super) fn target(&mut self, index: u32) -> *mut u8 {
        assert!(!self.is_leased(index), "the buffer of {index} is leased");
        // The mapping holds `stride` bytes for every index below `leased.len()`.
        self.memory
            .address()
            .as_ptr()
            .wrapping_add(index as usize * self.stride)
    }

    /// Turns what the kernel wrote for connection `index` into a lease.
    #[inline]
    pub(super) fn lease(&mut self, index: u32, len: u32) -> Lease {
        assert!(len <= self.bytes, "the kernel wrote too much");
        assert!(
            !std::mem::replace(&mut self.leased[index as usize], true),
            "the buffer of {index} was leased twice"
        );
        Lease {
            buffer: index,
            offset: 0,
            len,
        }
    }

    /// The bytes of a lease.
    #[inline]
    pub(super) fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        let end = u64::from(lease.offset) + u64::from(lease.len);
        assert!(
            end <= u64::from(self.bytes) && self.leased[lease.buffer as usize],
            "a lease of another backend, or one that was given back"
        );
        let at = lease.buffer as usize * self.stride + lease.offset as usize;
        // SAFETY: in bounds of the mapping by the assertion above; no receive of a leased buffer is
        // in the kernel (`target`), and `&mut self` excludes every other reference from here.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.memory.address().as_ptr().add(at),
                lease.len as usize,
            )
        }
    }

    /// Takes a lease back.
    #[inline]
    pub(super) fn give_back(&mut self, lease: &Lease) {
        assert!(
            std::mem::replace(&mut self.leased[lease.buffer as usize], false),
            "the buffer of {} was given back twice",
            lease.buffer
        );
    }

    /// Keeps the memory mapped for ever: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        self.memory.leak();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_its_own_bytes() {
        let mut buffers = OwnBuffers::new(3, 100).unwrap();
        let targets: Vec<usize> = (0..3).map(|index| buffers.target(index) as usize).collect();
        assert!(targets.windows(2).all(|pair| pair[1] - pair[0] >= 100));
        let lease = buffers.lease(1, 100);
        buffers.bytes(&lease).fill(7);
        assert_eq!(buffers.bytes(&lease).as_ptr() as usize, targets[1]);
        assert!(buffers.is_leased(1) && !buffers.is_leased(2));
        buffers.give_back(&lease);
        assert!(!buffers.is_leased(1));
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn a_second_give_back_is_caught() {
        let mut buffers = OwnBuffers::new(1, 8).unwrap();
        let lease = buffers.lease(0, 8);
        buffers.give_back(&lease);
        buffers.give_back(&lease);
    }
}
