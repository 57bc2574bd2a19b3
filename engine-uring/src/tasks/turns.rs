//! Whose turn it is, among tasks that always have something to do.

use super::bell::Bell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The tasks of a worker that had their turn and want another.
///
/// They do not wake themselves: monoio runs a task that did so before all others, and while it has
/// something to do nobody else runs. The usher is a task of its own, so it comes behind all that
/// can run now, and those whom it wakes come behind it.
#[derive(Debug, Default)]
pub struct Turns {
    waiting: RefCell<Vec<Waker>>,
    usher: Bell,
}

impl Turns {
    /// Wakes a task when all others that can run now have run.
    pub fn ask(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker.clone());
        self.usher.ring();
    }

    /// The usher's task. It is never ready: it goes with its runtime, after [`Turns::end`].
    pub async fn usher(&self) {
        poll_fn(|context| {
            self.usher.listen(context.waker());
            self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
            Poll::Pending
        })
        .await
    }

    /// Lets go of the wakers: they keep their tasks' memory.
    pub fn end(&self) {
        self.waiting.borrow_mut().clear();
        self.usher.forget();
    }
}
