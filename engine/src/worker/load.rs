//! The load's loop: executes what a [`Life`] answers, on any backend.

use super::{Bench, CLOSING_LIMIT_NS, Party, Pumped, TCP_INFO_SAMPLES, Wire, earlier, let_go};
use crate::clock::now_ns;
use crate::control::Order;
use crate::driver::{EngineError, LoadJob, LoadOutcome};
use crate::load::{Dial, Life, LoadWorkload, Phase};
use crate::meter::Meter;
use crate::needs::Needs;
use crate::proactor::{BackendCounters, Event, Lease, Proactor};
use crate::session::How;
use crate::socket::{self, Granted};
use crate::speaker::Speaker;
use crate::tcp_info::{self, TcpInfoSummary};
use crate::workload::LoadVisitor;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Loads `job` on backend `P`. See [`crate::driver::Driver::load`].
///
/// # Errors
/// What makes the backend or the target unusable before the go.
pub fn load<P: Proactor>(job: LoadJob) -> Result<LoadOutcome, EngineError> {
    struct Visit<P>(LoadJob, PhantomData<P>);
    impl<P: Proactor> LoadVisitor for Visit<P> {
        type Output = Result<LoadOutcome, EngineError>;
        fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output {
            Loader::<P, W>::new(self.0, workload)?.run()
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit::<P>(job, PhantomData))
}

struct Loader<P: Proactor, W: LoadWorkload> {
    bench: Bench<P>,
    wires: Vec<Wire>,
    life: Life<W>,
    job: LoadJob,
    /// Connections that can send more right now.
    again: VecDeque<u32>,
    /// The latest that the running turn has seen of the clock.
    turn_ns: u64,
    backend_at_start: BackendCounters,
    backend_in_window: Option<BackendCounters>,
    granted: Option<Granted>,
    system_calls: u64,
}

/// One connection's part of a life.
struct Living<'a, W: LoadWorkload>(&'a mut Life<W>, u32);

impl<W: LoadWorkload> Party for Living<'_, W> {
    #[inline]
    fn received(&mut self, bytes: &mut [u8], out: &mut Speaker<'_>) {
        self.0.received(self.1, bytes, out);
    }

    #[inline]
    fn sent(&mut self, out: &mut Speaker<'_>) {
        self.0.sent(self.1, out);
    }

    #[inline]
    fn awaits_sent(&self) -> bool {
        self.0.awaits_sent(self.1)
    }
}

impl<P: Proactor, W: LoadWorkload> Loader<P, W> {
    fn new(job: LoadJob, workload: W) -> Result<Self, EngineError> {
        let count = job.rules.share.count;
        let bench = Bench::new(
            Needs::of_load(workload.hints(), count),
            workload.region(),
            &job.wake,
            &job.engine_options,
        )?;
        let rules = job.rules.clone();
        let published = Arc::clone(&job.published);
        let meter = Meter::new(job.spec.is_open_loop(), rules.count(), published);
        let life = Life::new(workload, rules, Arc::clone(&bench.region), meter);
        Ok(Self {
            life: life.recording(job.recorder(1)),
            wires: (0..count).map(Wire::new).collect(),
            bench,
            again: VecDeque::with_capacity(count as usize),
            turn_ns: 0,
            backend_at_start: BackendCounters::default(),
            backend_in_window: None,
            granted: None,
            system_calls: 0,
            job,
        })
    }

    fn run(mut self) -> Result<LoadOutcome, EngineError> {
        match self.work() {
            Ok(()) => Ok(self.finish()),
            Err(error) => {
                let_go(&mut self.bench, &mut self.wires);
                Err(error)
            }
        }
    }

