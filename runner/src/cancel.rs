//! How the user ends things early: once orderly, twice at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts how often the user asked for the end. Cheap to clone; raising it is safe in a signal
/// handler, for it is one atomic addition.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicUsize>);

impl Cancel {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks once more.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks, unless somebody has.
    pub fn raise_first(&self) {
        // Who was faster wants the same.
        let _ = self
            .0
            .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The count itself, for signal libraries that store into it.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// End orderly.
    pub fn is_raised(&self) -> bool {
        self.count() > 0
    }

    /// End at once.
    pub fn is_raised_twice(&self) -> bool {
        self.count() > 1
    }
}
