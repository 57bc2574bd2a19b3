//! A load in this process: any driver's `load`, on threads of its own.

use engine::clock::now_ns;
use engine::control::{Control, Order};
use engine::driver::{Driver, EngineError, LoadJob, LoadOutcome};
use engine::endpoint::Target;
use engine::load::{CONNECTS_AT_ONCE, Rules, Share};
use engine::meter::{ErrorKind, Published, Recorded};
use engine::record::EventRecord;
use engine::session::How;
use engine::shape::{POISSON_SEED, Pace, Queue, Ramp, Stop};
use engine::socket::SocketOptions;
use engine::websocket::frame::Kind;
use engine::websocket::handshake::Opening;
use engine::workload::{Closer, Direction, LoadSpec, WebSocket};
use socket2::SockAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const MS: u64 = 1_000_000;

/// What to load with; [`Plan::run`] does it.
#[derive(Clone)]
pub struct Plan {
    /// Which engine.
    pub driver: &'static dyn Driver,
    /// Whom.
    pub target: SockAddr,
    /// What to say.
    pub spec: LoadSpec,
    /// Connections in total.
    pub connections: u32,
    /// Workers that share them.
    pub workers: u32,
    /// Before the window.
    pub warmup: Duration,
    /// When to end.
    pub stop: Stop,
    /// Of a connect.
    pub connect_timeout: Duration,
    /// Of an operation.
    pub operation_timeout: Duration,
    /// After the window.
    pub drain: Duration,
    /// Between ready and go.
    pub hesitation: Duration,
    /// Options of every connecting socket.
    pub socket: SocketOptions,
    /// Addresses to connect from; none leaves it to the kernel.
    pub sources: Vec<SocketAddr>,
    /// Where what is due waits.
    pub queue: Queue,
    /// When what is held is closed.
    pub closing: Ramp,
    /// Connects under way at the same time.
    pub connects_at_once: u32,
    /// Where every event is recorded.
    pub event_record: Option<Arc<EventRecord>>,
}

impl Plan {
    /// One connection, 100 operations, patient timeouts.
    pub fn new(driver: &'static dyn Driver, target: &SockAddr, spec: LoadSpec) -> Self {
        Self {
            driver,
            target: target.clone(),
            spec,
            connections: 1,
            workers: 1,
            warmup: Duration::ZERO,
            stop: Stop::Count(100),
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(2),
            hesitation: Duration::ZERO,
            socket: SocketOptions {
                nodelay: true,
                ..SocketOptions::default()
            },
            sources: Vec::new(),
            queue: Queue::Own,
            closing: Ramp::AtOnce,
            connects_at_once: CONNECTS_AT_ONCE,
            event_record: None,
        }
    }

    /// With so many connections.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// Ends after so many operations.
    pub fn count(mut self, count: u64) -> Self {
        self.stop = Stop::Count(count);
        self
    }

    /// Ends after so many milliseconds.
    pub fn duration_ms(mut self, ms: u64) -> Self {
        self.stop = Stop::After(ms * MS);
        self
    }

    /// Starts the workers, waits until they are ready, and lets them go.
    ///
    /// # Errors
    /// What kept a worker from being ready.
    ///
    /// # Panics
    /// When a worker panics.
    pub fn begin(&self) -> Result<Running, EngineError> {
        let control = Arc::new(Control::default());
        let workers = self.workers.min(self.connections);
        let mut threads = Vec::new();
        let mut published = Vec::new();
        for worker in 0..workers {
            let counters = Arc::new(Published::default());
            published.push(Arc::clone(&counters));
            let job = self.job(worker, workers, &control, counters);
            let (driver, steering) = (self.driver, Arc::clone(&control));
            threads.push(std::thread::spawn(move || {
                let outcome = driver.load(job);
                if let Err(error) = &outcome {
                    steering.report_failed(error.to_string());
                }
                outcome
            }));
        }
        let running = Running {
            control,
            published,
            threads,
        };
        if let Err(reason) = running
            .control
            .wait_ready(workers as usize, Duration::from_secs(20))
        {
            running.control.order_all(Order::Abort);
            let first = running.join().err();
            return Err(first.unwrap_or(EngineError::Peer(reason)));
        }
        std::thread::sleep(self.hesitation);
        running.control.go(now_ns() + MS);
        Ok(running)
    }

    fn job(
        &self,
        worker: u32,
        workers: u32,
        control: &Arc<Control>,
        published: Arc<Published>,
    ) -> LoadJob {
        let before = |worker: u32| self.connections * worker / workers;
        LoadJob {
            worker,
            control: Arc::clone(control),
            wake: control.seat().expect("a seat"),
            published,
            event_record: self.event_record.clone(),
            spec: self.spec.clone(),
            rules: Rules {
                target: Target {
                    addresses: vec![self.target.clone()],
                    sources: self.sources.clone(),
                    spread: 1,
                },
                share: Share {
                    first: before(worker),
                    count: before(worker + 1) - before(worker),
                    total: self.connections,
                },
                ramp: self.spec.ramp(),
                connects_at_once: self.connects_at_once,
                closing: self.closing,
                queue: self.queue,
                poisson_seed: POISSON_SEED,
                warmup_ns: self.warmup.as_nanos() as u64,
                stop: match self.stop {
                    Stop::Count(count) => Stop::Count(
                        count * u64::from(worker + 1) / u64::from(workers)
                            - count * u64::from(worker) / u64::from(workers),
                    ),
                    after @ Stop::After(_) => after,
                },
                connect_timeout_ns: self.connect_timeout.as_nanos() as u64,
                operation_timeout_ns: self.operation_timeout.as_nanos() as u64,
                drain_ns: self.drain.as_nanos() as u64,
            },
            socket: self.socket.clone(),
            engine_options: Vec::new(),
        }
    }

