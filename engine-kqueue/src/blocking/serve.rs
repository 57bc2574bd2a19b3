//! The testee: the calling thread accepts, and a thread per connection serves.

use super::line::{End, Line, Next, Party, converse};
use super::seats::Seat;
use super::{STACK_BYTES, features};
use crate::options::BlockingOptions;
use crate::sys;
use engine::accepting::{ACCEPT_BACKOFF_NS, Dealer};
use engine::clock::now_ns;
use engine::control::{Order, WakeEnd, Waker};
use engine::driver::{EngineError, ServeJob, ServeOutcome};
use engine::meter::ServePublished;
use engine::proactor::BackendCounters;
use engine::region::Region;
use engine::session::{How, Session};
use engine::socket::{self, Granted};
use engine::tcp_info::{self, TcpInfoSummary};
use engine::workload::{ServeVisitor, ServeWorkload};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Serves `job` until told to stop.
pub fn serve(job: ServeJob, options: BlockingOptions) -> Result<ServeOutcome, EngineError> {
    struct Visit(ServeJob, BlockingOptions);
    impl ServeVisitor for Visit {
        type Output = Result<ServeOutcome, EngineError>;
        fn visit<W: ServeWorkload>(self, workload: W) -> Self::Output {
            Server::new(self.0, self.1, workload)?.run()
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit(job, options))
}

/// What all threads share.
struct House {
    published: Arc<ServePublished>,
    idle_timeout_ns: Option<u64>,
    /// What threads need, kept from one connection to the next.
    lines: Mutex<Vec<Line>>,
    counters: Mutex<BackendCounters>,
    waker: Waker,
}

/// A place for a connection and its thread.
struct Place {
    seat: Arc<Seat>,
    fd: RawFd,
    thread: Option<JoinHandle<()>>,
}

struct Server<W: ServeWorkload> {
    job: ServeJob,
    options: BlockingOptions,
    workload: W,
    house: Arc<House>,
    region: Arc<Region>,
    buffer_bytes: usize,
    own_end: WakeEnd,
    leaving: (Sender<usize>, Receiver<usize>),
    places: Vec<Place>,
    free: Vec<usize>,
    open: u32,
    dealer: Dealer,
    is_ip: bool,
    granted: Option<Granted>,
    accept_again_ns: Option<u64>,
    stop_at_ns: Option<u64>,
    system_calls: u64,
}

impl<W: ServeWorkload> Server<W> {
    fn new(mut job: ServeJob, options: BlockingOptions, workload: W) -> Result<Self, EngineError> {
        engine::os::use_exact_timers();
        let (waker, own_end) = Waker::pair()
            .map_err(|error| EngineError::Machine(format!("a socket pair to be woken: {error}")))?;
        let hints = workload.hints(job.expected_message_bytes);
        let house = House {
            published: Arc::clone(&job.published),
            idle_timeout_ns: job.limits.idle_timeout_ns,
            lines: Mutex::default(),
            counters: Mutex::default(),
            waker,
        };
        if let Some(listener) = &job.listener {
            // Others may share the listener, and be faster after poll(2) has said "readable".
            sys::set_nonblocking(listener.as_raw_fd());
        }
        let is_ip = job.listener.as_ref().is_none_or(|fd| {
            socket::local_address(fd.as_fd()).is_ok_and(|address| address.as_socket().is_some())
        });
        Ok(Self {
            region: Arc::new(workload.region()),
            buffer_bytes: hints.own_buffer_bytes(),
            house: Arc::new(house),
            workload,
            own_end,
            leaving: channel(),
            places: Vec::new(),
            free: Vec::new(),
            open: 0,
            dealer: Dealer::new(job.handoff.take(), Arc::clone(&job.published)),
            is_ip,
            granted: None,
            accept_again_ns: None,
            stop_at_ns: None,
            system_calls: 0,
            options,
            job,
        })
    }

    fn run(mut self) -> Result<ServeOutcome, EngineError> {
        self.job.control.report_ready();
        loop {
            self.follow_orders();
            if self
                .stop_at_ns
                .is_some_and(|at| self.open == 0 || now_ns() >= at)
            {
                return Ok(self.finish());
            }
            self.turn();
        }
    }

    fn follow_orders(&mut self) {
        match self.job.control.order() {
            Order::Run => {}
            Order::Stop if self.stop_at_ns.is_none() => {
                self.stop_listening();
                self.stop_at_ns = Some(now_ns() + self.job.limits.drain_ns);
            }
            Order::Stop => {}
            Order::Abort => {
                self.stop_listening();
                self.stop_at_ns = Some(0);
            }
        }
    }

    fn stop_listening(&self) {
        if let Some(listener) = &self.job.listener {
            socket::stop_listening(listener.as_fd());
        }
    }

    /// Waits for a connection, a wake-up or the next deadline, and acts on it.
    fn turn(&mut self) {
        let calls_before = self.system_calls;
        let room = self.open < self.job.limits.connections || self.dealer.accepts_for_others();
        let accepting = room && self.stop_at_ns.is_none() && self.accept_again_ns.is_none();
        // poll(2) ignores negative descriptors.
        let listener = match &self.job.listener {
            Some(listener) if accepting => listener.as_raw_fd(),
            _ => -1,
        };
        let mut entries = [
            sys::watch(listener, libc::POLLIN),
            sys::watch(self.job.wake.descriptor(), libc::POLLIN),
            sys::watch(self.own_end.descriptor(), libc::POLLIN),
        ];
        let until_ns = [self.accept_again_ns, self.stop_at_ns]
            .into_iter()
            .flatten()
            .min();
        self.system_calls += 1;
        sys::poll(&mut entries, until_ns);
        if self.accept_again_ns.is_some_and(|at| now_ns() >= at) {
            self.accept_again_ns = None;
        }
        if entries[1].revents != 0 {
            self.job.wake.clear();
            self.take_handed();
        }
        if entries[2].revents != 0 {
            self.own_end.clear();
            self.see_off();
        }
        if entries[0].revents != 0 {
            self.accept(listener);
        }
        let calls = self.system_calls - calls_before;
        self.job.published.system_calls.fetch_add(calls, Relaxed);
    }

    fn accept(&mut self, listener: RawFd) {
        self.system_calls += sys::ACCEPT_CALLS;
        match sys::accept(listener, false) {
            Ok(socket) => self.accepted(socket),
            Err(errno) if sys::would_block(errno) || sys::accept_error_is_transient(errno) => {}
            Err(_) => self.back_off(),
        }
    }

    fn back_off(&mut self) {
        self.house.published.accept_backoffs.fetch_add(1, Relaxed);
        self.accept_again_ns = Some(now_ns() + ACCEPT_BACKOFF_NS);
    }

    fn accepted(&mut self, socket: OwnedFd) {
        if let Some(socket) = self.dealer.deal(socket) {
            self.admit(socket);
        }
    }

    fn take_handed(&mut self) {
        while let Some(socket) = self.dealer.take() {
            self.admit(socket);
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        if self.open >= self.job.limits.connections {
            return self.dealer.over_limit();
        }
        self.system_calls += sys::suppress_sigpipe(socket.as_raw_fd());
        socket::accepted(socket.as_fd(), self.is_ip, &self.job.socket);
        if self.granted.is_none() {
            self.granted = Some(socket::granted(socket.as_raw_fd()));
        }
        if let Some(idle_ns) = self.house.idle_timeout_ns {
            self.system_calls += 1;
            sys::bound_waiting(socket.as_raw_fd(), true, idle_ns);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                seat: Arc::default(),
                fd: -1,
                thread: None,
            });
            self.places.len() - 1
        });
        let place = &mut self.places[index];
        place.fd = place.seat.put(socket);
        if self.spawn(index).is_err() {
            // No thread to be had: this connection is given up, and the next must wait.
            self.places[index].seat.close(How::Rst);
            self.free.push(index);
            self.house.published.failed.fetch_add(1, Relaxed);
            self.house.published.closed.fetch_add(1, Relaxed);
            self.back_off();
            return;
        }
        self.open += 1;
    }

    fn spawn(&mut self, index: usize) -> std::io::Result<()> {
        let place = &mut self.places[index];
        let (house, seat, fd) = (Arc::clone(&self.house), Arc::clone(&place.seat), place.fd);
        let (session, leave) = (self.workload.session(), self.leaving.0.clone());
        let (buffer_bytes, region) = (self.buffer_bytes, Arc::clone(&self.region));
        let spin = self.options.spin;
        let thread = std::thread::Builder::new()
            .name("blocking".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let line = house
                    .lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop();
                let line = line.unwrap_or_else(|| Line::new(buffer_bytes, region, spin));
                attend(&house, &seat, fd, session, line);
                // The receiver lives as long as the server, which joins this thread.
                let _ = leave.send(index);
                house.waker.wake();
            })?;
        place.thread = Some(thread);
        Ok(())
    }

    /// Joins the threads whose connections have ended.
    fn see_off(&mut self) {
        while let Ok(index) = self.leaving.1.try_recv() {
            if let Some(thread) = self.places[index].thread.take() {
                // A panic was printed by the thread; its connection is closed by its seat.
                let _ = thread.join();
            }
            self.free.push(index);
            self.open -= 1;
            self.accept_again_ns = None;
            if self.job.limits.one_off && self.open == 0 {
                self.job.control.order_all(Order::Stop);
            }
        }
    }

    fn finish(mut self) -> ServeOutcome {
        self.see_off();
        let open = self.places.iter().filter(|place| place.thread.is_some());
        let infos: Vec<_> = open
            .take(tcp_info::SAMPLES)
            .filter_map(|place| place.seat.ask(tcp_info::read))
            .collect();
        for place in &mut self.places {
            if let Some(thread) = place.thread.take() {
                self.job.published.cut_off.fetch_add(1, Relaxed);
                place.seat.shut();
                let _ = thread.join();
            }
        }
        let mut backend = self
            .house
            .counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        backend.system_calls += self.system_calls;
        ServeOutcome {
            backend: Some(backend),
            features: features(),
            options_granted: self.options.granted(),
            granted: self.granted.take(),
            tcp_info: TcpInfoSummary::of(&infos),
        }
    }
}

