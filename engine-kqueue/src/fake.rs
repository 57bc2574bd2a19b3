//! A scripted selector over real sockets that behaves as a BSD kernel was seen to behave, as far
//! as reports go: the facts are those of NetBSD's kern_event.c, run as a rump kernel.
//!
//! It never sleeps. What a kernel would notice by itself, a test says with [`Fake::touch`]; then
//! edges come exactly as they come from EV_CLEAR. With [`Fake::chaos`] it does everything that a
//! kernel may legally do besides: late, repeated, surplus and stale reports, EINTR, event lists
//! shorter than the ready set, `avail` told or not.

use crate::selector::{Change, Filter, Op, Ready, Selector, room};
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// A registration.
#[derive(Debug)]
struct Knote {
    change: Change,
    /// There was activity since the last report.
    active: bool,
}

/// See the module text.
#[derive(Debug, Default)]
pub struct Fake {
    knotes: Vec<Knote>,
    /// Reports to make in the next turn, as they are.
    pub script: VecDeque<Ready>,
    /// So many of the next turns are interrupted by a signal.
    pub interruptions: u32,
    /// Length of the event list; 0 is unlimited.
    pub list_capacity: usize,
    /// All changes that were asked for.
    pub changes: Vec<Change>,
    /// Timeout of the last turn.
    pub timeout: Option<Option<Duration>>,
    /// Tokens of descriptors that were closed.
    former: Vec<u64>,
    chaos: Option<u64>,
}

impl Fake {
    /// From now on anything legal may happen, derived from `seed`.
    pub fn chaos(&mut self, seed: u64) {
        self.chaos = Some(seed | 1);
    }

    /// Something happened to the descriptor: bytes came, room came, the peer went.
    pub fn touch(&mut self, fd: RawFd) {
        for knote in self.knotes.iter_mut().filter(|knote| knote.change.fd == fd) {
            knote.active = true;
        }
    }

    /// [`Fake::touch`] for one direction only: reading makes room, writing makes bytes.
    pub fn touch_only(&mut self, fd: RawFd, filter: Filter) {
        if let Some(at) = self.find(fd, filter) {
            self.knotes[at].active = true;
        }
    }

    /// Whether the descriptor is watched for `filter`.
    pub fn watches(&self, fd: RawFd, filter: Filter) -> bool {
        self.find(fd, filter).is_some()
    }

    /// The token under which a descriptor is watched.
    pub fn token(&self, fd: RawFd) -> u64 {
        let knote = self.knotes.iter().find(|knote| knote.change.fd == fd);
        knote.expect("the descriptor is watched").change.token
    }

    fn find(&self, fd: RawFd, filter: Filter) -> Option<usize> {
        self.knotes
            .iter()
            .position(|k| k.change.fd == fd && k.change.filter == filter)
    }

    /// True in one of `n` cases, in chaos; never otherwise.
    fn chance(&mut self, n: u64) -> bool {
        let Some(state) = &mut self.chaos else {
            return false;
        };
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16).is_multiple_of(n)
    }

    fn apply(&mut self, change: Change, out: &mut Vec<Ready>) {
        let error = |errno| Ready {
            token: change.token,
            filter: change.filter,
            avail: None,
            eof: false,
            err: Some(errno),
            change_error: true,
        };
        // SAFETY: fcntl with F_GETFD takes no memory and changes nothing.
        if unsafe { libc::fcntl(change.fd, libc::F_GETFD) } < 0 {
            return out.push(error(libc::EBADF));
        }
        match (change.op, self.find(change.fd, change.filter)) {
            (Op::Add, None) => self.knotes.push(Knote {
                change,
                active: true,
            }),
            // Adding again replaces low-water mark and token, reports anew, and keeps the mode.
            (Op::Add, Some(at)) => {
                let knote = &mut self.knotes[at];
                knote.change.lowat = change.lowat;
                knote.change.token = change.token;
                knote.active = true;
            }
            (Op::Delete, Some(at)) => drop(self.knotes.remove(at)),
            (Op::Delete, None) => out.push(error(libc::ENOENT)),
        }
    }

    fn collect(&mut self, out: &mut Vec<Ready>) {
        let room = if self.list_capacity == 0 {
            usize::MAX
        } else {
            self.list_capacity
        };
        let first = out.len();
        let mut kept = Vec::new();
        for mut knote in std::mem::take(&mut self.knotes) {
            let late = self.chance(4);
            if !knote.active || late || out.len() - first >= room {
                kept.push(knote);
                continue;
            }
            // The filter is run again when a report is taken: stale activity vanishes.
            let report = report(&knote.change);
            knote.active = !knote.change.clear && report.is_some();
            if let Some(mut report) = report {
                if self.chance(3) {
                    report.avail = None;
                }
                out.push(report);
                if self.chance(6) {
                    out.push(report);
                }
                if knote.change.oneshot {
                    continue;
                }
            }
            kept.push(knote);
        }
        // Reported ones go to the tail, so a short list starves nobody.
        let turn = if kept.is_empty() {
            0
        } else {
            room.min(kept.len()) % kept.len()
        };
        kept.rotate_left(turn);
        self.knotes = kept;
    }

    /// Reports that mean nothing, but may come.
    fn surplus(&mut self, out: &mut Vec<Ready>) {
        if let Some(&token) = self.former.last()
            && self.chance(3)
        {
            let eof = self.chance(2);
            let filter = if self.chance(2) {
                Filter::Read
            } else {
                Filter::Write
            };
            out.push(Ready {
                token,
                filter,
                avail: Some(0),
                eof,
                err: None,
                change_error: false,
            });
        }
        if !self.knotes.is_empty() && self.chance(4) {
            let change = self.knotes[0].change;
            out.push(Ready {
                token: change.token,
                filter: change.filter,
                avail: Some(available(change.fd)),
                eof: false,
                err: None,
                change_error: false,
            });
        }
    }
}

