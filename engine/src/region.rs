//! Memory that all connections of a worker send from, filled once by the workload: a pattern of
//! bytes, or templates of requests. Nobody copies it and nobody changes it.

use std::ops::Range;

/// See the module's text.
#[derive(Debug)]
pub struct Region {
    bytes: Box<[u8]>,
}

impl Region {
    /// A region of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into_boxed_slice(),
        }
    }

    /// How many bytes it has.
    #[inline]
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether it is empty"
    )]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of a range.
    #[inline]
    pub fn slice(&self, range: Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }
}