    /// The whole run.
    ///
    /// # Errors
    /// What ended it before its time.
    pub fn try_run(&self) -> Result<Loaded, EngineError> {
        self.begin()?.join()
    }

    /// The whole run.
    ///
    /// # Panics
    /// When it failed as a whole.
    pub fn run(&self) -> Loaded {
        self.try_run()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.spec))
    }
}

/// A load under way.
pub struct Running {
    /// Steers it.
    pub control: Arc<Control>,
    /// Counters, one per worker.
    pub published: Vec<Arc<Published>>,
    threads: Vec<JoinHandle<Result<LoadOutcome, EngineError>>>,
}

impl Running {
    /// Sums a counter over the workers.
    pub fn total(&self, counter: impl Fn(&Published) -> &AtomicU64) -> u64 {
        let workers = self.published.iter();
        workers.map(|worker| counter(worker).load(Relaxed)).sum()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What ended it before its time.
    ///
    /// # Panics
    /// When a worker panics.
    pub fn join(self) -> Result<Loaded, EngineError> {
        let mut recorded = Recorded::new();
        let mut outcomes = Vec::new();
        let mut failure = None;
        for thread in self.threads {
            match thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            {
                Ok(outcome) => {
                    recorded.merge(&outcome.recorded);
                    outcomes.push(outcome);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Loaded { recorded, outcomes }),
        }
    }
}

/// What a load came to.
#[derive(Debug)]
pub struct Loaded {
    /// All workers together.
    pub recorded: Recorded,
    /// Each worker.
    pub outcomes: Vec<LoadOutcome>,
}

impl Loaded {
    /// Failures of one kind.
    pub fn errors(&self, kind: ErrorKind) -> u64 {
        self.recorded.errors[kind as usize]
    }

    /// Asserts that nothing failed and nothing was left.
    ///
    /// # Panics
    /// When something was.
    pub fn assert_clean(&self) {
        let recorded = &self.recorded;
        assert_eq!(recorded.errors_total(), 0, "{:?}", recorded.error_texts);
        assert_eq!(
            recorded.errors_before_window, 0,
            "{:?}",
            recorded.error_texts
        );
        assert_eq!(recorded.unfinished.count, 0, "{:?}", recorded.unfinished);
    }

    /// Asserts that nothing failed, and that nothing was left but what came due as the window ended and
    /// found its connection busy: on a machine with a stall of 20 ms just then, some may.
    ///
    /// # Panics
    /// When something was.
    pub fn assert_kept_up(&self) {
        let recorded = &self.recorded;
        assert_eq!(recorded.errors_total(), 0, "{:?}", recorded.error_texts);
        let unfinished = &recorded.unfinished;
        assert_eq!(unfinished.count, unfinished.never_sent, "{unfinished:?}");
        assert!(unfinished.oldest_age_ns < 200 * MS, "{unfinished:?}");
    }

    /// The window as it was, s.
    pub fn window_seconds(&self) -> f64 {
        (self.recorded.window_end_ns - self.recorded.window_start_ns) as f64 / 1e9
    }

    /// Connections that were opened.
    pub fn opened(&self) -> u64 {
        self.outcomes
            .iter()
            .map(|outcome| outcome.connections_opened)
            .sum()
    }
}

/// Echo of so many bytes, every byte compared.
pub fn echo(bytes: u32) -> LoadSpec {
    LoadSpec::RequestResponse {
        request_bytes: bytes,
        response_bytes: bytes,
        depth: 1,
        pace: Pace::Closed,
        verify: true,
        echo: true,
    }
}

/// Messages of so many bytes over WebSockets, every byte compared.
pub fn web_socket(message_bytes: u32, pace: Pace) -> LoadSpec {
    LoadSpec::WebSocket {
        client: WebSocket {
            opening: Arc::new(Opening {
                host: "h".into(),
                path: "/x".into(),
                ..Opening::default()
            }),
            message_bytes,
            frame_bytes: message_bytes,
            kind: Kind::Binary,
            depth: 1,
            pace,
            verify: true,
        },
        ramp: Ramp::AtOnce,
    }
}

/// Requests and responses, not compared.
pub fn rr(request_bytes: u32, response_bytes: u32) -> LoadSpec {
    LoadSpec::RequestResponse {
        request_bytes,
        response_bytes,
        depth: 1,
        pace: Pace::Closed,
        verify: false,
        echo: false,
    }
}

/// The same with another depth or pace.
pub fn with(mut spec: LoadSpec, new_depth: u32, new_pace: Pace) -> LoadSpec {
    match &mut spec {
        LoadSpec::RequestResponse { depth, pace, .. }
        | LoadSpec::WebSocket {
            client: WebSocket { depth, pace, .. },
            ..
        } => (*depth, *pace) = (new_depth, new_pace),
        LoadSpec::Transaction { pace, .. } => *pace = new_pace,
        LoadSpec::Stream { .. } | LoadSpec::Connect { .. } => {}
    }
    spec
}

/// A stream.
pub fn stream(direction: Direction, message_bytes: u32) -> LoadSpec {
    LoadSpec::Stream {
        direction,
        message_bytes,
        bitrate_bits_per_second: None,
    }
}

/// Connect, (request, response,) close.
pub fn transaction(exchange: Option<(u32, u32)>, closer: Closer, how: How) -> LoadSpec {
    LoadSpec::Transaction {
        exchange,
        pace: Pace::Closed,
        closer,
        how,
    }
}