impl Selector for Fake {
    const NAME: &'static str = "fake";

    fn new(_connections: u32, _batch: u32) -> io::Result<Self> {
        Ok(Self::default())
    }

    fn turn(
        &mut self,
        changes: &mut Vec<Change>,
        out: &mut Vec<Ready>,
        timeout: Option<Duration>,
    ) -> io::Result<u64> {
        self.timeout = Some(timeout);
        let (before, room) = (out.len(), room(self.list_capacity, changes.len()));
        for change in changes.drain(..) {
            self.changes.push(change);
            self.apply(change, out);
            // The kernel would answer -1 and forget the changes behind this one.
            assert!(out.len() - before <= room, "no entry left for an error");
        }
        // A change that failed ends the call: what is ready comes with the next one.
        if out.len() > before {
            return Ok(1);
        }
        if self.interruptions > 0 || self.chance(8) {
            self.interruptions = self.interruptions.saturating_sub(1);
            return Ok(1);
        }
        out.extend(self.script.drain(..));
        self.collect(out);
        self.surplus(out);
        Ok(1)
    }

    fn closing(&mut self, fd: RawFd) {
        self.former.extend(
            self.knotes
                .iter()
                .filter(|k| k.change.fd == fd)
                .map(|k| k.change.token),
        );
        self.knotes.retain(|knote| knote.change.fd != fd);
    }

    fn features(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Bytes that can be read (FIONREAD); 0 for a listener.
fn available(fd: RawFd) -> i64 {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, and `count` lives through the call.
    unsafe { libc::ioctl(fd, libc::FIONREAD, &mut count) };
    i64::from(count)
}

/// What the filter of a registration says now; `None`: nothing to report.
fn report(change: &Change) -> Option<Ready> {
    let mut poll = [crate::sys::watch(
        change.fd,
        libc::POLLIN | libc::POLLOUT | PEER_FINISHED,
    )];
    crate::sys::poll(&mut poll, Some(0));
    let has = |bits: i16| poll[0].revents & bits != 0;
    let broken = has(libc::POLLERR | libc::POLLHUP);
    let eof = broken || (change.filter == Filter::Read && has(PEER_FINISHED));
    let avail = match change.filter {
        Filter::Read => available(change.fd),
        // Free space, also of a connection that was reset.
        Filter::Write => 32_768,
    };
    let enough = match change.filter {
        // A listener is readable and has no bytes; FIN and errors beat the low-water mark.
        Filter::Read => {
            has(libc::POLLIN) && change.lowat.is_none_or(|lowat| avail >= i64::from(lowat))
        }
        Filter::Write => has(libc::POLLOUT),
    };
    (enough || eof).then_some(Ready {
        token: change.token,
        filter: change.filter,
        avail: Some(avail),
        eof,
        // With bytes that can still be read, or without; only a reset is asked of the fake.
        err: has(libc::POLLERR).then_some(libc::ECONNRESET),
        change_error: false,
    })
}

/// poll(2)'s word for FIN, where it has one.
#[cfg(target_os = "linux")]
const PEER_FINISHED: libc::c_short = libc::POLLRDHUP;
/// poll(2)'s word for FIN, where it has one.
#[cfg(not(target_os = "linux"))]
const PEER_FINISHED: libc::c_short = libc::POLLHUP;
