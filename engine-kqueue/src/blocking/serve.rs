//! The testee: threads that accept and serve, one connection each ([`Crew`]); the calling thread
//! follows orders.
//!
//! On Linux the threads wait in accept(2) themselves, so that a connection needs no wake-up but its
//! own. Where connections are handed from worker to worker the calling thread brings them; so it does
//! on other systems, where nothing is sure to wake a thread out of accept(2) when it is to stop.

use super::crew::{Crew, Next as Task, Succession};
use super::line::{End, Line, Next, Party, converse};
use super::seats::Seat;
use super::{STACK_BYTES, features};
use crate::options::BlockingOptions;
use crate::sys;
use engine::accepting::{ACCEPT_BACKOFF_NS, Dealer};
use engine::clock::now_ns;
use engine::control::{Control, Order, WakeEnd, Waker};
use engine::driver::{EngineError, ServeJob, ServeOutcome};
use engine::meter::ServePublished;
use engine::proactor::BackendCounters;
use engine::region::Region;
use engine::session::{How, Session};
use engine::socket::{self, Granted, SocketOptions};
use engine::tcp_info::{self, TcpInfoSummary};
use engine::workload::{ServeVisitor, ServeWorkload};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// System calls that make and end a thread with a stack of its own: an estimate by what Rust's std and
/// glibc 2.36 do (mmap, mprotect, two rt_sigprocmask, clone3, rseq, set_robust_list, prctl for its name,
/// sigaltstack with mmap and mprotect for signals, and about as many to end it).
const THREAD_CALLS: u64 = if cfg!(target_os = "linux") { 17 } else { 0 };

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

/// What a thread keeps from one connection to the next.
struct Kit {
    line: Line,
    /// System calls of this thread that are in the published sum.
    calls_published: u64,
}

/// What all threads share.
struct House<W> {
    workload: W,
    crew: Crew,
    /// Where the threads accept.
    listener: RawFd,
    control: Arc<Control>,
    published: Arc<ServePublished>,
    idle_timeout_ns: Option<u64>,
    one_off: bool,
    socket: SocketOptions,
    is_ip: bool,
    region: Arc<Region>,
    buffer_bytes: usize,
    spin: Duration,
    granted: OnceLock<Granted>,
    /// Connections that are open.
    open: AtomicU32,
    /// Accepting rests until then, unless a connection ends before; 0: it does not.
    rest_until_ns: AtomicU64,
    /// The calling thread wants to be woken when a connection ends.
    tell: AtomicBool,
    /// What is open is to end.
    cut: AtomicBool,
    counters: Mutex<BackendCounters>,
    waker: Waker,
}

struct Server<W: ServeWorkload> {
    job: ServeJob,
    options: BlockingOptions,
    house: Arc<House<W>>,
    own_end: WakeEnd,
    dealer: Dealer,
    stop_at_ns: Option<u64>,
    system_calls: u64,
}

impl<W: ServeWorkload> Server<W> {
    fn new(mut job: ServeJob, options: BlockingOptions, workload: W) -> Result<Self, EngineError> {
        engine::os::use_exact_timers();
        let (waker, own_end) = Waker::pair()
            .map_err(|error| EngineError::Machine(format!("a socket pair to be woken: {error}")))?;
        let hints = workload.hints(job.expected_message_bytes);
        let is_supplied = !cfg!(target_os = "linux") || job.handoff.is_some();
        if let Some(listener) = &job.listener {
            // Others may share the listener, and be faster after poll(2) has said "readable".
            socket::set_nonblocking(listener.as_fd(), is_supplied)
                .map_err(|error| EngineError::Machine(format!("listener: {error}")))?;
        }
        let listener = job.listener.as_ref();
        let house = House {
            crew: Crew::new(job.limits.connections, is_supplied),
            listener: listener.map_or(-1, AsRawFd::as_raw_fd),
            control: Arc::clone(&job.control),
            published: Arc::clone(&job.published),
            idle_timeout_ns: job.limits.idle_timeout_ns,
            one_off: job.limits.one_off,
            socket: job.socket.clone(),
            is_ip: listener.is_none_or(|fd| {
                socket::local_address(fd.as_fd()).is_ok_and(|address| address.as_socket().is_some())
            }),
            region: Arc::new(workload.region()),
            buffer_bytes: hints.own_buffer_bytes(),
            spin: options.spin,
            granted: OnceLock::new(),
            open: AtomicU32::new(0),
            rest_until_ns: AtomicU64::new(0),
            tell: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            counters: Mutex::default(),
            waker,
            workload,
        };
        Ok(Self {
            house: Arc::new(house),
            own_end,
            dealer: Dealer::new(job.handoff.take(), Arc::clone(&job.published)),
            stop_at_ns: None,
            system_calls: 0,
            options,
            job,
        })
    }

