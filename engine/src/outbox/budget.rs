//! What the connections of a whole process may hold of copied output.
//!
//! Each connection is bounded by itself, but ten thousand that read nothing are five gigabytes. Above
//! a total nobody is received from who has not been rid of what there is for him already, so that the
//! total stays where it is until somebody reads; and when they leave, the memory goes back to the system.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of copied output that the connections of a process may hold in all.
pub const TOTAL_BYTES: u64 = 256 * 1024 * 1024;

/// Memory is given back to the system after at least so much was let go.
const TRIM_BYTES: u64 = 64 * 1024 * 1024;

/// A count that all workers of a process share. It is touched when output is copied, which is not the
/// rule.
#[derive(Debug)]
pub struct Budget {
    total_bytes: u64,
    held_bytes: AtomicU64,
    /// The most that was held since memory was given back the last time.
    peak_bytes: AtomicU64,
}

/// That of this process.
pub static PROCESS: Budget = Budget::new(TOTAL_BYTES);

impl Budget {
    /// Nothing is held of `total_bytes`.
    pub const fn new(total_bytes: u64) -> Self {
        Self {
            total_bytes,
            held_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
        }
    }

    /// So much more is held.
    pub fn take(&self, bytes: u64) {
        let held_bytes = self.held_bytes.fetch_add(bytes, Relaxed) + bytes;
        self.peak_bytes.fetch_max(held_bytes, Relaxed);
    }

    /// So much less is held. True where memory should be given back to the system now: a lot was held
    /// and hardly anything is any more. Who is told so is told alone.
    #[must_use]
    pub fn put(&self, bytes: u64) -> bool {
        let held_bytes = self.held_bytes.fetch_sub(bytes, Relaxed) - bytes;
        let peak_bytes = self.peak_bytes.load(Relaxed);
        if peak_bytes < TRIM_BYTES || held_bytes > peak_bytes / 8 {
            return false;
        }
        let exchanged = self
            .peak_bytes
            .compare_exchange(peak_bytes, held_bytes, Relaxed, Relaxed);
        exchanged.is_ok()
    }

    /// Whether the total is used up.
    #[inline]
    pub fn is_exceeded(&self) -> bool {
        self.held_bytes.load(Relaxed) >= self.total_bytes
    }
}

/// Gives what the allocator holds and nobody uses back to the system, as far as that is possible here.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) touches only what nobody has allocated.
    unsafe {
        libc::malloc_trim(0)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_put_back_is_counted_and_a_lot_is_given_back_once() {
        let budget = Budget::new(2 * TRIM_BYTES);
        let step = TRIM_BYTES / 8;
        for _ in 0..16 {
            assert!(!budget.is_exceeded());
            budget.take(step);
        }
        assert!(budget.is_exceeded());
        let told = (0..16).filter(|_| budget.put(step)).count();
        assert_eq!(told, 1);
        assert!(!budget.is_exceeded());
        budget.take(step);
        assert!(!budget.put(step), "little is not worth the while");
    }
}
