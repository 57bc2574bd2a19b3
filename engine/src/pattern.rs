//! The bytes that are sent where no protocol says which: a position-dependent pattern that every
//! connection shares.
//!
//! Byte at position `p` of connection `c` is `byte(start(c) + p)`. The period is a prime, so that
//! no buffer size divides it: two swapped, repeated or dropped buffers cannot compare equal.

use crate::region::Region;
use std::ops::Range;

/// Period of the pattern: the largest prime below 64 KiB.
pub const PERIOD: u32 = 65_521;

/// A region that holds the pattern for [`PERIOD`] positions plus the longest send, so that any send of
/// up to `longest` bytes is one contiguous range whatever its position.
pub fn region(longest: u32) -> Region {
    Region::new(bytes(longest, |random| random))
}

/// The same of printable ASCII characters, `0` to `o`.
pub fn text(longest: u32) -> Vec<u8> {
    bytes(longest, |random| b'0' + random % 64)
}

fn bytes(longest: u32, byte: impl Fn(u8) -> u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PERIOD as usize + longest as usize);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..PERIOD {
        // xorshift64 (Marsaglia 2003): cheap, and no run of equal bytes.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(byte((state >> 32) as u8));
    }
    while bytes.len() < bytes.capacity() {
        let more = (bytes.capacity() - bytes.len()).min(PERIOD as usize);
        bytes.extend_from_within(..more);
    }
    bytes
}

/// Where connection `index` begins in the period.
pub fn start(index: u32) -> u64 {
    // An odd multiplier spreads neighbours; any value below the period will do.
    u64::from(index.wrapping_mul(40_503) % PERIOD)
}

/// The range of `len` bytes at `position` (already offset by [`start`]).
#[inline]
pub fn range(position: u64, len: u32) -> Range<u32> {
    let from = (position % u64::from(PERIOD)) as u32;
    from..from + len
}

/// Compares received bytes with the pattern that `region` holds, at `position`; whole periods at a time.
pub fn matches(region: &Region, position: u64, mut bytes: &[u8]) -> bool {
    let mut position = position;
    while !bytes.is_empty() {
        let len = bytes
            .len()
            .min(PERIOD as usize)
            .min(region.len() - (position % u64::from(PERIOD)) as usize);
        let (head, tail) = bytes.split_at(len);
        if head != region.slice(range(position, len as u32)) {
            return false;
        }
        position += len as u64;
        bytes = tail;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_continues_the_period() {
        let pattern = region(200_000);
        let whole: Vec<u8> = (0..400_000u64)
            .map(|p| pattern.slice(range(p, 1))[0])
            .collect();
        assert_eq!(
            pattern.slice(range(65_000, 200_000)),
            &whole[65_000..265_000]
        );
        assert!(matches(&pattern, 123, &whole[123..399_999]));
        let mut wrong = whole[123..399_999].to_vec();
        wrong[300_000] ^= 1;
        assert!(!matches(&pattern, 123, &wrong));
    }

    #[test]
    fn swapped_and_shifted_buffers_differ() {
        let pattern = region(1 << 16);
        for size in [1usize << 12, 1 << 14, 1 << 16] {
            let a = pattern.slice(range(0, size as u32));
            let b = pattern.slice(range(size as u64, size as u32));
            assert_ne!(a, b);
        }
    }
}
