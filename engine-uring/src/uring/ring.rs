//! The ring itself: entered once per turn.

use super::ladder::{Rung, Shape};
use super::options::{Taskrun, Wishes};
use super::wait::Wait;
use engine::clock::now_ns;
use engine::proactor::BackendCounters;
use io_uring::types::{Napi, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, squeue};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::Duration;

/// The only buffer group.
pub(super) const BUFFER_GROUP: u16 = 0;

/// What was asked for and what the kernel granted.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) flags_requested: &'static str,
    pub(super) flags: &'static str,
    pub(super) taskrun: &'static str,
    pub(super) sq_entries: u32,
    pub(super) cq_entries: u32,
    pub(super) ring_fd_registered: bool,
    pub(super) no_iowait: bool,
    taskrun_flag: bool,
    /// A kernel thread takes the submissions.
    pub(super) polled: bool,
}

/// How a turn waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Completions to sleep for ...
    batch: u32,
    /// ... at most so long; then one is enough.
    min_wait_us: u32,
    /// How long to look before sleeping.
    spin_ns: u64,
}

/// A ring that belongs to the thread that created it.
pub(super) struct Ring {
    // The three halves borrow from `*ring`; `drop` ends them before it frees the ring. They are
    // split off once and kept, because a ring descriptor that was registered is known only to the
    // `Submitter` that registered it.
    submitter: ManuallyDrop<Submitter<'static>>,
    sq: ManuallyDrop<SubmissionQueue<'static>>,
    cq: ManuallyDrop<CompletionQueue<'static>>,
    ring: NonNull<IoUring>,
    /// Entries that found the queue full and the kernel unwilling (EBUSY, EAGAIN); sent first.
    backlog: VecDeque<squeue::Entry>,
    granted: Granted,
    waiting: Waiting,
    overflowing: bool,
    refusals: u32,
}

impl Ring {
    /// Creates a ring on the calling thread, with the best flags that the kernel knows.
    pub(super) fn new(sq_entries: u32, cq_entries: u32) -> io::Result<Self> {
        let shape = Shape {
            sq_entries,
            cq_entries,
            taskrun: Taskrun::Auto,
            polling: None,
        };
        let (rung, ring) = shape.climb()?;
        Ok(Self::own(rung, ring, shape.flags_requested(), true))
    }

    /// Creates a ring as asked for.
    ///
    /// # Errors
    /// What the kernel refused, as it said so, or which option it does not know.
    pub(super) fn of(wishes: &Wishes, sq_entries: u32, cq_entries: u32) -> io::Result<Self> {
        let shape = Shape {
            sq_entries,
            cq_entries,
            taskrun: wishes.taskrun,
            polling: wishes.polling,
        };
        let (rung, ring) = shape.climb().map_err(|error| name_option(error, wishes))?;
        if wishes.min_wait_us > 0 && !ring.params().is_feature_min_timeout() {
            return Err(unsupported(
                "batch and min_wait need IORING_FEAT_MIN_TIMEOUT (Linux 6.12), which this kernel lacks",
            ));
        }
        let mut ring = Self::own(rung, ring, shape.flags_requested(), wishes.register_ring);
        ring.waiting = Waiting {
            batch: wishes.batch,
            min_wait_us: wishes.min_wait_us,
            spin_ns: wishes.spin_ns,
        };
        if wishes.napi_us > 0 {
            ring.poll_device(wishes.napi_us, wishes.napi_prefer)?;
        }
        Ok(ring)
    }

    fn own(
        rung: &'static Rung,
        ring: IoUring,
        flags_requested: &'static str,
        register: bool,
    ) -> Self {
        let (sq_entries, cq_entries) = (ring.params().sq_entries(), ring.params().cq_entries());
        let no_iowait = ring.params().is_feature_no_iowait();
        let polled = ring.params().is_setup_sqpoll();
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the box was leaked, so it neither moves nor goes away before `drop`, which takes
        // it back after the halves; nothing else makes a `&mut` to it in between.
        let (mut submitter, sq, cq) = unsafe { &mut *ring.as_ptr() }.split();
        // Saves the look-up of the descriptor at every enter; Linux 5.18. Nothing is lost without.
        let ring_fd_registered = register && submitter.register_ring_fd().is_ok();
        Self {
            submitter: ManuallyDrop::new(submitter),
            sq: ManuallyDrop::new(sq),
            cq: ManuallyDrop::new(cq),
            ring,
            backlog: VecDeque::with_capacity(64),
            granted: Granted {
                flags_requested,
                flags: rung.flags,
                taskrun: rung.taskrun,
                sq_entries,
                cq_entries,
                ring_fd_registered,
                no_iowait,
                taskrun_flag: rung.taskrun_flag,
                polled,
            },
            waiting: Waiting {
                batch: 1,
                min_wait_us: 0,
                spin_ns: 0,
            },
            overflowing: false,
            refusals: 0,
        }
    }