    fn run(mut self) -> Result<ServeOutcome, EngineError> {
        if !self.house.crew.is_supplied() {
            House::hire(&self.house)
                .map_err(|error| EngineError::Machine(format!("a thread to accept: {error}")))?;
        }
        self.job.control.report_ready();
        loop {
            self.follow_orders();
            let open = self.house.open.load(SeqCst);
            if self
                .stop_at_ns
                .is_some_and(|at| open == 0 || now_ns() >= at)
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
        self.house.crew.dismiss();
        if let Some(listener) = &self.job.listener {
            socket::stop_listening(listener.as_fd());
        }
        self.house.tell.store(true, SeqCst);
    }

    /// Waits for a connection to bring, a wake-up or the next deadline, and acts on it.
    fn turn(&mut self) {
        let calls_before = self.system_calls;
        let listener = self.listener_to_watch();
        // poll(2) ignores negative descriptors.
        let mut entries = [
            sys::watch(listener, libc::POLLIN),
            sys::watch(self.job.wake.descriptor(), libc::POLLIN),
            sys::watch(self.own_end.descriptor(), libc::POLLIN),
        ];
        let rest_ns = match self.house.rest_until_ns.load(SeqCst) {
            0 => None,
            _ if !self.house.crew.is_supplied() => None,
            at => Some(at),
        };
        let until_ns = [rest_ns, self.stop_at_ns].into_iter().flatten().min();
        self.system_calls += 1;
        sys::poll(&mut entries, until_ns);
        if entries[1].revents != 0 {
            self.job.wake.clear();
            self.take_handed();
        }
        if entries[2].revents != 0 {
            self.own_end.clear();
        }
        if entries[0].revents != 0 {
            self.accept(listener);
        }
        let calls = self.system_calls - calls_before;
        self.job.published.system_calls.fetch_add(calls, Relaxed);
    }

    /// The listener, if this thread is to accept now; else it wants to hear when that may change.
    fn listener_to_watch(&self) -> RawFd {
        if !self.house.crew.is_supplied() || self.stop_at_ns.is_some() {
            return -1;
        }
        if self.may_accept() {
            return self.house.listener;
        }
        self.house.tell.store(true, SeqCst);
        // It may have changed before that was known.
        match self.may_accept() {
            true => self.house.listener,
            false => -1,
        }
    }

    fn may_accept(&self) -> bool {
        let room = self.house.open.load(SeqCst) < self.job.limits.connections;
        (room || self.dealer.accepts_for_others()) && !self.house.is_resting()
    }

    fn accept(&mut self, listener: RawFd) {
        self.system_calls += sys::ACCEPT_CALLS;
        match sys::accept(listener, false) {
            Ok(socket) => {
                if let Some(socket) = self.dealer.deal(socket) {
                    self.bring(socket);
                }
            }
            Err(errno) if sys::would_block(errno) || sys::accept_error_is_transient(errno) => {}
            Err(errno) => self.house.back_off(Some(errno)),
        }
    }

    fn take_handed(&mut self) {
        while let Some(socket) = self.dealer.take() {
            self.bring(socket);
        }
    }

    /// Gives a connection to a thread that has nothing to do, or to a new one.
    fn bring(&mut self, socket: OwnedFd) {
        let house = &self.house;
        if house.open.load(SeqCst) >= self.job.limits.connections {
            return self.dealer.over_limit();
        }
        house.open.fetch_add(1, SeqCst);
        if house.crew.bring(socket) || House::hire(house).is_ok() {
            return;
        }
        // No thread to be had: this connection is given up, unless somebody took it meanwhile, and the
        // next must wait.
        if let Some(socket) = house.crew.take_back() {
            self.system_calls += sys::close(socket, How::Rst);
            house.open.fetch_sub(1, SeqCst);
            house.published.failed.fetch_add(1, Relaxed);
            house.published.closed.fetch_add(1, Relaxed);
        }
        house.back_off(None);
    }

    fn finish(self) -> ServeOutcome {
        let house = &self.house;
        let seats = house.crew.seats();
        let infos: Vec<_> = seats
            .iter()
            .filter_map(|seat| seat.ask(tcp_info::read))
            .take(tcp_info::SAMPLES)
            .collect();
        // A thread that takes a connection up from here on sees it.
        house.cut.store(true, SeqCst);
        let cut_off = seats.iter().filter(|seat| seat.shut()).count();
        house.published.cut_off.fetch_add(cut_off as u64, Relaxed);
        house.crew.dismiss();
        house.crew.join();
        let threads = house.crew.hired();
        let counters = house.counters.lock();
        let mut backend = counters.unwrap_or_else(PoisonError::into_inner).clone();
        backend.system_calls += self.system_calls + threads * THREAD_CALLS;
        let mut features = features();
        features.push(("threads_made".into(), threads.to_string()));
        ServeOutcome {
            backend: Some(backend),
            features,
            options_granted: self.options.granted(),
            granted: house.granted.get().cloned(),
            tcp_info: TcpInfoSummary::of(&infos),
        }
    }
}

impl<W: ServeWorkload> House<W> {
    /// Adds a thread to the crew.
    fn hire(house: &Arc<Self>) -> std::io::Result<()> {
        house.crew.hire(|number, seat| {
            let house = Arc::clone(house);
            let builder = std::thread::Builder::new().name("blocking".into());
            builder
                .stack_size(STACK_BYTES)
                .spawn(move || Hand::new(number, house, seat).work())
        })?;
        let published = &house.published.system_calls;
        published.fetch_add(THREAD_CALLS, Relaxed);
        Ok(())
    }

