//! The threads of a testee. Each waits for a connection, serves it and waits for the next, so that a
//! connection costs no thread of its own: a few wait in accept(2), of which the kernel wakes one a
//! connection; the others are spares that a thread calls in when it was the last to wait.
//!
//! A testee never has more threads than it may have connections, so what is beyond that waits in
//! the backlog. Spares that nobody needs end, and what memory they had goes with them.

use super::seats::Seat;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Threads that wait in accept(2) at once, at most. Each of them holds a descriptor ready.
const WAITING_MAX: u32 = 16;

/// A spare that nobody has needed for so long ends.
const SPARE_PATIENCE: Duration = Duration::from_secs(1);

/// What a thread is to do next.
#[derive(Debug)]
pub enum Next {
    /// Wait in accept(2); [`Crew::back_from_accept`] must follow.
    Accept,
    /// Serve this one.
    Serve(OwnedFd),
    /// End.
    Leave,
}

/// What has to be done before a thread serves the connection that it has accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Succession {
    /// Nothing: somebody waits for the next connection.
    Settled,
    /// Nobody does: [`Crew::hire`] a thread, which begins in accept(2).
    Hire,
    /// Nobody does, and there may be no more threads: whoever is done first is next.
    Full,
}

/// Threads, and what they agree on.
#[derive(Debug)]
pub struct Crew {
    state: Mutex<State>,
    /// A spare is called, or all are to leave.
    called: Condvar,
    limit: u32,
    /// Connections are brought by [`Crew::bring`] instead of being accepted.
    is_supplied: bool,
}

#[derive(Debug, Default)]
struct State {
    threads: BTreeMap<u64, Member>,
    hired: u64,
    /// Threads in accept(2), or on their way there.
    waiting: u32,
    spares: u32,
    /// Spares that were called and have not come yet.
    calls: u32,
    /// Brought, and not taken by a thread yet.
    brought: VecDeque<OwnedFd>,
    leaving: bool,
}

/// One thread.
#[derive(Debug)]
pub struct Member {
    /// Its socket.
    pub seat: Arc<Seat>,
    /// To wait for its end.
    pub thread: JoinHandle<()>,
}