    /// Waits poll the device of the sockets (io_uring_register_napi(3)).
    fn poll_device(&mut self, micros: u32, prefer: bool) -> io::Result<()> {
        let mut napi = Napi::new()
            .set_busy_poll_timeout(micros)
            .set_prefer_busy_poll(prefer);
        self.submitter.register_napi(&mut napi).map_err(|error| {
            unsupported(&format!(
                "napi: io_uring_register answered: {error}; it needs Linux 6.9 with CONFIG_NET_RX_BUSY_POLL"
            ))
        })
    }

    pub(super) fn granted(&self) -> &Granted {
        &self.granted
    }

    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// Queues an entry; makes a system call only when the queue is full.
    ///
    /// # Safety
    /// What the entry points to stays valid until its final completion was read.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry, counters: &mut BackendCounters) {
        // SAFETY: handed on to the caller.
        if self.backlog.is_empty() && unsafe { self.sq.push(entry) }.is_ok() {
            return;
        }
        self.push_to_full(entry, counters);
    }

    /// Whether so many entries fit into the next call together.
    #[inline]
    pub(super) fn has_room(&mut self, entries: usize) -> bool {
        if self.sq.capacity() - self.sq.len() < entries {
            self.sq.sync(); // the length is of a cached head
        }
        self.backlog.is_empty() && self.sq.capacity() - self.sq.len() >= entries
    }

    #[cold]
    fn push_to_full(&mut self, entry: &squeue::Entry, counters: &mut BackendCounters) {
        self.backlog.push_back(entry.clone());
        self.move_backlog();
        if !self.backlog.is_empty() {
            // Only to make room: completions wait for the turn's own enter. A refusal leaves the
            // entry where it is, in order. A polling thread makes the room, and is waited for.
            let flags = match self.granted.polled {
                true => EnterFlags::SQ_WAIT,
                false => EnterFlags::empty(),
            };
            let _ = self.call(0, flags, None, counters);
            self.move_backlog();
        }
    }

    /// Moves as much of the backlog into the queue as fits.
    fn move_backlog(&mut self) {
        self.sq.sync(); // `push` looks at a cached head
        while let Some(entry) = self.backlog.front() {
            // SAFETY: `Ring::push` was promised that the entry stays valid.
            if unsafe { self.sq.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Submits what is queued, now. Completions wait for the turn's own enter.
    #[cold]
    pub(super) fn submit(&mut self, counters: &mut BackendCounters) {
        self.move_backlog();
        // Interrupted or refused: what was not taken goes with the next enter.
        let _ = self.call(0, EnterFlags::empty(), None, counters);
    }

    /// The next completion that the last [`Ring::turn`] brought.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<cqueue::Entry> {
        self.cq.next()
    }

    /// Completions of the last [`Ring::turn`] that were not read yet.
    #[inline]
    pub(super) fn unread(&self) -> usize {
        self.cq.len()
    }

    /// Whether the kernel has taken all that was queued, and keeps back no completion of it.
    #[inline]
    pub(super) fn has_told_all(&self) -> bool {
        self.backlog.is_empty() && self.sq.is_empty() && !self.overflowing
    }

    /// One turn: submits everything queued, runs deferred work, and sleeps until a completion is
    /// there or `timeout_ns` is over (`None`: no limit).
    ///
    /// At most one system call, and none at all when it could bring nothing: unread completions
    /// are there and nothing is queued, or the caller does not want to sleep, nothing is queued,
    /// and the kernel's flag says that no deferred work waits. With a polling thread the queue
    /// empties without one, unless that thread sleeps. Spinning may cost two more: one to submit
    /// before it, one to fetch what it saw coming.
    pub(super) fn turn(
        &mut self,
        timeout_ns: Option<u64>,
        counters: &mut BackendCounters,
    ) -> io::Result<()> {
        self.move_backlog();
        self.cq.sync(); // shows the kernel what was read, shows us what it added
        let overflow = self.note_overflow(counters);
        let ready = !self.cq.is_empty();
        let sleepless = ready || timeout_ns == Some(0) || !self.backlog.is_empty();
        if sleepless {
            if !overflow && !self.must_submit() && (ready || !self.has_work()) {
                return Ok(());
            }
            return self.enter(0, timeout_ns, counters);
        }
        if self.waiting.spin_ns > 0 {
            return self.spin_then_sleep(timeout_ns, counters);
        }
        self.enter(self.waiting.batch, timeout_ns, counters)
    }

    /// Something is queued that only a system call brings to the kernel.
    fn must_submit(&mut self) -> bool {
        if self.granted.polled {
            self.sq.sync(); // publishes the tail, which the thread reads by itself if it is awake
            return self.sq.need_wakeup();
        }
        !self.sq.is_empty()
    }

    /// A system call may bring completions though none was waited for.
    fn has_work(&self) -> bool {
        match self.granted.taskrun_flag {
            true => self.sq.taskrun(),
            // Without the flag nobody knows; with a polling thread there is never such work here.
            false => !self.granted.polled,
        }
    }

    /// Looks for completions for a while, without system calls where possible, then sleeps.
    fn spin_then_sleep(
        &mut self,
        timeout_ns: Option<u64>,
        counters: &mut BackendCounters,
    ) -> io::Result<()> {
        let begun_ns = now_ns();
        if self.must_submit() {
            self.enter(0, timeout_ns, counters)?;
        }
        let spin_ns = timeout_ns.map_or(self.waiting.spin_ns, |ns| ns.min(self.waiting.spin_ns));
        let mut passed_ns = 0;
        while self.cq.is_empty() && passed_ns < spin_ns {
            if self.granted.taskrun_flag && self.sq.taskrun() {
                self.enter(0, timeout_ns, counters)?;
            } else {
                std::hint::spin_loop();
                self.cq.sync();
            }
            passed_ns = now_ns() - begun_ns;
        }
        if !self.cq.is_empty() {
            return Ok(());
        }
        let left_ns = timeout_ns.map(|ns| ns.saturating_sub(passed_ns));
        self.enter(self.waiting.batch, left_ns, counters)
    }

    /// Enters the kernel: submits what is queued and waits for `want` completions.
    fn enter(
        &mut self,
        want: u32,
        timeout_ns: Option<u64>,
        counters: &mut BackendCounters,
    ) -> io::Result<()> {
        // GETEVENTS even without sleeping: it alone runs deferred work and flushes an overflow.
        let answer = self.call(want, EnterFlags::GETEVENTS, timeout_ns, counters);
        self.cq.sync();
        self.note_overflow(counters);
        self.judge(answer)
    }

    /// Whether completions are kept back because the queue is full. Each time it begins is counted.
    fn note_overflow(&mut self, counters: &mut BackendCounters) -> bool {
        let overflow = self.sq.cq_overflow();
        counters.completion_overflows += u64::from(overflow && !self.overflowing);
        self.overflowing = overflow;
        overflow
    }

    fn call(
        &mut self,
        want: u32,
        flags: EnterFlags,
        timeout_ns: Option<u64>,
        counters: &mut BackendCounters,
    ) -> io::Result<usize> {
        self.sq.sync(); // publishes the tail
        let to_submit = self.sq.len() as u32;
        let wait = Wait::of(want, self.waiting.min_wait_us, timeout_ns);
        let time = Timespec::from(Duration::from_nanos(wait.timeout_ns.unwrap_or_default()));
        let mut args = SubmitArgs::new().min_wait_usec(wait.min_wait_us);
        if wait.timeout_ns.is_some() {
            args = args.timespec(&time);
        }
        let mut flags = flags;
        // What says nothing is not read by the kernel.
        let has_args = wait.timeout_ns.is_some() || wait.min_wait_us > 0;
        if has_args {
            flags |= EnterFlags::EXT_ARG;
        }
        if self.granted.no_iowait {
            // Waiting for peers is idle time, not I/O wait: this tool reports CPU states.
            flags |= EnterFlags::NO_IOWAIT;
        }
        if self.granted.polled && self.sq.need_wakeup() {
            flags |= EnterFlags::SQ_WAKEUP;
        }
        counters.system_calls += 1;
        // SAFETY: `to_submit` entries are published and what they point to is valid (`push`);
        // `args` is the argument that EXT_ARG announces, where it does, and lives through the call.
        let answer = unsafe {
            self.submitter.enter(
                to_submit,
                wait.completions,
                flags.bits(),
                has_args.then_some(&args),
            )
        };
        self.sq.sync();
        answer
    }

    /// Tells what ends the backend from what passes.
    fn judge(&mut self, answer: io::Result<usize>) -> io::Result<()> {
        let Err(error) = answer else {
            self.refusals = 0;
            return Ok(());
        };
        match error.raw_os_error() {
            // Time is up, or a signal came: the caller looks at its clock and its orders.
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            // Completions must be read first (EBUSY), or the kernel has no memory for a request
            // just now (EAGAIN). Reading goes on; if it helps nothing, this machine is in trouble.
            Some(libc::EBUSY | libc::EAGAIN) if self.refusals < 1000 => {
                self.refusals += 1;
                if self.cq.is_empty() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
            _ => Err(io::Error::new(
                error.kind(),
                format!("io_uring_enter, to submit and wait, answered: {error}"),
            )),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.granted.ring_fd_registered {
            // The registration holds a reference to the ring: without this it would live, and its
            // locked memory be charged, until the thread ends.
            let _ = self.submitter.unregister_ring_fd();
        }
        // SAFETY: each half is dropped once, here, and not used afterwards; then the box made in
        // `new` is taken back, to which no other pointer is left.
        unsafe {
            ManuallyDrop::drop(&mut self.submitter);
            ManuallyDrop::drop(&mut self.sq);
            ManuallyDrop::drop(&mut self.cq);
            drop(Box::from_raw(self.ring.as_ptr()));
        }
    }
}

/// EINVAL for a ring that was asked for with an option: which one it must be.
fn name_option(error: io::Error, wishes: &Wishes) -> io::Error {
    let cpu = wishes.polling.and_then(|thread| thread.cpu);
    match (error.raw_os_error(), cpu, wishes.taskrun) {
        (Some(libc::EINVAL), Some(cpu), _) => unsupported(&format!(
            "sqpoll_cpu={cpu}: io_uring_setup answered EINVAL: this CPU does not exist, or this process may \
             not use it"
        )),
        (Some(libc::EINVAL), None, Taskrun::Defer) => unsupported(
            "taskrun=defer: io_uring_setup answered EINVAL: this kernel lacks IORING_SETUP_DEFER_TASKRUN (Linux 6.1)",
        ),
        (Some(libc::EINVAL), None, Taskrun::Coop) => unsupported(
            "taskrun=coop: io_uring_setup answered EINVAL: this kernel lacks IORING_SETUP_COOP_TASKRUN (Linux 5.19)",
        ),
        _ => error,
    }
}

/// Something that was asked for and that this kernel does not have.
fn unsupported(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("engine uring: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::ladder::tests::every_rung;
    use io_uring::opcode;

    fn ring_or_skip() -> Option<Ring> {
        Ring::new(8, 64)
            .map_err(|error| eprintln!("skipped: no io_uring here: {error}"))
            .ok()
    }

    /// A ring that sleeps for eight completions, at least `min_wait`.
    fn batching(min_wait: &str) -> Option<Ring> {
        let written = [("batch", "8"), ("min_wait", min_wait)];
        let written = written.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let wishes = Wishes::read(&written).unwrap();
        Ring::of(&wishes, 8, 64)
            .map_err(|error| eprintln!("skipped: no such ring here: {error}"))
            .ok()
    }

    #[test]
    fn an_idle_ring_with_a_batch_sleeps_until_something_comes() {
        let Some(mut ring) = batching("1ms") else {
            return;
        };
        let mut counters = BackendCounters::default();
        let delay = Timespec::from(Duration::from_millis(100));
        let timeout = opcode::Timeout::new(&delay).build();
        // SAFETY: `delay` lives until the completion is there.
        unsafe { ring.push(&timeout, &mut counters) };
        let begun_ns = now_ns();
        let mut turns = 0;
        while ring.pop().is_none() {
            ring.turn(None, &mut counters).unwrap();
            turns += 1;
            assert!(turns < 20, "it wakes without a reason");
        }
        assert!(now_ns() - begun_ns >= 100_000_000);
    }

    #[test]
    fn a_deadline_is_kept_however_long_a_batch_may_take() {
        let Some(mut ring) = batching("1s") else {
            return;
        };
        let begun_ns = now_ns();
        ring.turn(Some(20_000_000), &mut BackendCounters::default())
            .unwrap();
        let passed_ns = now_ns() - begun_ns;
        assert!(
            (20_000_000..900_000_000).contains(&passed_ns),
            "{passed_ns}"
        );
    }

    #[test]
    fn a_full_queue_submits_and_goes_on() {
        let Some(mut ring) = ring_or_skip() else {
            return;
        };
        let mut counters = BackendCounters::default();
        for number in 0..40 {
            // SAFETY: a NOP points to nothing.
            unsafe { ring.push(&opcode::Nop::new().build().user_data(number), &mut counters) };
        }
        assert!(
            counters.system_calls >= 4,
            "8 entries cannot hold 40: {counters:?}"
        );
        let mut seen = Vec::new();
        while seen.len() < 40 {
            ring.turn(Some(1_000_000_000), &mut counters).unwrap();
            seen.extend(std::iter::from_fn(|| ring.pop()).map(|entry| entry.user_data()));
        }
        assert!(seen.iter().copied().eq(0..40), "{seen:?}");
    }

    #[test]
    fn more_completions_than_the_queue_holds_are_counted_and_not_lost() {
        let Some(mut ring) = ring_or_skip() else {
            return;
        };
        let mut counters = BackendCounters::default();
        let many = u64::from(ring.granted().cq_entries) * 2;
        for number in 0..many {
            // SAFETY: a NOP points to nothing.
            unsafe { ring.push(&opcode::Nop::new().build().user_data(number), &mut counters) };
        }
        let mut seen = 0;
        while seen < many {
            ring.turn(Some(1_000_000_000), &mut counters).unwrap();
            seen += std::iter::from_fn(|| ring.pop()).count() as u64;
        }
        assert_eq!(seen, many);
        assert!(counters.completion_overflows >= 1, "{counters:?}");
    }

    #[test]
    fn without_sleep_and_without_work_there_is_no_system_call() {
        let Some(mut ring) = ring_or_skip() else {
            return;
        };
        let mut counters = BackendCounters::default();
        for _ in 0..100 {
            ring.turn(Some(0), &mut counters).unwrap();
        }
        assert_eq!(
            counters.system_calls,
            if ring.granted.taskrun_flag { 0 } else { 100 }
        );
    }

    #[test]
    fn every_rung_of_the_ladder_carries_a_receive() {
        for (rung, ring) in every_rung() {
            let mut ring = Ring::own(rung, ring, rung.flags, true);
            let mut counters = BackendCounters::default();
            let (mut writer, reader) = std::os::unix::net::UnixStream::pair().unwrap();
            let mut bytes = [0u8; 4];
            let fd = io_uring::types::Fd(std::os::fd::AsRawFd::as_raw_fd(&reader));
            let entry = opcode::Recv::new(fd, bytes.as_mut_ptr(), 4)
                .build()
                .user_data(5);
            // SAFETY: `bytes` outlives the completion, which is awaited below.
            unsafe { ring.push(&entry, &mut counters) };
            ring.turn(Some(0), &mut counters).unwrap();
            std::io::Write::write_all(&mut writer, b"ping").unwrap();
            ring.turn(Some(5_000_000_000), &mut counters).unwrap();
            let entry = ring.pop().expect(rung.flags);
            assert_eq!((entry.user_data(), entry.result(), &bytes), (5, 4, b"ping"));
        }
    }

    #[test]
    fn rings_can_be_made_and_dropped_many_times() {
        for _ in 0..50 {
            let Some(ring) = ring_or_skip() else { return };
            drop(ring);
        }
    }
}
