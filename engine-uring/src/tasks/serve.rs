//! The testee: one task accepts, and one task per connection serves.

use super::bell::Bell;
use super::bench::Bench;
use super::runtime::Runtime;
use super::settings::Settings;
use super::sys::{self, Alarm};
use super::watch::Watch;
use super::wire::{Party, Wire};
use super::{END_PATIENCE_NS, machine};
use engine::accepting::{ACCEPT_BACKOFF_NS, Dealer};
use engine::clock::now_ns;
use engine::control::Order;
use engine::driver::{EngineError, ServeJob, ServeOutcome};
use engine::meter::{ServePublished, bump};
use engine::session::{How, Session};
use engine::socket::{self, Granted};
use engine::speaker::Speaker;
use engine::tcp_info::{self, TcpInfoSummary};
use engine::timers::Timers;
use engine::workload::{ServeVisitor, ServeWorkload};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Serves `job` until told to stop.
pub fn serve<R: Runtime>(job: ServeJob, settings: &Settings) -> Result<ServeOutcome, EngineError> {
    struct Visit<'a, R>(ServeJob, &'a Settings, PhantomData<R>);
    impl<R: Runtime> ServeVisitor for Visit<'_, R> {
        type Output = Result<ServeOutcome, EngineError>;
        fn visit<W: ServeWorkload>(self, workload: W) -> Self::Output {
            engine::os::use_exact_timers();
            let Self(job, settings, _) = self;
            R::block_on(settings, run::<R, W>(job, workload, settings.clone()))
                .map_err(EngineError::Machine)?
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit::<R>(job, settings, PhantomData))
}

/// What the accepting task and the tasks of connections share.
struct House<W: ServeWorkload> {
    job: ServeJob,
    workload: W,
    bench: Rc<Bench>,
    /// Wakes the accepting task.
    bell: Bell,
    is_ip: bool,
    wires: RefCell<Vec<Option<Rc<Guest<W>>>>>,
    free: RefCell<Vec<usize>>,
    open: Cell<u32>,
    dealer: RefCell<Dealer>,
    granted: RefCell<Option<Granted>>,
    accept_again_ns: Cell<Option<u64>>,
    stop_at_ns: Cell<Option<u64>>,
    /// When to look after the tenant of a seat: whether it is idle, and for its session's own timer.
    timers: RefCell<Timers>,
}

/// A connection of a testee.
type Guest<W> = Wire<Host<W>>;

