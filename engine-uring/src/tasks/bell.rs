//! Waking a task from elsewhere on its own thread.

use std::cell::RefCell;
use std::task::Waker;

/// Remembers whom to wake. One listener.
#[derive(Debug, Default)]
pub struct Bell(RefCell<Option<Waker>>);

impl Bell {
    /// Wakes `waker`'s task from now on. Nothing is cloned if it is the one known already.
    #[inline]
    pub fn listen(&self, waker: &Waker) {
        let mut known = self.0.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Wakes the listener.
    pub fn ring(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Forgets the listener: a waker keeps its task's memory.
    pub fn forget(&self) {
        self.0.borrow_mut().take();
    }
}
