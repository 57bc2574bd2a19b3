//! The few system calls that neither runtime offers.

use engine::clock::now_ns;
use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A timer on CLOCK_MONOTONIC that makes a descriptor readable (timerfd_create(2)). The runtimes'
/// own timers count in milliseconds.
#[derive(Debug)]
pub struct Alarm {
    fd: OwnedFd,
    /// What it is set to, ns; `None`: it is off.
    at_ns: Cell<Option<u64>>,
}

impl Alarm {
    /// One that is off.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: takes integers only.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: a new descriptor that nobody else owns.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            at_ns: Cell::new(None),
        })
    }

    /// Sets it to a monotonic instant (a past one makes it go off at once), or off. One system
    /// call, and none if nothing changes.
    pub fn set(&self, at_ns: Option<u64>) {
        let at_ns = at_ns.filter(|&at| at != u64::MAX);
        if self.at_ns.replace(at_ns) == at_ns {
            return;
        }
        // All zeros switch it off (timerfd_settime(2)), so the instant 0 becomes 1 ns.
        let at_ns = at_ns.map_or(0, |at| at.max(1));
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = libc::itimerspec {
            it_interval: zero,
            it_value: libc::timespec {
                tv_sec: (at_ns / 1_000_000_000) as libc::time_t,
                tv_nsec: (at_ns % 1_000_000_000) as libc::c_long,
            },
        };
        // SAFETY: `setting` lives during the call, and no old setting is asked for.
        let answer = unsafe {
            libc::timerfd_settime(
                self.fd.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &setting,
                std::ptr::null_mut(),
            )
        };
        debug_assert_eq!(answer, 0, "a valid instant on a valid timer");
    }

    /// After it went off: reads it empty.
    pub fn clear(&self) {
        if self.at_ns.get().is_some_and(|at| at <= now_ns()) {
            self.at_ns.set(None);
        }
        let mut expirations = [0u8; 8];
        // SAFETY: the kernel writes at most eight bytes to an array of eight.
        unsafe {
            libc::read(
                self.fd.as_raw_fd(),
                expirations.as_mut_ptr().cast(),
                expirations.len(),
            );
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Borrows the descriptor of an open connection.
///
/// The callers' table says which descriptors are open: it forgets one before it is closed.
pub fn borrowed(fd: &RawFd) -> BorrowedFd<'_> {
    assert!(*fd >= 0, "an open descriptor");
    // SAFETY: not negative, and open for as long as the table that it is borrowed from has it.
    unsafe { BorrowedFd::borrow_raw(*fd) }
}

/// Half-closes, or makes pending operations return. Errors mean that the connection is gone.
pub fn shutdown(fd: RawFd, how: Shutdown) {
    let _ = socket2::SockRef::from(&borrowed(&fd)).shutdown(how);
}
