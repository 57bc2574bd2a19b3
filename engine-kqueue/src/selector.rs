//! The seam between the readiness core and a kernel: shaped like kevent(2), because a changelist
//! and an event list in one call is the widest of the readiness interfaces. epoll fits into it.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Which readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Bytes, a connection, FIN or an error can be taken.
    Read,
    /// Bytes can be given, or a connect has ended.
    Write,
}

/// What to do with a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Registers.
    Add,
    /// Removes.
    Delete,
}

/// One change of what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The descriptor.
    pub fd: RawFd,
    /// Which readiness of it.
    pub filter: Filter,
    /// Add or delete. The further fields matter only for adding.
    pub op: Op,
    /// Report on new activity only (an edge); else as long as it is ready (a level).
    pub clear: bool,
    /// Other threads watch the same descriptor, and one of them is enough: a listener's.
    pub shared: bool,
    /// Report once and forget the registration. A selector may report surplus readiness later;
    /// the reader of the reports ignores what it does not wait for.
    pub oneshot: bool,
    /// Report only from this many bytes on, where the system can (kqueue's NOTE_LOWAT).
    pub lowat: Option<u32>,
    /// Comes back in [`Ready::token`]. The same for both filters of one descriptor.
    pub token: u64,
}

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The token of the registration.
    pub token: u64,
    /// Which readiness.
    pub filter: Filter,
    /// Bytes readable, connections to accept, or bytes of free space, where the system tells.
    pub avail: Option<i64>,
    /// The peer finished, or the connection broke. Bytes may still be readable before that.
    pub eof: bool,
    /// The connection's error, or the reason why a change failed.
    pub err: Option<i32>,
    /// This answers a change that failed, and `err` says why.
    pub change_error: bool,
}

/// Length of the event list for a call of kevent(2) with so many changes that may bring `batch` reports. Each
/// change that fails needs an entry: with fewer the call answers -1, and the changes behind the failed one are lost.
#[cfg(any(test, not(target_os = "linux")))]
pub fn room(batch: usize, changes: usize) -> usize {
    batch.max(changes + 1)
}

/// A kernel's readiness interface, used by one thread.
pub trait Selector: Sized {
    /// The name that users see.
    const NAME: &'static str;

    /// Creates it for about `connections` descriptors. A turn makes `batch` reports at most, which
    /// is at least 1; what does not fit stays ready in the kernel.
    ///
    /// # Errors
    /// What the system refused, with the attempt named in the text.
    fn new(connections: u32, batch: u32) -> io::Result<Self>;

    /// Applies all `changes` and empties the list; then waits until something is ready or
    /// `timeout` has passed (`None`: no limit) and appends the reports to `out`. A change that
    /// fails becomes a [`Ready`] with `change_error`. EINTR is an empty answer. Never returns
    /// before the timeout without a report, EINTR excepted. Returns the number of system calls.
    ///
    /// # Errors
    /// Only what makes the selector unusable.
    fn turn(
        &mut self,
        changes: &mut Vec<Change>,
        out: &mut Vec<Ready>,
        timeout: Option<Duration>,
    ) -> io::Result<u64>;

    /// `fd` is about to be closed, and the kernel forgets its registrations with it. That holds
    /// for kqueue whatever copies there are (a knote belongs to the descriptor's number: NetBSD was seen to
    /// remove it although a dup(2) was open), and for epoll because descriptors are never duplicated here:
    /// after dup(2) or a fork it keeps a registration until the last copy is closed (epoll(7)).
    fn closing(&mut self, fd: RawFd);

    /// What was granted, name and value.
    fn features(&self) -> Vec<(String, String)>;
}
