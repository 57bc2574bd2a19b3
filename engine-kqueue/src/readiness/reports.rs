//! What the reports of a selector mean.

use super::tokens::{KIND_CONNECTION, KIND_LISTENER, KIND_WAKE};
use super::{ACCEPT_BUDGET, Readiness};
use crate::selector::{Filter, Ready, Selector};
use crate::sys;
use engine::proactor::{ConnectionId, Event, Token};

impl<S: Selector> Readiness<S> {
    /// Acts on one report of the selector.
    #[inline]
    pub(super) fn report(&mut self, report: Ready) -> Option<Event> {
        let token = Token(report.token);
        match token.kind() {
            KIND_CONNECTION => {
                let id = token.id();
                match self.connections.get(id.index as usize) {
                    Some(connection) if connection.is(id) => {}
                    // A report of a former tenant of the index.
                    _ => return None,
                }
                if report.change_error {
                    return self.change_failed(id, report);
                }
                match report.filter {
                    Filter::Read => {
                        self.reported_readable(id, report);
                        None
                    }
                    Filter::Write => self.reported_writable(id, report.err),
                }
            }
            KIND_LISTENER if report.filter == Filter::Read => self.reported_listener(report),
            KIND_WAKE if report.filter == Filter::Read => self.reported_wake(report),
            _ => None,
        }
    }

    #[inline]
    fn reported_readable(&mut self, id: ConnectionId, report: Ready) {
        let connection = self.connection(id);
        connection.readable = true;
        connection.eof |= report.eof;
        connection.avail = report.avail;
        self.enqueue(id.index);
    }

    fn reported_writable(&mut self, id: ConnectionId, err: Option<i32>) -> Option<Event> {
        let level = self.options.level;
        let connection = self.connection(id);
        if connection.connecting {
            connection.connecting = false;
            connection.write_wanted = false;
            // As a one-shot the registration is gone by itself.
            connection.write_armed &= level;
            self.mark(id.index);
            self.counters.system_calls += 1;
            // kqueue tells the error with the report, and SO_ERROR may have been taken with that.
            let told = err.map_or(Ok(()), Err);
            let asked = sys::take_error(self.descriptor_at(id.index));
            return Some(Event::Connected(id, asked.and(told)));
        }
        let index = connection.blocked?;
        match self.push_blocked(id, index) {
            Some(result) => {
                self.end_blocked(id);
                Some(Event::Sent(id, result))
            }
            None => None,
        }
    }

    /// Goes on with a blocked send; `None` while it stays blocked.
    fn push_blocked(&mut self, id: ConnectionId, index: u32) -> Option<Result<usize, i32>> {
        let fd = self.descriptor_at(id.index);
        let blocked = self.blocked.get(index);
        self.counters.system_calls += 1;
        // SAFETY: the caller of `Proactor::send` keeps the pieces valid until Event::Sent or
        // Event::Closed, and the entry is dropped before either is delivered.
        match unsafe { sys::send(fd, blocked.remaining(), true) } {
            Ok(taken) => {
                blocked.advance(taken);
                if blocked.is_done() {
                    return Some(Ok(blocked.total));
                }
                // The buffer is full again, and room that appears from now on is a new edge.
                self.counters.short_sends += u64::from(!blocked.short && taken > 0);
                blocked.short |= taken > 0;
                None
            }
            Err(errno) if sys::would_block(errno) => None,
            Err(errno) => Some(Err(errno)),
        }
    }

    fn end_blocked(&mut self, id: ConnectionId) {
        let connection = self.connection(id);
        connection.write_wanted = false;
        if let Some(index) = connection.blocked.take() {
            self.blocked.remove(index);
        }
        self.mark(id.index);
    }

    /// A change for a connection was refused by the kernel.
    fn change_failed(&mut self, id: ConnectionId, report: Ready) -> Option<Event> {
        let errno = report.err.unwrap_or(libc::EIO);
        let connection = self.connection(id);
        if connection.connecting {
            connection.connecting = false;
            connection.write_armed = false;
            connection.write_wanted = false;
            return Some(Event::Connected(id, Err(errno)));
        }
        match report.filter {
            Filter::Read if connection.receiving => {
                connection.receiving = false;
                Some(Event::ReceiveFailed(id, errno))
            }
            Filter::Write if connection.blocked.is_some() => {
                connection.write_armed = false;
                self.end_blocked(id);
                Some(Event::Sent(id, Err(errno)))
            }
            // A delete of what is gone.
            _ => None,
        }
    }

    fn reported_wake(&mut self, report: Ready) -> Option<Event> {
        if report.change_error {
            self.broken = report.err.or(Some(libc::EIO));
            return None;
        }
        self.counters.system_calls += sys::read_empty(self.wake_fd);
        Some(Event::Woken)
    }

    fn reported_listener(&mut self, report: Ready) -> Option<Event> {
        self.accepting.listener?;
        if report.change_error {
            self.accepting.listener = None;
            return Some(Event::AcceptFailed(report.err.unwrap_or(libc::EIO)));
        }
        let accepting = &mut self.accepting;
        let batch = accepting.begin_batch(self.turn);
        accepting.left = match report.avail {
            Some(waiting) => waiting.clamp(1, i64::from(ACCEPT_BUDGET)) as u32,
            None => batch,
        };
        None
    }
}