/// A thread's life: one connection.
fn attend<S: Session>(house: &House, seat: &Seat, fd: RawFd, session: S, mut line: Line) {
    line.attach(fd);
    let before = line.counters.clone();
    let mut host = Host {
        session,
        house,
        last_traffic_ns: now_ns(),
        calls_published: before.system_calls,
    };
    let end = converse(&mut line, &mut host);
    host.publish_calls(&line);
    let how = match end {
        End::Closed(how) => how,
        End::TimedOut => {
            house.published.idle_closed.fetch_add(1, Relaxed);
            How::Fin
        }
        End::Lost(_) => {
            house.published.failed.fetch_add(1, Relaxed);
            How::Fin
        }
        End::Finished | End::Left => How::Fin,
    };
    let closing_calls = seat.close(how);
    line.counters.system_calls += closing_calls;
    house
        .published
        .system_calls
        .fetch_add(closing_calls, Relaxed);
    house.published.closed.fetch_add(1, Relaxed);
    let spent = line.counters.since(&before);
    house
        .counters
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(&spent);
    house
        .lines
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(line);
}

/// The testee's side of a conversation.
struct Host<'a, S> {
    session: S,
    house: &'a House,
    last_traffic_ns: u64,
    /// System calls of this thread that are in the published sum.
    calls_published: u64,
}

