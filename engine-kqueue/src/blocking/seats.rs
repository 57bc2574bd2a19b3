//! The sockets of blocking threads, reachable for the thread that has to stop them.

use crate::sys;
use engine::session::How;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Holds one thread's socket, so that another thread can shut it down and never one that was
/// closed and whose number belongs to somebody else by now.
#[derive(Debug, Default)]
pub struct Seat {
    socket: Mutex<Option<OwnedFd>>,
    /// The thread waits without owing or being owed anything.
    pub resting: AtomicBool,
}

impl Seat {
    /// Takes a socket in; returns its number, valid until [`Seat::close`]. Its thread may wait on it with
    /// [`sys::receive`], whatever this system can.
    pub fn put(&self, socket: OwnedFd) -> RawFd {
        let fd = socket.as_raw_fd();
        if sys::THREADS_POLL {
            sys::set_nonblocking(fd);
        }
        *self.lock() = Some(socket);
        fd
    }

    /// Closes the socket. Returns the number of system calls.
    pub fn close(&self, how: How) -> u64 {
        let socket = self.leave();
        socket.map_or(0, |socket| sys::close(socket, how))
    }

    /// Gives the socket up unclosed.
    pub fn leave(&self) -> Option<OwnedFd> {
        self.lock().take()
    }

    /// Wakes the thread out of whatever it waits for on its socket. False if it has none.
    pub fn shut(&self) -> bool {
        let socket = self.lock();
        let socket = socket.as_ref();
        socket.is_some_and(|socket| {
            sys::shutdown_both(socket.as_raw_fd());
            true
        })
    }

    /// Asks something of the socket, if it is open.
    pub fn ask<T>(&self, question: impl FnOnce(RawFd) -> Option<T>) -> Option<T> {
        question(self.lock().as_ref()?.as_raw_fd())
    }

    /// [`Seat::shut`], if the thread is resting.
    pub fn shut_if_resting(&self) {
        if self.resting.load(Ordering::SeqCst) {
            self.shut();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
