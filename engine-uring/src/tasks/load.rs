//! The load: a task per connection for the whole run, and the calling task, which conducts: it executes
//! what their common [`Life`] wants done.

mod conductor;
mod line;
mod talker;

use super::bell::Bell;
use super::runtime::Runtime;
use super::settings::Settings;
use super::turns::Turns;
use super::wire::Wire;
use conductor::Conductor;
use engine::clock::now_ns;
use engine::driver::{EngineError, LoadJob, LoadOutcome};
use engine::load::{Life, LoadWorkload, Phase, Rules};
use engine::meter::Meter;
use engine::socket::Granted;
use engine::workload::LoadVisitor;
use std::cell::{Cell, RefCell};
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

/// A connection of the load.
type Line<W> = Wire<Talker<W>>;

/// What the conductor and the tasks of the connections share.
struct Stage<W: LoadWorkload> {
    job: LoadJob,
    life: RefCell<Life<W>>,
    turns: Rc<Turns>,
    /// Wakes the conductor.
    bell: Bell,
    /// When the conductor wakes by itself, ns.
    alarm_ns: Cell<u64>,
    /// Tasks that have not ended.
    tasks: Cell<u32>,
    granted: RefCell<Option<Granted>>,
}

impl<W: LoadWorkload> Stage<W> {
    fn new(job: LoadJob, workload: W) -> Self {
        let rules = Rules::from(&job);
        let published = Arc::clone(&job.published);
        let meter = Meter::new(job.spec.is_open_loop(), rules.count(), published);
        let region = Arc::new(workload.region());
        Self {
            life: RefCell::new(Life::new(workload, rules, region, meter)),
            turns: Rc::default(),
            bell: Bell::default(),
            alarm_ns: Cell::new(0),
            tasks: Cell::new(0),
            granted: RefCell::default(),
            job,
        }
    }

    /// Asks or tells the life something, and wakes the conductor if there is something for it to do.
    #[inline]
    fn with_life<T>(&self, tell: impl FnOnce(&mut Life<W>) -> T) -> T {
        let mut life = self.life.borrow_mut();
        let answer = tell(&mut life);
        let is_early = life.next_wake_ns() < self.alarm_ns.get();
        let is_turning = life.phase() != Phase::Running || life.meter().is_count_reached();
        if is_early || is_turning {
            self.bell.ring();
        }
        answer
    }

    fn is_over(&self) -> bool {
        self.life.borrow().phase() == Phase::Over
    }

    /// The socket of a connection is given back, or there was none.
    fn closed(&self, index: u32) {
        self.with_life(|life| life.closed(index, now_ns()));
    }
}
