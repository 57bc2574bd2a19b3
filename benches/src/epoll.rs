//! The three system calls of epoll, made safe, and nothing more: the loops are in `floor/epoll.rs`.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const BATCH: usize = 512;

/// Interest for a socket that stays registered once and for ever, edge-triggered.
pub const EDGE: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;
/// Interest for a listener or a pipe, level-triggered.
pub const LEVEL: i32 = libc::EPOLLIN;

const ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// An epoll descriptor and room for one batch of its events.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// One event: the token of the registration, and whether the peer has finished or failed.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// What was given to [`Epoll::add`].
    pub token: u64,
    /// The peer's FIN, a reset or an error is there to be read.
    pub ended: bool,
}

impl Epoll {
    /// A new descriptor; fails as `epoll_create1` does.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just created and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; BATCH];
        Ok(Self { fd, events })
    }

    /// Registers `fd`; closing it ends the registration.
    pub fn add(&self, fd: RawFd, interest: i32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: token,
        };
        let (epoll, add) = (self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD);
        // SAFETY: `event` outlives the call, which copies it.
        checked(unsafe { libc::epoll_ctl(epoll, add, fd, &mut event) }).map(drop)
    }

    /// Waits without limit; returns how many events [`Epoll::event`] now holds (0 after a signal).
    #[inline]
    pub fn wait(&mut self) -> io::Result<usize> {
        let (epoll, list) = (self.fd.as_raw_fd(), self.events.as_mut_ptr());
        // SAFETY: `list` has room for BATCH events.
        match checked(unsafe { libc::epoll_wait(epoll, list, BATCH as i32, -1) }) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            other => other.map(|count| count as usize),
        }
    }

    /// Event `index` of the last batch.
    #[inline]
    pub fn event(&self, index: usize) -> Event {
        let event = self.events[index];
        Event {
            token: event.u64,
            ended: event.events & ENDED != 0,
        }
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
