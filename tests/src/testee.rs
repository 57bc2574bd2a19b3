//! A testee in this process: any driver's `serve`, on threads of its own.

use crate::{Directory, Family};
use engine::control::{Control, Order};
use engine::driver::{
    AcceptStrategy, Driver, EngineError, Handoff, ServeJob, ServeLimits, ServeOutcome,
};
use engine::meter::ServePublished;
use engine::socket::{self, SocketOptions};
use engine::workload::ServeSpec;
use socket2::SockAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How to serve; [`Plan::start`] does it.
#[derive(Clone)]
pub struct Plan {
    /// Which engine.
    pub driver: &'static dyn Driver,
    /// Which kind of socket.
    pub family: Family,
    /// Which role.
    pub spec: ServeSpec,
    /// How many workers.
    pub workers: usize,
    /// How connections reach them.
    pub strategy: AcceptStrategy,
    /// Bounds.
    pub limits: ServeLimits,
    /// Listen backlog.
    pub backlog: u32,
    /// Socket options.
    pub socket: SocketOptions,
    /// Connections that buffers are sized for.
    pub expected_connections: Option<u32>,
    /// Message that buffers are sized for.
    pub expected_message_bytes: Option<u32>,
}

impl Plan {
    /// One worker, no bounds to speak of.
    pub fn new(driver: &'static dyn Driver, family: Family, spec: ServeSpec) -> Self {
        Self {
            driver,
            family,
            spec,
            workers: 1,
            strategy: AcceptStrategy::Shared,
            limits: ServeLimits {
                connections: 4_096,
                idle_timeout_ns: None,
                one_off: false,
                drain_ns: 200_000_000,
            },
            backlog: 1_024,
            socket: SocketOptions {
                nodelay: true,
                ..SocketOptions::default()
            },
            expected_connections: None,
            expected_message_bytes: None,
        }
    }

    /// Starts the workers and waits until they are ready.
    ///
    /// # Panics
    /// When they do not become ready.
    pub fn start(self) -> Testee {
        let directory = Directory::new();
        let mut listeners = self.listeners(&directory);
        let first = listeners[0].as_ref().expect("the first worker listens");
        let address = socket::local_address(first.as_fd()).expect("bound");
        let control = Arc::new(Control::default());
        let (handoffs, hands) = self.handoffs(&control);
        let mut published = Vec::new();
        let mut threads = Vec::new();
        for (worker, (handoff, wake)) in handoffs.into_iter().zip(hands).enumerate() {
            let counters = Arc::new(ServePublished::default());
            published.push(Arc::clone(&counters));
            let job = ServeJob {
                worker: worker as u32,
                control: Arc::clone(&control),
                wake,
                published: counters,
                spec: self.spec.clone(),
                listener: listeners[worker].take(),
                handoff,
                socket: self.socket.clone(),
                limits: self.limits,
                expected_connections: self.expected_connections,
                expected_message_bytes: self.expected_message_bytes,
                engine_options: Vec::new(),
            };
            let (driver, steering) = (self.driver, Arc::clone(&control));
            threads.push(std::thread::spawn(move || {
                let outcome = driver.serve(job);
                if let Err(error) = &outcome {
                    steering.report_failed(error.to_string());
                }
                outcome
            }));
        }
        control
            .wait_ready(self.workers, Duration::from_secs(10))
            .expect("the testee is ready");
        Testee {
            address,
            control,
            published,
            threads,
            directory,
        }
    }

    fn listeners(&self, directory: &Directory) -> Vec<Option<OwnedFd>> {
        let reuseport = self.strategy == AcceptStrategy::Reuseport;
        let listen = |address: &SockAddr| {
            socket::listen(address, self.backlog, reuseport, false, &self.socket)
                .expect("a listener")
        };
        let first = listen(&self.family.address(directory.path()));
        let bound = socket::local_address(first.as_fd()).expect("bound");
        let mut all: Vec<_> = (1..self.workers)
            .map(|_| match self.strategy {
                AcceptStrategy::Reuseport => Some(listen(&bound)),
                AcceptStrategy::Shared => Some(socket::duplicate(&first).expect("a descriptor")),
                AcceptStrategy::Handoff => None,
            })
            .collect();
        all.insert(0, Some(first));
        all
    }

    #[allow(clippy::type_complexity, reason = "two columns of one table")]
    fn handoffs(&self, control: &Control) -> (Vec<Option<Handoff>>, Vec<engine::control::WakeEnd>) {
        if self.strategy != AcceptStrategy::Handoff {
            let wakes = (0..self.workers).map(|_| control.seat().expect("a seat"));
            return ((0..self.workers).map(|_| None).collect(), wakes.collect());
        }
        let mut wakes = vec![control.seat().expect("a seat")];
        let (mut give, mut takers) = (Vec::new(), Vec::new());
        for _ in 1..self.workers {
            let (sender, receiver): (SyncSender<OwnedFd>, Receiver<OwnedFd>) = sync_channel(256);
            let (waker, end) = control.seat_with_waker().expect("a seat");
            give.push((sender, waker));
            takers.push(Some(Handoff::Take(receiver)));
            wakes.push(end);
        }
        let mut all = vec![Some(Handoff::Give(give))];
        all.extend(takers);
        (all, wakes)
    }
}

/// A running testee; aborted when dropped.
pub struct Testee {
    /// Where it listens.
    pub address: SockAddr,
    /// Steers it.
    pub control: Arc<Control>,
    /// Counters, one per worker.
    pub published: Vec<Arc<ServePublished>>,
    threads: Vec<JoinHandle<Result<ServeOutcome, EngineError>>>,
    directory: Directory,
}

impl Testee {
    /// Starts one worker with this role.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(driver: &'static dyn Driver, family: Family, spec: ServeSpec) -> Self {
        Plan::new(driver, family, spec).start()
    }

    /// A counter, summed over the workers.
    pub fn total(&self, counter: impl Fn(&ServePublished) -> &AtomicU64) -> u64 {
        self.published
            .iter()
            .map(|worker| counter(worker).load(Relaxed))
            .sum()
    }

    /// Whether all workers have returned by themselves.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// The directory of its Unix socket.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Stops it in order, and says how long that took.
    ///
    /// # Panics
    /// When a worker panicked, failed, or does not end within 10 s.
    pub fn stop(mut self) -> (Vec<ServeOutcome>, Duration) {
        let from = Instant::now();
        self.control.order_all(Order::Stop);
        assert!(
            crate::eventually(Duration::from_secs(10), || self.has_ended()),
            "the testee does not stop"
        );
        let took = from.elapsed();
        let outcomes = std::mem::take(&mut self.threads)
            .into_iter()
            .map(|thread| thread.join().expect("no panic").expect("the testee served"))
            .collect();
        (outcomes, took)
    }
}

impl Drop for Testee {
    fn drop(&mut self) {
        self.control.order_all(Order::Abort);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}
