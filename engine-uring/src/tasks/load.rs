//! The load: a task per connection for the whole run, and the calling task, which conducts.

mod conductor;
mod life;
mod talker;

use super::bell::Bell;
use super::buffer::{Pool, SharedPattern};
use super::runtime::Runtime;
use super::settings::Settings;
use super::turns::Turns;
use super::wire::Wire;
use conductor::Conductor;
use engine::clock::now_ns;
use engine::driver::{EngineError, LoadJob, LoadOutcome, Stop};
use engine::meter::Meter;
use engine::pattern::Pattern;
use engine::socket::Granted;
use engine::workload::{LoadVisitor, LoadWorkload};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use talker::Talker;

/// Loads `job`.
pub fn load<R: Runtime>(job: LoadJob, settings: &Settings) -> Result<LoadOutcome, EngineError> {
    struct Visit<'a, R>(LoadJob, &'a Settings, PhantomData<R>);
    impl<R: Runtime> LoadVisitor for Visit<'_, R> {
        type Output = Result<LoadOutcome, EngineError>;
        fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output {
            engine::os::use_exact_timers();
            let Self(job, settings, _) = self;
            let granted = settings.clone();
            let conducting = async move {
                let conductor = Conductor::new(job, workload);
                conductor.run::<R>(&granted).await
            };
            R::block_on(settings, conducting).map_err(EngineError::Machine)?
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit::<R>(job, settings, PhantomData))
}

/// Where the run is. The order matters: it only moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Connecting, then waiting for the go.
    Preparing,
    /// Warm-up and window.
    Running,
    /// The window is over; operations in flight may still be answered.
    Draining,
    /// Everything is recorded; what happens now does not count.
    Over,
}

/// A connection of the load.
type Line<W> = Wire<Talker<W>>;

/// What the conductor and the tasks of the connections share.
struct Stage<W: LoadWorkload> {
    job: LoadJob,
    workload: W,
    pool: Rc<Pool>,
    pattern: SharedPattern,
    turns: Rc<Turns>,
    meter: RefCell<Meter>,
    phase: Cell<Phase>,
    /// Wakes the conductor.
    bell: Bell,
    window_start_ns: Cell<u64>,
    window_end_ns: Cell<u64>,
    window_open: Cell<bool>,
    /// Connections that fell idle for want of permits are to go on.
    refill: Cell<bool>,
    /// Connects under way.
    connecting: Cell<u32>,
    /// Who waits until fewer are.
    to_open: RefCell<VecDeque<u32>>,
    /// Who rests, and until when.
    rests: RefCell<BinaryHeap<Reverse<(u64, u32)>>>,
    /// Spare source address in use ([`engine::endpoint::Target::source`]).
    spare_source: Cell<u32>,
    /// Connections opened, reconnects included.
    opened: Cell<u32>,
    /// Tasks that have not ended.
    tasks: Cell<u32>,
    /// When something was received or a connection established last.
    alive_ns: Cell<u64>,
    granted: RefCell<Option<Granted>>,
}

impl<W: LoadWorkload> Stage<W> {
    fn new(job: LoadJob, workload: W) -> Self {
        let limit = match job.stop {
            Stop::Count(count) => Some(count),
            Stop::After(_) => None,
        };
        let count = job.share.count as usize;
        let meter = Meter::new(job.spec.is_open_loop(), limit, Arc::clone(&job.published));
        Self {
            pool: Pool::new(workload.hints().own_buffer_bytes()),
            pattern: Rc::new(Arc::new(Pattern::new(workload.pattern_bytes()))),
            turns: Rc::default(),
            meter: RefCell::new(meter),
            phase: Cell::new(Phase::Preparing),
            bell: Bell::default(),
            window_start_ns: Cell::new(u64::MAX),
            window_end_ns: Cell::new(u64::MAX),
            window_open: Cell::new(false),
            refill: Cell::new(false),
            connecting: Cell::new(0),
            to_open: RefCell::new(VecDeque::with_capacity(count)),
            rests: RefCell::new(BinaryHeap::with_capacity(count)),
            spare_source: Cell::new(0),
            opened: Cell::new(0),
            tasks: Cell::new(0),
            alive_ns: Cell::new(now_ns()),
            granted: RefCell::default(),
            job,
            workload,
        }
    }

    fn is_stream(&self) -> bool {
        self.job.spec.is_stream()
    }

    /// Called before anything is sent, so that a run that counts hands out exactly its count.
    #[inline]
    fn open_window_if_due(&self, now: u64) {
        if !self.window_open.get()
            && now >= self.window_start_ns.get()
            && self.phase.get() == Phase::Running
        {
            self.window_open.set(true);
            self.meter.borrow_mut().open_window();
            if matches!(self.job.stop, Stop::Count(_)) {
                self.refill.set(true);
                self.bell.ring();
            }
        }
    }
}