impl<S> Host<'_, S> {
    /// Counts on behalf of all threads, so with a locked instruction.
    fn traffic(&mut self, counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Relaxed);
        if self.house.idle_timeout_ns.is_some() {
            self.last_traffic_ns = now_ns();
        }
    }
}

impl<S> Host<'_, S> {
    /// Adds this thread's system calls since the last time to the published sum.
    fn publish_calls(&mut self, line: &Line) {
        let calls = line.counters.system_calls;
        let news = calls - std::mem::replace(&mut self.calls_published, calls);
        self.house.published.system_calls.fetch_add(news, Relaxed);
    }
}

impl<S: Session> Party for Host<'_, S> {
    fn opened(&mut self, line: &mut Line) {
        let mut out = line.speaker(0);
        self.session.opened(&mut out);
    }

    fn received(&mut self, line: &mut Line, len: usize) {
        let house = self.house;
        self.publish_calls(line);
        self.traffic(&house.published.bytes_received, len);
        let (bytes, mut out) = line.speak(0, len);
        self.session.received(bytes, &mut out);
    }

    fn moved(&mut self, bytes: usize) {
        let house = self.house;
        self.traffic(&house.published.bytes_sent, bytes);
    }

    fn sent(&mut self, line: &mut Line) {
        self.publish_calls(line);
        let mut out = line.speaker(0);
        self.session.sent(&mut out);
    }

    fn finished(&mut self, line: &mut Line) -> bool {
        let mut out = line.speaker(0);
        self.session.peer_finished(&mut out);
        true
    }

    fn due(&mut self, line: &mut Line) {
        let now = now_ns();
        if line.timer_ns().is_some_and(|at_ns| at_ns <= now) {
            *line.timer_ns() = None;
            self.session.timer(&mut line.speaker(now));
        }
    }

    fn next(&mut self, line: &mut Line) -> Next {
        line.timer_ns().map_or(Next::Receive, Next::Until)
    }

    fn blocked(&mut self) -> bool {
        true
    }

    fn patience_ns(&self) -> Option<u64> {
        self.house.idle_timeout_ns
    }

    fn waited_too_long(&mut self, _: &mut Line) -> bool {
        let idle_ns = now_ns().saturating_sub(self.last_traffic_ns);
        self.house
            .idle_timeout_ns
            .is_some_and(|limit| idle_ns >= limit)
    }

    fn paused(&mut self) {
        self.house.published.peer_not_reading.fetch_add(1, Relaxed);
    }
}