    fn is_resting(&self) -> bool {
        now_ns() < self.rest_until_ns.load(SeqCst)
    }

    /// Accepting has failed with `errno`, or (`None`) there is no thread to be had: it rests, unless it
    /// does already.
    fn back_off(&self, errno: Option<i32>) {
        if !self.is_resting() {
            self.published.count_accept_backoff(errno);
            let until_ns = now_ns() + ACCEPT_BACKOFF_NS;
            self.rest_until_ns.store(until_ns, SeqCst);
        }
    }

    /// A connection has ended.
    fn departed(&self) {
        self.published.closed.fetch_add(1, Relaxed);
        // A descriptor is free again.
        self.rest_until_ns.store(0, SeqCst);
        let was_last = self.open.fetch_sub(1, SeqCst) == 1;
        if self.one_off && was_last {
            self.control.order_all(Order::Stop);
        }
        if self.tell.load(SeqCst) {
            let is_stopping = self.control.order() != Order::Run;
            // While it stops, every end is news.
            if is_stopping || self.tell.swap(false, SeqCst) {
                self.waker.wake();
            }
        }
    }
}

/// A thread of the crew.
struct Hand<W: ServeWorkload> {
    number: u64,
    house: Arc<House<W>>,
    seat: Arc<Seat>,
    kit: Kit,
}

impl<W: ServeWorkload> Hand<W> {
    fn new(number: u64, house: Arc<House<W>>, seat: Arc<Seat>) -> Self {
        let region = Arc::clone(&house.region);
        let kit = Kit {
            line: Line::new(house.buffer_bytes, region, house.spin),
            calls_published: 0,
        };
        Self {
            number,
            house,
            seat,
            kit,
        }
    }

    fn work(mut self) {
        // Who accepts was counted as waiting when it was hired.
        if !self.house.crew.is_supplied() {
            self.accept();
        }
        loop {
            match self.house.crew.next() {
                Task::Accept => self.accept(),
                Task::Serve(socket) => self.attend(socket),
                Task::Leave => return,
            }
        }
    }

    /// Waits for a connection and serves it.
    fn accept(&mut self) {
        self.kit.line.counters.system_calls += sys::ACCEPT_CALLS;
        let accepted = sys::accept(self.house.listener, false);
        if accepted.is_ok() {
            self.house.open.fetch_add(1, SeqCst);
            self.house.published.accepted.fetch_add(1, Relaxed);
        }
        match self.house.crew.back_from_accept(accepted.is_ok()) {
            // Where there is no further thread to be had, others wait in the backlog until one is done.
            Succession::Hire if House::hire(&self.house).is_err() => self.house.back_off(None),
            Succession::Hire | Succession::Settled | Succession::Full => {}
        }
        match accepted {
            Ok(socket) => self.attend(socket),
            Err(errno) if sys::would_block(errno) || sys::accept_error_is_transient(errno) => {}
            // Another worker may have shut down the listener that both have.
            Err(_) if self.house.control.order() != Order::Run => self.house.crew.dismiss(),
            Err(errno) => self.rest(errno),
        }
    }

