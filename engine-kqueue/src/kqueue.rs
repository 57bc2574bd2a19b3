//! The selector on FreeBSD, macOS, NetBSD and OpenBSD: kqueue(2). Changes ride in the call that
//! waits, so registering costs no system call of its own.
//!
//! Encoding and decoding are in [`crate::layout`] and run on Linux too; here is only the call.

use crate::layout;
use crate::selector::{Change, Ready, Selector, room};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

#[cfg(target_os = "freebsd")]
use layout::freebsd as native;
#[cfg(target_os = "macos")]
use layout::macos as native;
#[cfg(target_os = "netbsd")]
use layout::netbsd as native;
#[cfg(target_os = "openbsd")]
use layout::openbsd as native;

use native::Kevent;

/// Entries of the event list and of one part of the changelist, at most.
const EVENTS_MAX: usize = 4096;

/// How exact a wait is. NetBSD and OpenBSD count its time-out in ticks (tstohz), rounded up and one more: asked for 100 us
/// with HZ=100, NetBSD was seen to sleep for 20 ms. Never early.
const TIMER: &str = if cfg!(any(target_os = "netbsd", target_os = "openbsd")) {
    "kevent timeout, in ticks of the system (10 ms at HZ=100, and one more): an open loop is late by that, \
     unless it spins, as with spin=25ms"
} else {
    "kevent timeout (ns)"
};

/// The type in which the lengths of the lists are passed.
#[cfg(target_os = "netbsd")]
type Length = libc::size_t;
/// The type in which the lengths of the lists are passed.
#[cfg(not(target_os = "netbsd"))]
type Length = libc::c_int;

/// A kqueue.
#[derive(Debug)]
pub struct Kqueue {
    fd: OwnedFd,
    /// Encoded changes of one call.
    encoded: Vec<Kevent>,
    /// Written by the kernel. One longer than the longest changelist, so that failed changes
    /// always have room as entries and none makes the whole call fail.
    events: Box<[Kevent]>,
    /// Reports of one call at most, unless changes need room for their errors.
    batch: usize,
}

impl Selector for Kqueue {
    const NAME: &'static str = "kqueue";

    fn new(connections: u32, batch: u32) -> io::Result<Self> {
        // SAFETY: kqueue takes nothing and touches no memory.
        let raw = unsafe { libc::kqueue() };
        if raw < 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(error.kind(), format!("kqueue: {error}")));
        }
        // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // kqueue1(O_CLOEXEC) is missing on macOS and older FreeBSD.
        // SAFETY: fcntl with F_SETFD takes an integer and touches no memory.
        unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) };
        let capacity = (2 * connections as usize + 8).clamp(64, EVENTS_MAX);
        Ok(Self {
            fd,
            encoded: Vec::with_capacity(capacity),
            events: vec![Kevent::EMPTY; capacity.max(batch as usize) + 1].into_boxed_slice(),
            batch: batch as usize,
        })
    }

    fn turn(
        &mut self,
        changes: &mut Vec<Change>,
        out: &mut Vec<Ready>,
        timeout: Option<Duration>,
    ) -> io::Result<u64> {
        let mut calls = 0;
        let before = out.len();
        let mut rest = changes.as_slice();
        loop {
            let (part, later) = rest.split_at(rest.len().min(self.events.len() - 1));
            rest = later;
            // Only the last part waits, and only if no part brought anything to report.
            let last = rest.is_empty();
            let timeout = if last && out.len() == before {
                timeout
            } else {
                Some(Duration::ZERO)
            };
            calls += 1;
            self.call(part, out, timeout)?;
            if last {
                break;
            }
        }
        changes.clear();
        Ok(calls)
    }

    fn closing(&mut self, _fd: RawFd) {
        // close(2) removes the knotes, and the core drops reports of former tenants.
    }

    fn features(&self) -> Vec<(String, String)> {
        vec![("timer".into(), TIMER.into())]
    }
}

impl Kqueue {
    /// One kevent(2): applies `changes`, waits, appends the reports.
    fn call(
        &mut self,
        changes: &[Change],
        out: &mut Vec<Ready>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.encoded.clear();
        self.encoded.extend(changes.iter().map(Kevent::encode));
        let room = room(self.batch, changes.len());
        let timeout = timeout.map(|timeout| libc::timespec {
            // The systems refuse absurd seconds; a day is as good as any longer wait here,
            // because the caller looks at its deadline again.
            tv_sec: timeout.as_secs().min(86_400) as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        });
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: both lists are live and at least as long as said (a part of the changelist is
        // shorter than `events`, and so is `batch`), Kevent has the layout of libc's kevent
        // (asserted below), and `timeout` is null or points to a live timespec.
        let count = unsafe {
            libc::kevent(
                self.fd.as_raw_fd(),
                self.encoded.as_ptr().cast(),
                self.encoded.len() as Length,
                self.events.as_mut_ptr().cast(),
                room as Length,
                timeout,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            // Interrupted while waiting: the changes were applied already (kqueue(2)).
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(())
            } else {
                Err(error)
            };
        }
        out.extend(
            self.events[..count as usize]
                .iter()
                .filter_map(Kevent::decode),
        );
        Ok(())
    }
}

/// What `cargo check` for a real target proves about [`crate::layout`].
const _: () = {
    use std::mem::offset_of;
    assert!(usize::BITS == 64, "tokens travel in a pointer of 64 bits");
    assert!(size_of::<Kevent>() == size_of::<libc::kevent>());
    assert!(align_of::<Kevent>() == align_of::<libc::kevent>());
    assert!(offset_of!(Kevent, ident) == offset_of!(libc::kevent, ident));
    assert!(offset_of!(Kevent, filter) == offset_of!(libc::kevent, filter));
    assert!(offset_of!(Kevent, flags) == offset_of!(libc::kevent, flags));
    assert!(offset_of!(Kevent, fflags) == offset_of!(libc::kevent, fflags));
    assert!(offset_of!(Kevent, data) == offset_of!(libc::kevent, data));
    assert!(offset_of!(Kevent, udata) == offset_of!(libc::kevent, udata));
    assert!(native::EVFILT_READ == libc::EVFILT_READ);
    assert!(native::EVFILT_WRITE == libc::EVFILT_WRITE);
    assert!(native::EV_ADD == libc::EV_ADD);
    assert!(native::EV_DELETE == libc::EV_DELETE);
    assert!(native::EV_ONESHOT == libc::EV_ONESHOT);
    assert!(native::EV_CLEAR == libc::EV_CLEAR);
    assert!(native::EV_ERROR == libc::EV_ERROR);
    assert!(native::EV_EOF == libc::EV_EOF);
    assert!(native::NOTE_LOWAT == libc::NOTE_LOWAT);
};
