//! The selector on Linux: epoll(7).
//!
//! - A connection's read registration is made once, as an edge unless a level is asked for;
//!   EPOLLRDHUP tells of FIN.
//! - Changes are system calls here (epoll_ctl(2) has no batch), so neighbouring changes of one
//!   descriptor are merged, and a one-shot write is not taken back: as an edge, TCP raises EPOLLOUT
//!   only after a send that found no room, so the stale bit costs nothing (net/ipv4/tcp_input.c,
//!   tcp_check_space looks at SOCK_NOSPACE).
//! - A shared read is a listener's, registered with EPOLLEXCLUSIVE so that one connection does not
//!   wake every worker that shares the listener.
//! - Timeouts are in nanoseconds through epoll_pwait2(2); where that is missing, in milliseconds
//!   rounded up: late, never early.

use crate::selector::{Change, Filter, Op, Ready, Selector};
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

const READ: u8 = 1;
const WRITE: u8 = 2;
/// The registration is a level, in both directions.
const LEVEL: u8 = 4;
/// The read registration is exclusive: a listener's.
const SHARED: u8 = 8;
/// The kernel has a registration of the descriptor.
const REGISTERED: u8 = 16;

/// How the kernel is asked to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    /// epoll_pwait2 answers.
    Nanoseconds,
    /// epoll_wait only.
    Milliseconds,
}

/// An epoll instance and what it watches.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    precision: Precision,
    events: Box<[libc::epoll_event]>,
    /// By descriptor: what is watched, in the bits above.
    interests: Vec<Interest>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Interest {
    token: u64,
    bits: u8,
}

impl Selector for Epoll {
    const NAME: &'static str = "epoll";

    fn new(connections: u32, batch: u32) -> io::Result<Self> {
        // SAFETY: epoll_create1 takes an integer and touches no memory.
        let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if raw < 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(
                error.kind(),
                format!("epoll_create1: {error}"),
            ));
        }
        // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut epoll = Self {
            fd,
            precision: Precision::Nanoseconds,
            // What does not fit stays ready in the kernel, which rotates.
            events: vec![libc::epoll_event { events: 0, u64: 0 }; batch as usize]
                .into_boxed_slice(),
            // Descriptors are small numbers, handed out from the lowest free one.
            interests: vec![Interest::default(); connections as usize + 256],
        };
        // ENOSYS is an old kernel; EPERM is a container whose filter does not know the call.
        if matches!(
            epoll.wait_precisely(Duration::ZERO),
            Err(libc::ENOSYS | libc::EPERM)
        ) {
            epoll.precision = Precision::Milliseconds;
        }
        Ok(epoll)
    }

    fn turn(
        &mut self,
        changes: &mut Vec<Change>,
        out: &mut Vec<Ready>,
        timeout: Option<Duration>,
    ) -> io::Result<u64> {
        let (mut calls, mut timeout) = (1, timeout);
        if !changes.is_empty() {
            let failed_before = out.len();
            calls += self.apply(changes, out);
            changes.clear();
            if out.len() > failed_before {
                // A failed change is something to report, so do not sleep on it.
                timeout = Some(Duration::ZERO);
            }
        }
        match self.wait(timeout) {
            Ok(count) => self.decode(count, out),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
        }
        Ok(calls)
    }

    fn closing(&mut self, fd: RawFd) {
        if let Some(interest) = self.interests.get_mut(fd as usize) {
            *interest = Interest::default();
        }
    }

    fn features(&self) -> Vec<(String, String)> {
        let timer = match self.precision {
            Precision::Nanoseconds => "epoll_pwait2 (ns)",
            Precision::Milliseconds => "epoll_wait (ms, rounded up)",
        };
        vec![("timer".into(), timer.into())]
    }
}

impl Epoll {
    /// Applies the changes, neighbours of one descriptor in one call; returns the system calls.
    fn apply(&mut self, changes: &[Change], out: &mut Vec<Ready>) -> u64 {
        let mut calls = 0;
        let mut at = 0;
        while at < changes.len() {
            let first = changes[at];
            let before = self.interest(first.fd);
            let mut after = before;
            while at < changes.len() && changes[at].fd == first.fd {
                after = changed(after, &changes[at]);
                at += 1;
            }
            let answer = self.control(first.fd, before, after, &mut calls);
            match answer {
                Ok(bits) => self.interests[first.fd as usize] = Interest { bits, ..after },
                // What is to be removed is gone already.
                Err(libc::ENOENT | libc::EBADF) if after.bits & (READ | WRITE) == 0 => {}
                Err(errno) => out.push(Ready {
                    token: first.token,
                    filter: first.filter,
                    avail: None,
                    eof: false,
                    err: Some(errno),
                    change_error: true,
                }),
            }
        }
        calls
    }

    /// The entry of a descriptor. Grows while descriptors get larger, so not after warm-up.
    fn interest(&mut self, fd: RawFd) -> Interest {
        let index = fd as usize;
        if index >= self.interests.len() {
            self.interests
                .resize((index + 1).next_power_of_two(), Interest::default());
        }
        self.interests[index]
    }

