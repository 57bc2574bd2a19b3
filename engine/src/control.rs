//! How the agent steers its workers: one go, one stop, and a waker for each worker.
//!
//! Nothing here is touched per operation: a worker looks at [`Control::order`] once per turn.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Order {
    /// Go on.
    Run = 0,
    /// End early but orderly: finish what is in flight, within the drain deadline.
    Stop = 1,
    /// Return at once; what is in flight counts as unfinished.
    Abort = 2,
}

/// Wakes one worker out of its wait. Cheap to clone through [`Waker::try_clone`].
#[derive(Debug)]
pub struct Waker(UnixStream);

impl Waker {
    /// A waker and the end that the worker waits on. A socket pair, because it is the same on
    /// every system and needs no unsafe code.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn pair() -> io::Result<(Self, WakeEnd)> {
        let (writer, reader) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        reader.set_nonblocking(true)?;
        Ok((Self(writer), WakeEnd(reader)))
    }

    /// Wakes the worker. A full pair means that it is being woken already, so errors do not matter.
    pub fn wake(&self) {
        let _ = (&self.0).write(&[1]);
    }

    /// Another handle on the same worker.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// The worker's end of a [`Waker`]: readable when woken.
#[derive(Debug)]
pub struct WakeEnd(UnixStream);

impl WakeEnd {
    /// The descriptor to watch.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Reads it empty.
    pub fn clear(&self) {
        let mut sink = [0u8; 64];
        while matches!(io::Read::read(&mut (&self.0), &mut sink), Ok(n) if n > 0) {}
    }
}

/// Shared by an agent and its workers.
#[derive(Debug)]
pub struct Control {
    order: AtomicU8,
    /// The starting instant in ns; 0 until it is known.
    go_ns: AtomicU64,
    seats: Mutex<Seats>,
    changed: Condvar,
    ticking: Mutex<Ticking>,
}

#[derive(Debug, Default)]
struct Seats {
    wakers: Vec<Waker>,
    ready: usize,
    failed: Option<String>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            order: AtomicU8::new(Order::Run as u8),
            go_ns: AtomicU64::new(0),
            seats: Mutex::default(),
            changed: Condvar::new(),
            ticking: Mutex::default(),
        }
    }
}