async fn run<R: Runtime, W: ServeWorkload>(
    mut job: ServeJob,
    workload: W,
    settings: Settings,
) -> Result<ServeOutcome, EngineError> {
    let listener = job.listener.take();
    let house = Rc::new(House::new(job, workload, listener.as_ref()));
    let alarm = Alarm::new().map_err(|error| machine("a timer", &error))?;
    let watch = Watch::<R>::new(&house.job.wake, &alarm)
        .map_err(|error| machine("watching the timer and the waker", &error))?;
    let accepting = house.accept::<R>(&listener)?;
    let mut accepting = pin!(accepting);
    let mut watching = pin!(watch.watch());
    let mut accepts = true;
    let bench = Rc::clone(&house.bench);
    R::spawn(async move { bench.turns.usher().await });
    house.job.control.report_ready();
    poll_fn(|context| {
        house.bell.listen(context.waker());
        let _ = watching.as_mut().poll(context);
        house.follow_orders(listener.as_ref());
        house.take_handed::<R>();
        house.sweep();
        accepts = accepts && accepting.as_mut().poll(context).is_pending();
        if house.has_stopped() {
            return Poll::Ready(());
        }
        alarm.set(house.next_deadline_ns());
        Poll::Pending
    })
    .await;
    let infos = house.cut_off();
    // Tasks end when their operations have come home.
    let give_up_ns = now_ns() + END_PATIENCE_NS;
    // With readiness nothing is in flight, so no connection can be lost with the accept.
    accepts = accepts && !R::NONBLOCKING;
    poll_fn(|context| {
        house.bell.listen(context.waker());
        let _ = watching.as_mut().poll(context);
        accepts = accepts && accepting.as_mut().poll(context).is_pending();
        alarm.set(Some(give_up_ns));
        let over = house.open.get() == 0 && !accepts;
        match over || now_ns() >= give_up_ns {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    if house.open.get() > 0 {
        house.bench.abandon();
    }
    house.bell.forget();
    house.bench.turns.end();
    Ok(house.outcome(R::features(), &settings, infos))
}

impl<W: ServeWorkload> House<W> {
    fn new(mut job: ServeJob, workload: W, listener: Option<&OwnedFd>) -> Self {
        let dealer = Dealer::new(job.handoff.take(), Arc::clone(&job.published));
        let hints = workload.hints(job.expected_message_bytes);
        Self {
            bench: Bench::new(hints.own_buffer_bytes(), Arc::new(workload.region())),
            bell: Bell::default(),
            is_ip: listener.is_none_or(|fd| {
                socket::local_address(fd.as_fd()).is_ok_and(|address| address.as_socket().is_some())
            }),
            wires: RefCell::default(),
            free: RefCell::default(),
            open: Cell::new(0),
            dealer: RefCell::new(dealer),
            granted: RefCell::default(),
            accept_again_ns: Cell::new(None),
            stop_at_ns: Cell::new(None),
            timers: RefCell::default(),
            workload,
            job,
        }
    }

    fn published(&self) -> &ServePublished {
        &self.job.published
    }

    fn follow_orders(&self, listener: Option<&OwnedFd>) {
        let stop_at_ns = match self.job.control.order() {
            Order::Run => return,
            Order::Stop if self.stop_at_ns.get().is_some() => return,
            Order::Stop => now_ns() + self.job.limits.drain_ns,
            Order::Abort => 0,
        };
        if self.stop_at_ns.replace(Some(stop_at_ns)).is_none()
            && let Some(listener) = listener
        {
            // Calls the pending accept home, too.
            socket::stop_listening(listener.as_fd());
        }
    }

    fn has_stopped(&self) -> bool {
        self.stop_at_ns
            .get()
            .is_some_and(|at| self.open.get() == 0 || now_ns() >= at)
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        [
            self.timers.borrow().next_ns(),
            self.accept_again_ns.get(),
            self.stop_at_ns.get(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn sweep(&self) {
        if self.accept_again_ns.get().is_none() && self.timers.borrow().next_ns().is_none() {
            return;
        }
        let now = now_ns();
        if self.accept_again_ns.get().is_some_and(|at| now >= at) {
            self.accept_again_ns.set(None);
        }
        while let Some(seat) = self.next_to_look_at(now) {
            self.look_after(seat, now);
        }
    }

    fn next_to_look_at(&self, now_ns: u64) -> Option<u32> {
        self.timers.borrow_mut().pop_due(now_ns)
    }

    /// A seat's timer fired: calls its session's, and ends its connection if nothing has moved for too
    /// long.
    fn look_after(&self, seat: u32, now_ns: u64) {
        let Some(wire) = self.wires.borrow()[seat as usize].clone() else {
            return;
        };
        if wire.prepare(|host, out| host.timer(now_ns, out)) {
            wire.ring();
        }
        let Some(idle_ns) = self.job.limits.idle_timeout_ns else {
            return;
        };
        let idle_at_ns = wire.with(|host| host.last_traffic_ns.saturating_add(idle_ns));
        if now_ns < idle_at_ns {
            return self.timers.borrow_mut().arm(seat, idle_at_ns);
        }
        bump(&self.published().idle_closed, 1);
        wire.cut(How::Fin);
    }

    /// Looks after a seat at this instant.
    fn look_at(&self, seat: u32, at_ns: u64) {
        let mut timers = self.timers.borrow_mut();
        let is_sooner = timers.next_ns().is_none_or(|next_ns| at_ns < next_ns);
        timers.arm(seat, at_ns);
        if is_sooner {
            // The main task sets its alarm by the earliest.
            self.bell.ring();
        }
    }

    // ---- accepting -------------------------------------------------------------------------

    fn has_room(&self) -> bool {
        self.open.get() < self.job.limits.connections || self.dealer.borrow().accepts_for_others()
    }

    /// Accepts one after the other, until told to stop.
    fn accept<R: Runtime>(
        self: &Rc<Self>,
        listener: &Option<OwnedFd>,
    ) -> Result<impl Future<Output = ()> + use<R, W>, EngineError> {
        let listener = match listener {
            None => None,
            Some(socket) => {
                let listener = socket::set_nonblocking(socket.as_fd(), R::NONBLOCKING)
                    .and_then(|()| R::listener(socket::duplicate(socket)?, self.is_ip));
                Some(listener.map_err(|error| machine("taking the listener over", &error))?)
            }
        };
        let house = Rc::clone(self);
        Ok(async move {
            let Some(listener) = listener else { return };
            while house.may_accept().await {
                match R::accept(&listener).await {
                    Ok(stream) => house.accepted::<R>(stream),
                    Err(error) => house.accept_failed(&error),
                }
            }
        })
    }

    async fn may_accept(&self) -> bool {
        // The order itself, not what was made of it: by an order that came within this poll
        // another worker may have shut down the listener that both have, and accepting would
        // fail for ever.
        poll_fn(|_| match self.job.control.order() {
            Order::Stop | Order::Abort => Poll::Ready(false),
            Order::Run if self.has_room() && self.accept_again_ns.get().is_none() => {
                Poll::Ready(true)
            }
            Order::Run => Poll::Pending,
        })
        .await
    }

    fn accept_failed(&self, error: &io::Error) {
        if self.job.control.order() != Order::Run {
            return;
        }
        self.published()
            .count_accept_backoff(Some(socket::errno_of(error)));
        // Whatever it was, accepting again at once could spin: the connection stays in the backlog.
        self.accept_again_ns.set(Some(now_ns() + ACCEPT_BACKOFF_NS));
    }

    fn accepted<R: Runtime>(self: &Rc<Self>, stream: R::Stream) {
        let own = self.dealer.borrow_mut().deal_released(stream, R::release);
        if let Some(stream) = own {
            self.admit::<R>(stream);
        }
    }

    fn take_handed<R: Runtime>(self: &Rc<Self>) {
        loop {
            let Some(fd) = self.dealer.borrow().take() else {
                return;
            };
            match R::adopt(fd, self.is_ip) {
                Ok(stream) => self.admit::<R>(stream),
                Err(_) => {
                    bump(&self.published().failed, 1);
                    bump(&self.published().closed, 1);
                }
            }
        }
    }

    /// Starts the task of a connection.
    fn admit<R: Runtime>(self: &Rc<Self>, stream: R::Stream) {
        if self.open.get() >= self.job.limits.connections || self.stop_at_ns.get().is_some() {
            return self.dealer.borrow().over_limit();
        }
        let fd = stream.as_raw_fd();
        socket::accepted(sys::borrowed(&fd), self.is_ip, &self.job.socket);
        if self.granted.borrow().is_none() {
            *self.granted.borrow_mut() = Some(socket::granted(fd));
        }
        let host = Host {
            session: self.workload.session(),
            house: Rc::clone(self),
            seat: 0,
            last_traffic_ns: now_ns(),
        };
        let wire = Wire::new(host, Rc::clone(&self.bench));
        wire.attach(fd);
        let seat = self.seat(Rc::clone(&wire));
        wire.with(|host| host.seat = seat as u32);
        if let Some(idle_ns) = self.job.limits.idle_timeout_ns {
            let idle_at_ns = now_ns().saturating_add(idle_ns);
            self.timers.borrow_mut().arm(seat as u32, idle_at_ns);
        }
        self.open.set(self.open.get() + 1);
        let house = Rc::clone(self);
        R::spawn(async move {
            wire.prepare(Host::opened);
            wire.converse::<R>(stream).await;
            wire.leave();
            house.left(seat);
        });
    }

    fn seat(&self, wire: Rc<Guest<W>>) -> usize {
        let mut wires = self.wires.borrow_mut();
        let seat = self.free.borrow_mut().pop().unwrap_or_else(|| {
            wires.push(None);
            wires.len() - 1
        });
        wires[seat] = Some(wire);
        seat
    }

    fn left(&self, seat: usize) {
        self.wires.borrow_mut()[seat] = None;
        self.free.borrow_mut().push(seat);
        self.open.set(self.open.get() - 1);
        bump(&self.published().closed, 1);
        if self.job.limits.one_off && self.open.get() == 0 {
            self.job.control.order_all(Order::Stop);
        }
        // A descriptor is free again.
        self.accept_again_ns.set(None);
        self.bell.ring();
    }

    // ---- end -------------------------------------------------------------------------------

    /// Ends the connections that are still open; what TCP_INFO says of them.
    fn cut_off(&self) -> Option<TcpInfoSummary> {
        let open: Vec<_> = self.wires.borrow().iter().flatten().cloned().collect();
        bump(&self.published().cut_off, open.len() as u64);
        let infos: Vec<_> = open
            .iter()
            .filter_map(|wire| wire.descriptor())
            .take(tcp_info::SAMPLES)
            .filter_map(tcp_info::read)
            .collect();
        for wire in open {
            wire.cut(How::Fin);
        }
        TcpInfoSummary::of(&infos)
    }

    fn outcome(
        &self,
        mut features: Vec<(String, String)>,
        settings: &Settings,
        tcp_info: Option<TcpInfoSummary>,
    ) -> ServeOutcome {
        features.extend(super::features(&self.bench));
        ServeOutcome {
            // The runtime makes the system calls, and does not count them.
            backend: None,
            features,
            options_granted: settings.granted(),
            granted: self.granted.take(),
            tcp_info,
        }
    }
}

/// The testee's side of a conversation.
struct Host<W: ServeWorkload> {
    session: W::Session,
    house: Rc<House<W>>,
    seat: u32,
    last_traffic_ns: u64,
}

impl<W: ServeWorkload> Host<W> {
    fn opened(&mut self, out: &mut Speaker<'_>) {
        self.say(out, |session, out| session.opened(out));
    }

    /// Tells the session something.
    #[inline]
    fn say(&mut self, out: &mut Speaker<'_>, tell: impl FnOnce(&mut W::Session, &mut Speaker<'_>)) {
        tell(&mut self.session, out);
        if let Some(at_ns) = out.outbox.timer_ns {
            self.house.look_at(self.seat, at_ns);
        }
    }

    /// Calls the session's timer if it is due; whether it was.
    fn timer(&mut self, now_ns: u64, out: &mut Speaker<'_>) -> bool {
        let is_due = out.outbox.timer_ns.is_some_and(|at_ns| at_ns <= now_ns);
        if is_due {
            out.outbox.timer_ns = None;
            self.say(out, |session, out| session.timer(out));
        } else if let Some(at_ns) = out.outbox.timer_ns {
            self.house.look_at(self.seat, at_ns);
        }
        is_due
    }

    #[inline]
    fn note_traffic(&mut self) {
        if self.house.job.limits.idle_timeout_ns.is_some() {
            self.last_traffic_ns = now_ns();
        }
    }
}

impl<W: ServeWorkload> Party for Host<W> {
    #[inline]
    fn received(&mut self, bytes: &mut [u8], out: &mut Speaker<'_>) {
        bump(&self.house.published().bytes_received, bytes.len() as u64);
        self.note_traffic();
        self.say(out, |session, out| session.received(bytes, out));
    }

    #[inline]
    fn moved(&mut self, bytes: usize) -> u64 {
        bump(&self.house.published().bytes_sent, bytes as u64);
        self.note_traffic();
        0
    }

    #[inline]
    fn sent(&mut self, out: &mut Speaker<'_>) {
        self.say(out, |session, out| session.sent(out));
    }

    fn finished(&mut self, out: &mut Speaker<'_>) -> bool {
        self.say(out, |session, out| session.peer_finished(out));
        true
    }

    fn lost(&mut self, errno: i32, _: &mut Speaker<'_>) -> How {
        self.house.published().count_lost(errno);
        How::Fin
    }

    fn paused(&mut self) {
        bump(&self.house.published().peer_not_reading, 1);
    }
}

#[cfg(test)]
mod tests;