    /// After an accept that failed, until accepting may go on.
    fn rest(&self, errno: i32) {
        self.house.back_off(Some(errno));
        while self.house.is_resting() && self.house.control.order() == Order::Run {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Serves one connection, which is counted as open.
    fn attend(&mut self, socket: OwnedFd) {
        let guest = Guest {
            house: &self.house,
            seat: &self.seat,
        };
        let fd = guest.receive(socket, &mut self.kit.line.counters);
        self.kit.line.attach(fd);
        let mut host = Host {
            session: self.house.workload.session(),
            house: &self.house,
            last_traffic_ns: now_ns(),
            calls_published: &mut self.kit.calls_published,
        };
        let end = converse(&mut self.kit.line, &mut host);
        let how = match end {
            End::Closed(how) => how,
            End::TimedOut => {
                self.house.published.idle_closed.fetch_add(1, Relaxed);
                How::Fin
            }
            End::Lost(errno) => {
                self.house.published.count_lost(errno);
                How::Fin
            }
            End::Finished | End::Left => How::Fin,
        };
        self.kit.line.counters.system_calls += self.seat.close(how);
        host.publish_calls(&self.kit.line);
    }
}

impl<W: ServeWorkload> Drop for Hand<W> {
    fn drop(&mut self) {
        let spent = &self.kit.line.counters;
        let counters = self.house.counters.lock();
        counters.unwrap_or_else(PoisonError::into_inner).add(spent);
        self.house.crew.left(self.number);
    }
}

/// A connection as the house counts it, however it ends.
struct Guest<'a, W: ServeWorkload> {
    house: &'a House<W>,
    seat: &'a Seat,
}

impl<W: ServeWorkload> Guest<'_, W> {
    /// Prepares the socket and takes it in; returns its number.
    fn receive(&self, socket: OwnedFd, counters: &mut BackendCounters) -> RawFd {
        let house = self.house;
        counters.system_calls += sys::suppress_sigpipe(socket.as_raw_fd());
        socket::accepted(socket.as_fd(), house.is_ip, &house.socket);
        let granted = || socket::granted(socket.as_raw_fd());
        house.granted.get_or_init(granted);
        if let Some(idle_ns) = house.idle_timeout_ns {
            counters.system_calls += 1;
            sys::bound_waiting(socket.as_raw_fd(), true, idle_ns);
        }
        let fd = self.seat.put(socket);
        if house.cut.load(SeqCst) {
            self.seat.shut();
        }
        fd
    }
}

impl<W: ServeWorkload> Drop for Guest<'_, W> {
    fn drop(&mut self) {
        // After a panic it is open still.
        self.seat.close(How::Fin);
        self.house.departed();
    }
}

/// The testee's side of a conversation.
struct Host<'a, W: ServeWorkload> {
    session: W::Session,
    house: &'a House<W>,
    last_traffic_ns: u64,
    /// System calls of this thread that are in the published sum.
    calls_published: &'a mut u64,
}

impl<W: ServeWorkload> Host<'_, W> {
    /// Counts on behalf of all threads, so with a locked instruction.
    fn traffic(&mut self, counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Relaxed);
        if self.house.idle_timeout_ns.is_some() {
            self.last_traffic_ns = now_ns();
        }
    }
}

impl<W: ServeWorkload> Host<'_, W> {
    /// Adds this thread's system calls since the last time to the published sum.
    fn publish_calls(&mut self, line: &Line) {
        let calls = line.counters.system_calls;
        let news = calls - std::mem::replace(self.calls_published, calls);
        self.house.published.system_calls.fetch_add(news, Relaxed);
    }
}

impl<W: ServeWorkload> Party for Host<'_, W> {
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

    fn moved(&mut self, bytes: usize, _: &BackendCounters) {
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
        let Some(timer_ns) = *line.timer_ns() else {
            return Next::Receive;
        };
        let idle_ns = self.house.idle_timeout_ns;
        let idle_at_ns = idle_ns.map(|idle_ns| self.last_traffic_ns.saturating_add(idle_ns));
        match idle_at_ns {
            Some(idle_at_ns) if idle_at_ns <= now_ns() => Next::GiveUp,
            Some(idle_at_ns) => Next::Until(timer_ns.min(idle_at_ns)),
            None => Next::Until(timer_ns),
        }
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
