//! How many threads may connect at the same time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often one who waits looks whether to go on waiting.
const LOOK: Duration = Duration::from_millis(20);

/// A number of places.
pub struct Gate {
    free: Mutex<u32>,
    changed: Condvar,
}

/// A place, given back when it is dropped.
pub struct Place(Arc<Gate>);

impl Gate {
    /// With so many places.
    pub fn new(places: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new(places.max(1)),
            changed: Condvar::new(),
        })
    }

    /// Waits for a place as long as `waits` says so; `None`: it does not any more.
    pub fn enter(gate: &Arc<Self>, waits: impl Fn() -> bool) -> Option<Place> {
        let mut free = gate.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            if !waits() {
                return None;
            }
            let waited = gate.changed.wait_timeout(free, LOOK);
            free = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Some(Place(Arc::clone(gate)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_for_one_and_comes_back() {
        let gate = Gate::new(1);
        let place = Gate::enter(&gate, || true).expect("it is free");
        assert!(
            Gate::enter(&gate, || false).is_none(),
            "it is not, and nobody waits"
        );
        let waiting = {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || Gate::enter(&gate, || true).is_some())
        };
        drop(place);
        assert!(waiting.join().expect("no panic"));
    }
}