    fn work(&mut self) -> Result<(), EngineError> {
        self.life.begin(now_ns());
        while !self.life.is_prepared() {
            if self.job.control.order() != Order::Run {
                return Err(EngineError::Peer("stopped while connecting".into()));
            }
            self.turn()?;
        }
        self.job.control.report_ready();
        let Some(go_ns) = self.wait_for_go()? else {
            return Ok(());
        };
        let now = now_ns();
        self.life.go(go_ns, now);
        if self.life.was_window_open() {
            self.backend_at_start = self.counters_now();
        }
        let period = Duration::from_nanos(self.job.rules.look_every_ns());
        let _ticker = self.job.control.tick_every(period);
        while !self.is_over() {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits for the go while keeping an eye on the connections; `None` when aborted.
    fn wait_for_go(&mut self) -> Result<Option<u64>, EngineError> {
        loop {
            if self.job.control.order() != Order::Run {
                return Ok(None);
            }
            let go_ns = self.job.control.go_ns();
            if let Some(go_ns) = go_ns.filter(|&at| now_ns() >= at) {
                return Ok(Some(go_ns));
            }
            self.act(go_ns)?;
        }
    }

    fn is_over(&mut self) -> bool {
        match self.job.control.order() {
            Order::Run => {}
            Order::Stop => {
                let now = now_ns();
                self.cross(now);
                self.life.stop(now);
            }
            Order::Abort => return true,
        }
        if self.life.phase() < Phase::Draining {
            return false;
        }
        self.note_end_of_window();
        self.life.is_drained(now_ns())
    }

    fn note_end_of_window(&mut self) {
        if self.backend_in_window.is_none() && self.life.was_window_open() {
            self.backend_in_window = Some(self.counters_now().since(&self.backend_at_start));
        }
    }

    /// One turn; an error if the run cannot begin.
    fn turn(&mut self) -> Result<(), EngineError> {
        self.act(None)?;
        self.life.refused().map_or(Ok(()), Err)
    }

    /// Waits, handles what happened, and does what the life wants done. `until_ns` is an instant that
    /// the life does not know of.
    #[inline]
    fn act(&mut self, until_ns: Option<u64>) -> Result<(), EngineError> {
        let deadline_ns = match self.again.is_empty() {
            true => earlier(self.life.wake_at_ns(), until_ns),
            false => Some(0),
        };
        self.bench.wait(deadline_ns)?;
        self.turn_ns = 0;
        while let Some(event) = self.bench.proactor.next() {
            self.handle(event);
        }
        if !self.again.is_empty() {
            self.go_round_again();
        }
        // What was received in this turn told the time: an operation costs one look at the clock.
        if self.turn_ns == 0 {
            self.turn_ns = now_ns();
        }
        if self.life.has_work(self.turn_ns) {
            self.obey(self.turn_ns);
        }
        Ok(())
    }

    /// Does what the life wants done by now.
    fn obey(&mut self, now: u64) {
        self.cross(now);
        self.life.pass(now);
        while let Some(index) = self.life.next_speaker(now_ns()) {
            let now = now_ns();
            self.cross(now);
            let mut out = self
                .bench
                .speaker(&mut self.wires[index as usize].outbox, now);
            self.life.speak(index, &mut out);
            self.pump(index, now);
        }
        while let Some((index, how)) = self.life.next_close() {
            self.bench.close(&mut self.wires[index as usize], how);
        }
        while let Some(dial) = self.life.next_dial(now_ns()) {
            self.dial(dial);
        }
    }

    /// The backend's counters are read before the first event of the window.
    #[inline]
    fn cross(&mut self, now: u64) {
        if now >= self.life.boundary_ns() {
            self.backend_at_start = self.counters_now();
        }
    }

    fn counters_now(&self) -> BackendCounters {
        let mut counters = self.bench.proactor.counters().clone();
        counters.system_calls += self.system_calls;
        counters
    }

    // ---- opening ---------------------------------------------------------------------------

    fn dial(&mut self, dial: Dial) {
        if let Err(error) = self.start_connect(dial) {
            self.connect_failed(dial.index, &error);
            self.forget(dial.index);
        }
    }

    fn start_connect(
        &mut self,
        Dial {
            index,
            number,
            source,
        }: Dial,
    ) -> io::Result<()> {
        let address = self.job.rules.target.address(number);
        let fd = socket::connecting(address.domain(), source, P::NONBLOCKING, &self.job.socket)?;
        // socket(2), TCP_NODELAY, and bind(2) with its option: the usual calls of a new socket.
        self.system_calls += 2 + 2 * u64::from(source.is_some());
        let id = self.wires[index as usize].next_tenant();
        self.bench.proactor.open(id, fd)?;
        self.bench.proactor.connect(id, address);
        Ok(())
    }

    fn connected(&mut self, index: u32, result: Result<(), i32>) {
        let now = now_ns();
        self.cross(now);
        let wire = &mut self.wires[index as usize];
        if wire.closing {
            return;
        }
        if let Err(errno) = result {
            self.connect_failed(index, &io::Error::from_raw_os_error(errno));
            // Nothing to reset; and what was said on a connection that was reset at once is not sent.
            return self.bench.close(&mut self.wires[index as usize], How::Fin);
        }
        if self.granted.is_none() {
            self.granted = Some(socket::granted(self.bench.proactor.descriptor(wire.id)));
        }
        self.bench.proactor.receive_many(wire.id);
        let mut out = self.bench.speaker(&mut wire.outbox, now);
        self.life.connected(index, &mut out);
        self.pump(index, now);
    }

    fn connect_failed(&mut self, index: u32, error: &io::Error) {
        let wire = &mut self.wires[index as usize];
        let mut out = self.bench.speaker(&mut wire.outbox, now_ns());
        self.life.connect_failed(index, error, &mut out);
    }

    // ---- events ----------------------------------------------------------------------------

    fn handle(&mut self, event: Event) {
        match event {
            Event::Received(id, lease) => self.received(id.index, lease),
            Event::Sent(id, Ok(bytes)) => self.sent(id.index, bytes as u64),
            Event::Sent(id, Err(errno)) => self.lost(id.index, errno),
            Event::Connected(id, result) => self.connected(id.index, result),
            Event::Finished(id) => self.finished(id.index),
            Event::ReceiveFailed(id, errno) => self.lost(id.index, errno),
            Event::Closed(id) => self.forget(id.index),
            Event::Woken => {}
            Event::Accepted(_) | Event::AcceptFailed(_) => {
                debug_assert!(false, "a load does not accept")
            }
        }
    }

    #[inline]
    fn received(&mut self, index: u32, lease: Lease) {
        let now = now_ns();
        self.cross(now);
        self.turn_ns = now;
        let wire = &mut self.wires[index as usize];
        if wire.closing {
            return self.bench.proactor.give_back(lease);
        }
        let mut living = Living(&mut self.life, index);
        self.bench.deliver(wire, &mut living, lease, now);
        self.pump(index, now);
    }

    #[inline]
    fn sent(&mut self, index: u32, bytes: u64) {
        let now = now_ns();
        self.cross(now);
        self.life.moved(bytes, now);
        let wire = &mut self.wires[index as usize];
        if wire.closing {
            return;
        }
        let mut living = Living(&mut self.life, index);
        self.bench.sent(wire, &mut living, now);
        self.pump(index, now);
    }

    fn finished(&mut self, index: u32) {
        let now = now_ns();
        self.cross(now);
        let wire = &mut self.wires[index as usize];
        if !wire.closing {
            let mut out = self.bench.speaker(&mut wire.outbox, now);
            self.life.peer_finished(index, &mut out);
            self.pump(index, now);
        }
    }

    fn lost(&mut self, index: u32, errno: i32) {
        let now = now_ns();
        self.cross(now);
        let wire = &mut self.wires[index as usize];
        if !wire.closing {
            let mut out = self.bench.speaker(&mut wire.outbox, now);
            self.life.lost(index, errno, &mut out);
            // It has ended in any case, and there is nobody to send the rest to.
            self.bench.close(wire, How::Rst);
        }
    }

    /// The backend has nothing of this connection any more.
    fn forget(&mut self, index: u32) {
        let Bench { proactor, pool, .. } = &mut self.bench;
        let wire = &mut self.wires[index as usize];
        wire.outbox.clear(proactor, pool);
        wire.closing = false;
        let now = now_ns();
        self.cross(now);
        self.life.closed(index, now);
    }

    #[inline]
    fn pump(&mut self, index: u32, now: u64) {
        let wire = &mut self.wires[index as usize];
        if wire.closing {
            return;
        }
        let mut living = Living(&mut self.life, index);
        let (pumped, taken) = self.bench.pump(wire, &mut living, now);
        if taken > 0 {
            self.life.moved(taken, now);
        }
        match pumped {
            Pumped::Open | Pumped::Closing => {}
            Pumped::Again if wire.in_line => {}
            Pumped::Again => {
                wire.in_line = true;
                self.again.push_back(index);
            }
            Pumped::Lost(errno) => self.lost(index, errno),
        }
    }

    fn go_round_again(&mut self) {
        for _ in 0..self.again.len() {
            let Some(index) = self.again.pop_front() else {
                return;
            };
            self.wires[index as usize].in_line = false;
            let now = now_ns();
            self.cross(now);
            self.pump(index, now);
        }
    }

    // ---- end -------------------------------------------------------------------------------

    fn finish(mut self) -> LoadOutcome {
        self.note_end_of_window();
        let standing = self.life.standing().take(TCP_INFO_SAMPLES);
        let infos: Vec<_> = standing
            .filter_map(|index| {
                let id = self.wires[index as usize].id;
                tcp_info::read(self.bench.proactor.descriptor(id))
            })
            .collect();
        self.life.finish(now_ns());
        self.close_all();
        let_go(&mut self.bench, &mut self.wires);
        LoadOutcome {
            backend: self.backend_in_window,
            features: self.bench.proactor.features(),
            options_granted: self.bench.proactor.options_granted(),
            granted: self.granted,
            tcp_info: TcpInfoSummary::of(&infos),
            connections_opened: self.life.established(),
            accounts: self.life.accounts(),
            spare_sources_used: self.life.spare_source(),
            recorded: self.life.take_recorded(),
        }
    }

    /// Closes everything and waits, bounded, until the backend references none of it.
    fn close_all(&mut self) {
        let remaining: Vec<_> = self.life.remaining().collect();
        for (index, how) in remaining {
            self.bench.close(&mut self.wires[index as usize], how);
        }
        let closing = self.wires.iter().filter(|wire| wire.closing).count();
        let give_up_ns = now_ns() + CLOSING_LIMIT_NS;
        for _ in 0..closing {
            match self.bench.next_closed(give_up_ns) {
                Some(id) => self.forget(id.index),
                None => return,
            }
        }
    }
}