impl Crew {
    /// A crew of at most `limit` threads.
    pub fn new(limit: u32, is_supplied: bool) -> Self {
        Self {
            state: Mutex::default(),
            called: Condvar::new(),
            limit: limit.max(1),
            is_supplied,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether connections are brought and not accepted by the threads.
    pub fn is_supplied(&self) -> bool {
        self.is_supplied
    }

    /// Adds a thread, which `start` starts; it is given its number and its seat. Where threads accept,
    /// it counts as waiting from now on.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn hire(
        &self,
        start: impl FnOnce(u64, Arc<Seat>) -> std::io::Result<JoinHandle<()>>,
    ) -> std::io::Result<()> {
        let mut state = self.lock();
        let number = state.hired;
        let seat = Arc::new(Seat::default());
        let thread = start(number, Arc::clone(&seat))?;
        state.hired += 1;
        state.waiting += u32::from(!self.is_supplied);
        state.threads.insert(number, Member { seat, thread });
        Ok(())
    }

    /// Threads that were ever hired.
    pub fn hired(&self) -> u64 {
        self.lock().hired
    }

    /// What a thread that has nothing to do does next; waits as long as that is nothing.
    pub fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            if state.leaving {
                return Next::Leave;
            }
            if let Some(socket) = state.brought.pop_front() {
                return Next::Serve(socket);
            }
            if !self.is_supplied && state.waiting < WAITING_MAX {
                state.waiting += 1;
                return Next::Accept;
            }
            state.spares += 1;
            state = self
                .called
                .wait_timeout_while(state, SPARE_PATIENCE, |state| {
                    !state.leaving && state.calls == 0
                })
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.calls == 0 {
                state.spares -= 1;
                return Next::Leave;
            }
            // Whoever called has taken this one from the spares, and counted it among those who
            // wait if it is to accept.
            state.calls -= 1;
            if !self.is_supplied {
                return Next::Accept;
            }
        }
    }

    /// A thread comes back from accept(2), `with_connection` or without. Tells who accepts next.
    pub fn back_from_accept(&self, with_connection: bool) -> Succession {
        let mut state = self.lock();
        state.waiting -= 1;
        if !with_connection || state.waiting > 0 || state.leaving {
            return Succession::Settled;
        }
        if state.spares > 0 {
            state.waiting += 1;
            self.call(&mut state);
            return Succession::Settled;
        }
        match (state.threads.len() as u32) < self.limit {
            true => Succession::Hire,
            false => Succession::Full,
        }
    }

    /// Brings a connection for the next thread that has nothing to do. False: there is none, and a
    /// thread must be hired.
    pub fn bring(&self, socket: OwnedFd) -> bool {
        let mut state = self.lock();
        state.brought.push_back(socket);
        if state.spares == 0 {
            return false;
        }
        self.call(&mut state);
        true
    }

    /// Takes the connection back that was brought last.
    pub fn take_back(&self) -> Option<OwnedFd> {
        self.lock().brought.pop_back()
    }

    /// Calls one spare.
    fn call(&self, state: &mut State) {
        state.spares -= 1;
        state.calls += 1;
        self.called.notify_one();
    }

    /// A thread ends.
    pub fn left(&self, number: u64) {
        self.lock().threads.remove(&number);
    }

    /// All are to end when they have served what they have. Those in accept(2) must be woken.
    pub fn dismiss(&self) {
        self.lock().leaving = true;
        self.called.notify_all();
    }

    /// The seats of all threads.
    pub fn seats(&self) -> Vec<Arc<Seat>> {
        let state = self.lock();
        let members = state.threads.values();
        members.map(|member| Arc::clone(&member.seat)).collect()
    }

    /// Waits for the end of all threads.
    pub fn join(&self) {
        let members = std::mem::take(&mut self.lock().threads);
        for member in members.into_values() {
            // A panic was printed by the thread; its connection is closed by its seat.
            let _ = member.thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    fn socket() -> OwnedFd {
        File::open("/dev/null").expect("/dev/null").into()
    }

    fn hire_idle(crew: &Crew) {
        crew.hire(|_, _| std::thread::Builder::new().spawn(|| {}))
            .expect("a thread");
    }

    #[test]
    fn somebody_always_waits_unless_all_are_busy() {
        let crew = Crew::new(2, false);
        hire_idle(&crew);
        // The first was the last to wait, and there is none behind it.
        assert_eq!(crew.back_from_accept(true), Succession::Hire);
        hire_idle(&crew);
        assert_eq!(crew.back_from_accept(true), Succession::Full);
        // One is done: it is next, and nobody has to be hired while it serves its second.
        assert!(matches!(crew.next(), Next::Accept));
        assert!(matches!(crew.next(), Next::Accept));
        assert_eq!(crew.back_from_accept(true), Succession::Settled);
        crew.join();
        assert_eq!(crew.hired(), 2);
    }

    #[test]
    fn more_than_a_few_are_spares_which_are_called_in_or_end() {
        let crew = Arc::new(Crew::new(1000, false));
        for _ in 0..WAITING_MAX {
            assert!(matches!(crew.next(), Next::Accept));
        }
        let (accepting, ended) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        for _ in 0..2 {
            let (spare, accepting, ended) = (
                Arc::clone(&crew),
                Arc::clone(&accepting),
                Arc::clone(&ended),
            );
            crew.hire(|_, _| {
                std::thread::Builder::new().spawn(move || {
                    // It was counted as waiting when it was hired.
                    assert_eq!(spare.back_from_accept(false), Succession::Settled);
                    match spare.next() {
                        Next::Accept => accepting.fetch_add(1, SeqCst),
                        _ => ended.fetch_add(1, SeqCst),
                    };
                })
            })
            .expect("a thread");
        }
        while crew.lock().spares < 2 {
            std::thread::yield_now();
        }
        for _ in 1..WAITING_MAX {
            assert_eq!(crew.back_from_accept(true), Succession::Settled);
        }
        assert_eq!(accepting.load(SeqCst), 0, "one waits still");
        assert_eq!(crew.back_from_accept(true), Succession::Settled);
        crew.join();
        assert_eq!((accepting.load(SeqCst), ended.load(SeqCst)), (1, 1));
        assert_eq!(crew.hired(), 2);
    }

    #[test]
    fn what_is_brought_is_served_and_all_leave_when_dismissed() {
        let crew = Crew::new(4, true);
        assert!(!crew.bring(socket()), "nobody is there");
        assert!(matches!(crew.next(), Next::Serve(_)));
        assert!(!crew.bring(socket()));
        assert!(crew.take_back().is_some() && crew.take_back().is_none());
        crew.dismiss();
        assert!(matches!(crew.next(), Next::Leave));
    }
}
