//! What the conductor of a load and the tasks of its connections share.

use super::super::bell::Bell;
use engine::clock::now_ns;
use engine::driver::LoadJob;
use engine::load::{Life, LoadWorkload, Phase};
use engine::meter::Meter;
use engine::socket::Granted;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// See the module's text.
pub struct Stage<W: LoadWorkload> {
    pub job: LoadJob,
    pub life: RefCell<Life<W>>,
    /// Wakes the conductor.
    pub bell: Bell,
    /// When the conductor wakes by itself, ns.
    pub alarm_ns: Cell<u64>,
    /// Tasks that have not ended.
    pub tasks: Cell<u32>,
    pub granted: RefCell<Option<Granted>>,
}

impl<W: LoadWorkload> Stage<W> {
    /// With all connections, none of them open.
    pub fn new(job: LoadJob, workload: W) -> Self {
        let rules = job.rules.clone();
        let published = Arc::clone(&job.published);
        let meter = Meter::new(job.spec.is_open_loop(), rules.count(), published);
        let region = Arc::new(workload.region());
        let life = Life::new(workload, rules, region, meter);
        Self {
            life: RefCell::new(life.recording(job.recorder(1))),
            bell: Bell::default(),
            alarm_ns: Cell::new(0),
            tasks: Cell::new(0),
            granted: RefCell::default(),
            job,
        }
    }

    /// Asks or tells the life something, and wakes the conductor if there is something for it to do.
    #[inline]
    pub fn with_life<T>(&self, tell: impl FnOnce(&mut Life<W>) -> T) -> T {
        let mut life = self.life.borrow_mut();
        let answer = tell(&mut life);
        let is_early = life.next_wake_ns() < self.alarm_ns.get();
        let is_turning = life.phase() != Phase::Running || life.meter().is_count_reached();
        if is_early || is_turning {
            self.bell.ring();
        }
        answer
    }

    /// Everything is counted.
    pub fn is_over(&self) -> bool {
        self.life.borrow().phase() == Phase::Over
    }

    /// The socket of a connection is given back, or there was none.
    pub fn closed(&self, index: u32) {
        self.with_life(|life| life.closed(index, now_ns()));
    }
}
