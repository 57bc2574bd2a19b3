//! Whose turn it is: many tests beside one another, or one alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

struct Running {
    /// Tests that run beside one another.
    many: u32,
    /// Whether one runs alone.
    one: bool,
    /// Tests that wait to run alone. They go first, in a row, so that the others are held up once.
    waiting: u32,
}

struct Turns {
    running: Mutex<Running>,
    changed: Condvar,
}

static TURNS: Turns = Turns::new();

/// The right to run, given back when dropped, also by a test that fails.
#[must_use]
pub(crate) struct Turn<'a> {
    of: &'a Turns,
    alone: bool,
}

/// Waits until no test runs alone, or wants to.
pub(crate) fn beside_others() -> Turn<'static> {
    TURNS.beside_others()
}

/// Waits until no other test runs.
pub(crate) fn alone() -> Turn<'static> {
    TURNS.alone()
}

impl Turns {
    const fn new() -> Self {
        let running = Running {
            many: 0,
            one: false,
            waiting: 0,
        };
        Self {
            running: Mutex::new(running),
            changed: Condvar::new(),
        }
    }

    /// A test that failed has left the numbers as they are.
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beside_others(&self) -> Turn<'_> {
        let mut running = self
            .changed
            .wait_while(self.lock(), |running| running.one || running.waiting > 0)
            .unwrap_or_else(PoisonError::into_inner);
        running.many += 1;
        Turn {
            of: self,
            alone: false,
        }
    }

    fn alone(&self) -> Turn<'_> {
        let mut running = self.lock();
        running.waiting += 1;
        let mut running = self
            .changed
            .wait_while(running, |running| running.one || running.many > 0)
            .unwrap_or_else(PoisonError::into_inner);
        running.waiting -= 1;
        running.one = true;
        Turn {
            of: self,
            alone: true,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut running = self.of.lock();
        match self.alone {
            true => running.one = false,
            false => running.many -= 1,
        }
        drop(running);
        self.of.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

    /// However many threads take turns, one that is alone sees nobody else, and everybody gets a turn.
    #[test]
    fn who_is_alone_sees_nobody() {
        let (turns, inside) = (Turns::new(), AtomicI32::new(0));
        let take = |alone: bool| {
            for _ in 0..200 {
                let turn = match alone {
                    true => turns.alone(),
                    false => turns.beside_others(),
                };
                let others = inside.fetch_add(1, SeqCst);
                assert!(!alone || others == 0, "{others} beside one that is alone");
                std::thread::yield_now();
                assert!(!alone || inside.load(SeqCst) == 1);
                inside.fetch_sub(1, SeqCst);
                drop(turn);
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || take(thread % 4 == 0));
            }
        });
        assert_eq!(inside.into_inner(), 0);
    }

    /// Two that are not alone run at the same time: each waits until the other is inside.
    #[test]
    fn others_run_beside_one_another() {
        let (turns, meeting) = (Turns::new(), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let _turn = turns.beside_others();
                    meeting.wait();
                });
            }
        });
    }
}