impl Control {
    /// Adds a worker and returns the end it waits on.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn seat(&self) -> io::Result<WakeEnd> {
        self.seat_with_waker().map(|(_, end)| end)
    }

    /// Like [`Control::seat`], with a waker for whoever hands connections to this worker.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn seat_with_waker(&self) -> io::Result<(Waker, WakeEnd)> {
        let (waker, end) = Waker::pair()?;
        self.lock().wakers.push(waker.try_clone()?);
        Ok((waker, end))
    }

    /// Sets the starting instant (monotonic ns, never 0) and wakes everybody.
    pub fn go(&self, start_ns: u64) {
        self.go_ns.store(start_ns.max(1), Ordering::Release);
        self.wake_all();
    }

    /// The starting instant, once it is known.
    pub fn go_ns(&self) -> Option<u64> {
        Some(self.go_ns.load(Ordering::Acquire)).filter(|&ns| ns != 0)
    }

    /// Gives an order (orders only ever get stricter) and wakes everybody.
    pub fn order_all(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.wake_all();
    }

    /// The order in force.
    #[inline]
    pub fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Run,
            1 => Order::Stop,
            _ => Order::Abort,
        }
    }

    /// A worker says that it is prepared.
    pub fn report_ready(&self) {
        self.lock().ready += 1;
        self.changed.notify_all();
    }

    /// A worker says that it cannot start; the first reason is kept and everybody is aborted.
    pub fn report_failed(&self, reason: String) {
        self.lock().failed.get_or_insert(reason);
        self.changed.notify_all();
        self.order_all(Order::Abort);
    }

    /// Waits until `workers` have said that they are ready.
    ///
    /// # Errors
    /// The reason of the first that failed, or that the time ran out.
    pub fn wait_ready(&self, workers: usize, timeout: Duration) -> Result<(), String> {
        let (seats, expired) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |seats| {
                seats.failed.is_none() && seats.ready < workers
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &seats.failed {
            Some(reason) => Err(reason.clone()),
            None if expired.timed_out() => Err(format!(
                "only {} of {workers} workers were ready after {timeout:?}",
                seats.ready
            )),
            None => Ok(()),
        }
    }

    /// Wakes every worker again and again until all guards are dropped, from one thread that is not
    /// bound to the CPU of a worker. A worker that can count on this waits without a time-out, which saves
    /// the kernel arming and cancelling a timer for every operation. Every worker holds a guard; the
    /// first sets the period, which is the same for all of a job.
    pub fn tick_every(self: &Arc<Self>, period: Duration) -> Ticker {
        let mut ticking = self.ticking();
        ticking.guards += 1;
        if ticking.thread.is_none() {
            let control = Arc::clone(self);
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            // With a name of its own: whoever looks at threads must not take it for a worker.
            let named = std::thread::Builder::new().name("ticker".into());
            let ticking_thread = named.spawn(move || {
                crate::os::leave_the_cpu_of_a_worker();
                while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                    control.wake_all();
                }
            });
            let thread = ticking_thread.expect("a thread more can be started");
            ticking.thread = Some((stop, thread));
        }
        drop(ticking);
        Ticker {
            control: Arc::clone(self),
        }
    }

    fn ticking(&self) -> std::sync::MutexGuard<'_, Ticking> {
        self.ticking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        for waker in &self.lock().wakers {
            waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seats> {
        // A panicking worker must not take the others' orders away.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one thread of [`Control::tick_every`], and for how many it ticks.
#[derive(Debug, Default)]
struct Ticking {
    guards: usize,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Keeps the thread of [`Control::tick_every`] going.
#[derive(Debug)]
pub struct Ticker {
    control: Arc<Control>,
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let mut ticking = self.control.ticking();
        ticking.guards -= 1;
        if ticking.guards > 0 {
            return;
        }
        if let Some((stop, thread)) = ticking.thread.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_only_get_stricter() {
        let control = Control::default();
        control.order_all(Order::Abort);
        control.order_all(Order::Stop);
        assert_eq!(control.order(), Order::Abort);
    }

    #[test]
    fn readiness_is_counted_and_failure_wins() {
        let control = Control::default();
        control.report_ready();
        assert!(control.wait_ready(1, Duration::from_millis(1)).is_ok());
        assert!(control.wait_ready(2, Duration::from_millis(1)).is_err());
        control.report_failed("no".into());
        assert_eq!(
            control.wait_ready(1, Duration::from_millis(1)),
            Err("no".into())
        );
        assert_eq!(control.order(), Order::Abort);
    }

    #[test]
    fn ticks_wake_until_the_guard_is_dropped() {
        let control = Arc::new(Control::default());
        let end = control.seat().unwrap();
        let ticker = control.tick_every(Duration::from_millis(1));
        drop(control.tick_every(Duration::from_millis(1)));
        std::thread::sleep(Duration::from_millis(50));
        drop(ticker);
        let mut one = [0u8; 1];
        assert_eq!(io::Read::read(&mut (&end.0), &mut one).unwrap(), 1);
        end.clear();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(
            io::Read::read(&mut (&end.0), &mut one).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    /// However many workers there are: that many tickers of pinned threads would wait for one another.
    #[cfg(target_os = "linux")]
    #[test]
    fn one_thread_ticks_for_all_and_is_bound_to_no_workers_cpu() {
        let of_this_process = || -> Vec<String> {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let named = |task: std::fs::DirEntry| {
                let status = std::fs::read_to_string(task.path().join("status")).ok()?;
                status.starts_with("Name:\tticker\n").then_some(status)
            };
            tasks.flatten().filter_map(named).collect()
        };
        let allowed = |status: &str| -> String {
            let line = status
                .lines()
                .find(|line| line.starts_with("Cpus_allowed_list:"));
            line.unwrap().to_owned()
        };
        let control = Arc::new(Control::default());
        let (before, everywhere) = (
            of_this_process().len(),
            allowed(&std::fs::read_to_string("/proc/self/status").unwrap()),
        );
        let guards: Vec<Ticker> = std::thread::scope(|scope| {
            let pinned = || {
                let cpus = crate::affinity::allowed().unwrap();
                crate::affinity::pin(cpus[0]).unwrap();
                control.tick_every(Duration::from_millis(1))
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(pinned)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        std::thread::sleep(Duration::from_millis(30));
        let tickers = of_this_process();
        // Other tests of this process tick too.
        assert!(tickers.len() <= before + 3, "{} tickers", tickers.len());
        assert!(
            tickers.iter().any(|status| allowed(status) == everywhere),
            "{tickers:?}"
        );
        drop(guards);
    }

    #[test]
    fn a_wake_is_seen_and_cleared() {
        let control = Control::default();
        let end = control.seat().unwrap();
        control.go(5);
        let mut one = [0u8; 1];
        assert_eq!(io::Read::read(&mut (&end.0), &mut one).unwrap(), 1);
        end.clear();
        assert_eq!(
            io::Read::read(&mut (&end.0), &mut one).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(control.go_ns(), Some(5));
    }
}