    /// Makes the kernel watch `after` instead of `before`; returns the bits that hold then.
    fn control(
        &self,
        fd: RawFd,
        before: Interest,
        after: Interest,
        calls: &mut u64,
    ) -> Result<u8, i32> {
        let registered = before.bits & REGISTERED != 0;
        let wanted = after.bits & (READ | WRITE) != 0;
        match (registered, wanted) {
            (false, false) => Ok(0),
            (false, true) => self.call(libc::EPOLL_CTL_ADD, fd, after, calls),
            (true, false) => self.call(libc::EPOLL_CTL_DEL, fd, after, calls).map(|_| 0),
            (true, true) if is_exclusive(before) || is_exclusive(after) => {
                // An exclusive entry cannot be modified (epoll_ctl(2): EINVAL). A delete and an
                // add of the same in one turn need no call at all.
                if mask(before.bits) == mask(after.bits) && before.token == after.token {
                    return Ok(after.bits | REGISTERED);
                }
                self.call(libc::EPOLL_CTL_DEL, fd, after, calls)?;
                self.call(libc::EPOLL_CTL_ADD, fd, after, calls)
            }
            (true, true) => self.call(libc::EPOLL_CTL_MOD, fd, after, calls),
        }
    }

    fn call(&self, op: i32, fd: RawFd, after: Interest, calls: &mut u64) -> Result<u8, i32> {
        *calls += 1;
        let mut event = libc::epoll_event {
            events: mask(after.bits),
            u64: after.token,
        };
        // SAFETY: `event` is a valid epoll_event for the duration of the call.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd, &mut event) } {
            0 => Ok(after.bits | REGISTERED),
            _ => Err(sys::errno()),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, i32> {
        match timeout {
            None => self.wait_milliseconds(-1),
            Some(Duration::ZERO) => self.wait_milliseconds(0),
            Some(timeout) if self.precision == Precision::Nanoseconds => {
                self.wait_precisely(timeout)
            }
            Some(timeout) => {
                let rounded_up = timeout.as_nanos().div_ceil(1_000_000);
                self.wait_milliseconds(rounded_up.min(i32::MAX as u128) as i32)
            }
        }
    }

    fn wait_milliseconds(&mut self, timeout_ms: i32) -> Result<usize, i32> {
        let (events, len) = (self.events.as_mut_ptr(), self.events.len() as i32);
        let (epoll, no_mask) = (self.fd.as_raw_fd(), std::ptr::null::<libc::sigset_t>());
        // Past libc, whose wrapper is a cancellation point (see `sys::recv`).
        // SAFETY: `events` has room for `len` entries, and the null signal mask is allowed.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait,
                epoll,
                events,
                len,
                timeout_ms,
                no_mask,
                0usize,
            )
        };
        if count < 0 {
            Err(sys::errno())
        } else {
            Ok(count as usize)
        }
    }

    /// epoll_pwait2(2) by number: the symbol exists only in glibc 2.35 and later.
    fn wait_precisely(&mut self, timeout: Duration) -> Result<usize, i32> {
        /// `struct __kernel_timespec`: 64-bit fields on every architecture.
        #[repr(C)]
        struct KernelTimespec {
            seconds: i64,
            nanoseconds: i64,
        }
        let timeout = KernelTimespec {
            seconds: timeout.as_secs().min(i64::MAX as u64) as i64,
            nanoseconds: i64::from(timeout.subsec_nanos()),
        };
        // SAFETY: `events` has room for `len` entries, `timeout` lives through the call, and the
        // null signal mask is allowed.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if count < 0 {
            Err(sys::errno())
        } else {
            Ok(count as usize)
        }
    }

    fn decode(&mut self, count: usize, out: &mut Vec<Ready>) {
        for event in &self.events[..count] {
            let (flags, token) = (event.events, event.u64);
            let has = |bits: i32| flags & bits as u32 != 0;
            let eof = has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR);
            let ready = |filter, avail| Ready {
                token,
                filter,
                avail,
                eof,
                err: None,
                change_error: false,
            };
            if eof || has(libc::EPOLLIN | libc::EPOLLPRI) {
                // Urgent data ends a receive early, so a short one does not mean drained.
                let avail = has(libc::EPOLLPRI).then_some(i64::MAX);
                out.push(ready(Filter::Read, avail));
            }
            // Errors and hang-ups end a blocked send or a connect as well. Whether a write is
            // awaited at all is known to the reader of the report.
            if has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) {
                out.push(ready(Filter::Write, None));
            }
        }
    }
}

/// `interest` after `change`.
fn changed(interest: Interest, change: &Change) -> Interest {
    let mut bits = interest.bits;
    if change.op == Op::Add {
        // One trigger for both directions; the core asks for the same.
        bits = if change.clear {
            bits & !LEVEL
        } else {
            bits | LEVEL
        };
    }
    match (change.op, change.filter) {
        (Op::Add, Filter::Read) => bits |= if change.shared { READ | SHARED } else { READ },
        (Op::Add, Filter::Write) => bits |= WRITE,
        (Op::Delete, Filter::Read) => bits &= !(READ | SHARED),
        (Op::Delete, Filter::Write) => bits &= !WRITE,
    }
    Interest {
        token: change.token,
        bits,
    }
}

/// Whether the kernel's entry for this interest is an exclusive one.
fn is_exclusive(interest: Interest) -> bool {
    interest.bits & SHARED != 0
}

/// The epoll mask of what is watched.
fn mask(bits: u8) -> u32 {
    if bits & SHARED != 0 {
        // EPOLLEXCLUSIVE permits hardly any other flag (epoll_ctl(2)).
        return (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32;
    }
    let read = if bits & READ != 0 {
        libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP
    } else {
        0
    };
    let write = if bits & WRITE != 0 { libc::EPOLLOUT } else { 0 };
    let edge = if bits & LEVEL != 0 { 0 } else { libc::EPOLLET };
    (edge | read | write) as u32
}
