//! Which CPUs a thread may run on: sched_setaffinity(2) and sched_getaffinity(2), whatever the number
//! of CPUs. The C library's own set ends at CPU 1023. Linux only; elsewhere this module is not there.

use std::ffi::c_ulong;
use std::io;

const WORD_BITS: usize = c_ulong::BITS as usize;
/// A kernel for more than half a million CPUs does not exist.
const WORDS_MAX: usize = (1 << 19) / WORD_BITS;

/// The CPUs that the calling thread may run on, in order.
///
/// # Errors
/// What the system answered.
pub fn allowed() -> io::Result<Vec<u32>> {
    let mut words = 1024 / WORD_BITS;
    loop {
        let mut mask: Vec<c_ulong> = vec![0; words];
        let bytes = std::mem::size_of_val(mask.as_slice());
        // SAFETY: `mask` is `bytes` of writable memory for the duration of the call, which writes no
        // more than it is told; thread 0 is the calling one.
        let answer = unsafe { libc::sched_getaffinity(0, bytes, mask.as_mut_ptr().cast()) };
        if answer == 0 {
            return Ok(cpus_in(&mask));
        }
        let error = io::Error::last_os_error();
        // EINVAL: the kernel's own mask is larger.
        if error.raw_os_error() != Some(libc::EINVAL) || words >= WORDS_MAX {
            return Err(error);
        }
        words *= 2;
    }
}

/// Lets the calling thread run on `cpu` and nowhere else.
///
/// # Errors
/// What the system answered: EINVAL for a CPU that does not exist or that a cpuset denies.
pub fn pin(cpu: u32) -> io::Result<()> {
    let mask = mask_of(cpu);
    let bytes = std::mem::size_of_val(mask.as_slice());
    // SAFETY: `mask` is `bytes` of readable memory for the duration of the call; thread 0 is the
    // calling one.
    match unsafe { libc::sched_setaffinity(0, bytes, mask.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn mask_of(cpu: u32) -> Vec<c_ulong> {
    let (word, bit) = (cpu as usize / WORD_BITS, cpu as usize % WORD_BITS);
    // At least the size of the C library's set, which every kernel takes.
    let mut mask = vec![0; (word + 1).max(1024 / WORD_BITS)];
    mask[word] = 1 << bit;
    mask
}

fn cpus_in(mask: &[c_ulong]) -> Vec<u32> {
    let bits = |(word, set): (usize, &c_ulong)| {
        let set = *set;
        (0..WORD_BITS)
            .filter(move |bit| set & (1 << bit) != 0)
            .map(move |bit| (word * WORD_BITS + bit) as u32)
    };
    mask.iter().enumerate().flat_map(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_reach_beyond_the_c_librarys_set() {
        for cpu in [0, 63, 64, 1023, 1024, 5000] {
            assert_eq!(cpus_in(&mask_of(cpu)), [cpu]);
        }
        assert_eq!(cpus_in(&[0b101, 0b10]), [0, 2, WORD_BITS as u32 + 1]);
    }

    #[test]
    fn a_thread_is_pinned_and_says_so() {
        std::thread::spawn(|| {
            let cpus = allowed().unwrap();
            let last = *cpus.last().unwrap();
            pin(last).unwrap();
            assert_eq!(allowed().unwrap(), [last]);
            let error = pin(400_000).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        })
        .join()
        .unwrap();
    }
}
