//! Masking (RFC 6455 section 5.3): byte `i` of a payload is XORed with byte `i mod 4` of the frame's key. Doing it
//! twice undoes it.

use std::ops::Range;

/// A frame's masking key.
pub type Key = [u8; 4];

/// Bytes that are masked in one step: a few vector registers.
const STEP: usize = 64;

/// The key for what follows the first `bytes` of a payload.
#[inline]
pub fn rotated(mut key: Key, bytes: usize) -> Key {
    key.rotate_left(bytes % 4);
    key
}

/// A key over so many bytes.
#[inline]
fn repeated<const N: usize>(key: Key) -> [u8; N] {
    std::array::from_fn(|index| key[index % 4])
}

#[inline]
fn xor<const N: usize>(bytes: &mut [u8; N], keys: &[u8; N]) {
    for (byte, key) in bytes.iter_mut().zip(keys) {
        *byte ^= key;
    }
}

/// Masks or unmasks `bytes` where they are; the first of them belongs to the first byte of `key`.
#[inline]
pub fn apply(bytes: &mut [u8], key: Key) {
    let keys = repeated::<STEP>(key);
    let (steps, rest) = bytes.as_chunks_mut::<STEP>();
    steps.iter_mut().for_each(|step| xor(step, &keys));
    for (byte, key) in rest.iter_mut().zip(keys) {
        *byte ^= key;
    }
}

/// Unmasks `from` of `bytes` and moves it down to `to`, in one pass. `to` is not above the start of `from`.
#[inline]
pub fn apply_moving(bytes: &mut [u8], from: Range<usize>, to: usize, key: Key) {
    debug_assert!(to <= from.start, "bytes are moved down");
    if to == from.start {
        return apply(&mut bytes[from], key);
    }
    let (mut source, mut target) = (from.start, to);
    move_steps::<STEP>(bytes, &mut source, from.end, &mut target, key);
    // What is left of a message of a few dozen bytes is most of it.
    move_steps::<8>(bytes, &mut source, from.end, &mut target, key);
    for (source, key) in (source..from.end).zip(repeated::<8>(key)) {
        bytes[target] = bytes[source] ^ key;
        target += 1;
    }
}

/// Unmasks and moves `N` bytes at a time, a multiple of the key's, as long as there are so many before `end`.
#[inline]
fn move_steps<const N: usize>(
    bytes: &mut [u8],
    source: &mut usize,
    end: usize,
    target: &mut usize,
    key: Key,
) {
    let keys = repeated::<N>(key);
    // A step is read whole before it is written, and what it overwrites lies below what is read next.
    while let Some(&step) = bytes[*source..end].first_chunk::<N>() {
        let mut step = step;
        xor(&mut step, &keys);
        bytes[*target..*target + N].copy_from_slice(&step);
        *source += N;
        *target += N;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plainly(bytes: &[u8], key: Key) -> Vec<u8> {
        let masked = bytes.iter().enumerate();
        masked.map(|(index, byte)| byte ^ key[index % 4]).collect()
    }

    proptest! {
        #[test]
        fn masking_is_what_the_rfc_says_wherever_it_lands(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            key in any::<[u8; 4]>(),
            up in 0_usize..80,
            cut in 0_usize..400,
        ) {
            let expected = plainly(&bytes, key);
            let mut masked = bytes.clone();
            apply(&mut masked, key);
            prop_assert_eq!(&masked, &expected);
            // In two parts.
            let cut = cut.min(bytes.len());
            let mut masked = bytes.clone();
            apply(&mut masked[..cut], key);
            apply(&mut masked[cut..], rotated(key, cut));
            prop_assert_eq!(&masked, &expected);
            // And moved.
            let mut buffer = vec![0xee; up];
            buffer.extend_from_slice(&bytes);
            let from = up..buffer.len();
            apply_moving(&mut buffer, from, 0, key);
            prop_assert_eq!(&buffer[..bytes.len()], &expected[..]);
        }
    }
}
