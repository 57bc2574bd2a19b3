//! What the conductor of a load and its threads share.

use super::super::seats::Seat;
use super::gate::Gate;
use crate::options::BlockingOptions;
use engine::clock::now_ns;
use engine::control::{Order, Waker};
use engine::driver::{EngineError, LoadJob};
use engine::meter::OneReading;
use engine::socket::Granted;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module's text.
pub struct Stage {
    pub job: LoadJob,
    pub options: BlockingOptions,
    order: AtomicU8,
    /// End of the window if it was cut short, ns.
    pub end_ns: AtomicU64,
    pub seats: Box<[Seat]>,
    /// Spare source address in use ([`engine::endpoint::Target::source`]).
    pub spare_source: AtomicU32,
    /// Connections opened, reconnects included.
    pub established: AtomicU64,
    /// How many of them may connect at the same time, where each connects once.
    pub gate: Arc<Gate>,
    /// Who of the threads reads what the process has used.
    pub reads: Arc<OneReading>,
    /// What was sent is owed an answer when the window is over.
    pub owes: bool,
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Wakes the conductor.
    waker: Waker,
}

/// What the conductor and its threads wait for of each other.
#[derive(Default)]
pub struct Progress {
    /// The starting instant, once it is known.
    pub go_ns: Option<u64>,
    /// Threads that are prepared for the go.
    pub ready: u32,
    /// Threads that have counted everything.
    pub done: u32,
    /// Why the run cannot begin.
    pub failed: Option<EngineError>,
    /// Read from the first connection.
    pub granted: Option<Granted>,
}

impl Stage {
    /// Of the connections of `job`, none of them open.
    pub fn new(job: LoadJob, options: BlockingOptions, owes: bool, waker: Waker) -> Self {
        Self {
            order: AtomicU8::new(Order::Run as u8),
            end_ns: AtomicU64::new(u64::MAX),
            seats: (0..job.rules.share.count)
                .map(|_| Seat::default())
                .collect(),
            spare_source: AtomicU32::new(0),
            established: AtomicU64::new(0),
            gate: Gate::new(job.rules.connects_at_once),
            reads: Arc::new(OneReading::new(job.rules.share.count)),
            owes,
            progress: Mutex::default(),
            changed: Condvar::new(),
            waker,
            options,
            job,
        }
    }

    /// What the conductor wants of its threads, who have no waker each. In order with what they say of
    /// themselves ([`Seat::resting`]), and so not in the job's [`engine::control::Control`].
    pub fn order(&self) -> Order {
        match self.order.load(SeqCst) {
            0 => Order::Run,
            1 => Order::Stop,
            _ => Order::Abort,
        }
    }

    /// Gives an order (orders only ever get stricter) and wakes all sleeping threads.
    pub fn give(&self, order: Order) {
        self.end_ns.fetch_min(now_ns(), SeqCst);
        self.order.fetch_max(order as u8, SeqCst);
        // The lock orders the change before any thread's decision to sleep.
        self.announce(|_| {});
    }

    /// What was agreed on so far.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the progress and wakes the conductor.
    pub fn report(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress());
        self.waker.wake();
    }

    /// Changes the progress and wakes all sleeping threads.
    pub fn announce(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress());
        self.changed.notify_all();
    }

    /// Sleeps until `until_ns`, or until an order comes. Returns whether to go on.
    pub fn sleep_until(&self, until_ns: u64) -> bool {
        let mut progress = self.progress();
        loop {
            let now = now_ns();
            if self.order() != Order::Run || now >= until_ns {
                return self.order() == Order::Run;
            }
            let left = Duration::from_nanos(until_ns - now);
            let waited = self.changed.wait_timeout(progress, left);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the go; `None` when there will be none.
    pub fn wait_for_go(&self) -> Option<u64> {
        let progress = self.progress();
        let waiting =
            |progress: &mut Progress| progress.go_ns.is_none() && self.order() == Order::Run;
        let waited = self.changed.wait_while(progress, waiting);
        let go_ns = waited.unwrap_or_else(PoisonError::into_inner).go_ns?;
        self.sleep_until(go_ns).then_some(go_ns)
    }
}
