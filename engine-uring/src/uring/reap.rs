//! Turns completions into events.
//!
//! Every completion is judged by its token: who, which operation, which tenant of the index. One
//! completion makes at most one event.

use super::buffers::Buffers;
use super::connection::{Arm, Connecting, Connection, State};
use super::{UringProactor, submit};
use engine::proactor::{ConnectionId, Event, Token};
use io_uring::cqueue;
use std::os::fd::{FromRawFd, OwnedFd};

/// In the result of a notification: the kernel copied after all (IORING_NOTIF_USAGE_ZC_COPIED).
const NOTIF_COPIED: i32 = 1 << 31;

/// A cancellation that finds nothing is repeated this often. It can miss an operation that is
/// being worked on at that very moment; that one completes by itself soon.
const CANCELS_MISSED_MAX: u8 = 16;

impl UringProactor {
    /// The next event that a completion makes.
    #[inline]
    pub(super) fn next_completed(&mut self) -> Option<Event> {
        while let Some(entry) = self.ring.pop() {
            let event = self.reap(entry.user_data(), entry.result(), entry.flags());
            if event.is_some() {
                return event;
            }
        }
        None
    }

    #[inline]
    pub(super) fn reap(&mut self, user_data: u64, result: i32, flags: u32) -> Option<Event> {
        let token = Token(user_data);
        let more = cqueue::more(flags);
        let kind = token.kind();
        self.in_flight -= u64::from(!more && kind < submit::CANCEL);
        match kind {
            submit::RECEIVE => self.reap_receive(token.id(), result, flags),
            submit::SEND => self.reap_send(token.id(), result),
            submit::SEND_ZC => self.reap_send_zc(token.id(), result, flags),
            submit::SEND_ZC_LASTING => self.reap_send_zc_lasting(token.id(), result, flags),
            submit::UNCONFIRMED => self.reap_unconfirmed(token.id(), result),
            submit::FAREWELL | submit::FAREWELL_REST => {
                self.reap_farewell(token.id().index, result)
            }
            submit::ACCEPT => self.reap_accept(result, more),
            submit::CONNECT => self.reap_connect(token.id(), result),
            submit::CONNECT_DELAY => self.reap_connect_delay(token.id()),
            submit::CLOSE => self.reap_close(token.id()),
            submit::CANCEL => self.reap_cancel_missed(token.id()),
            submit::CANCEL_ACCEPT => self.reap_accept_cancel_missed(),
            submit::WAKE => self.reap_wake(result, more),
            _ => None,
        }
    }

    /// The tenant that a token names, if it is still there.
    #[inline]
    fn tenant(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.index as usize)?;
        (connection.state != State::Free && connection.generation == id.generation)
            .then_some(connection)
    }

    #[inline]
    fn reap_receive(&mut self, id: ConnectionId, result: i32, flags: u32) -> Option<Event> {
        let more = cqueue::more(flags);
        let buffer = cqueue::buffer_select(flags);
        let is_open = self
            .tenant(id)
            .is_some_and(|connection| connection.state == State::Open);
        if is_open && result > 0 {
            let lease = match (&mut self.buffers, buffer) {
                (Buffers::Group(group), Some(buffer)) => Some(group.lease(buffer, result as u32)),
                (Buffers::Own(own), _) => Some(own.lease(id.index, result as u32)),
                (Buffers::Group(_), None) => None,
            };
            if let Some(lease) = lease {
                let connection = &mut self.connections[id.index as usize];
                if matches!(self.buffers, Buffers::Own(_)) {
                    // Giving the bytes back arms again.
                    connection.receiving = Arm::Off;
                    connection.more_waits = cqueue::sock_nonempty(flags);
                } else if !more {
                    connection.receiving = Arm::Off;
                    connection.more_waits = cqueue::sock_nonempty(flags);
                    self.rearm = Some(id);
                }
                return Some(Event::Received(id, lease));
            }
        }
        if let (Buffers::Group(group), Some(buffer)) = (&mut self.buffers, buffer) {
            // A buffer can come with an error, with the end, or for a connection that is closing.
            group.recycle(buffer);
        }
        if more {
            return None;
        }
        if !is_open {
            self.tenant(id)?.receiving = Arm::Ended;
            return self.settle(id);
        }
        self.reap_receive_end(id, result)
    }

    /// The last completion of a receive, without bytes.
    fn reap_receive_end(&mut self, id: ConnectionId, result: i32) -> Option<Event> {
        match -result {
            libc::ENOBUFS => {
                self.counters.no_buffers += 1;
                if self.tenant(id)?.wants_bytes {
                    self.park(id);
                } else {
                    self.tenant(id)?.receiving = Arm::Off;
                }
                None
            }
            // Our pause, or a signal.
            libc::ECANCELED | libc::EINTR => {
                self.receive_ended(id);
                None
            }
            0 => {
                self.tenant(id)?.receiving = Arm::Ended;
                Some(Event::Finished(id))
            }
            error => {
                self.tenant(id)?.receiving = Arm::Ended;
                // Bytes without a buffer cannot be: report rather than lose them silently.
                Some(Event::ReceiveFailed(
                    id,
                    if error > 0 { error } else { libc::EIO },
                ))
            }
        }
    }

    /// A multishot receive ended without having reached the end of the stream.
    fn receive_ended(&mut self, id: ConnectionId) {
        let Some(connection) = self.tenant(id) else {
            return;
        };
        connection.receiving = Arm::Off;
        if connection.wants_bytes {
            self.counters.rearms += 1;
            self.arm_receive(id, false);
        }
    }

    /// A zero-copy send completes twice: with what it sent, and, marked as a notification, when
    /// the kernel has let go of the memory. The first without F_MORE has no second.
    fn reap_send_zc(&mut self, id: ConnectionId, result: i32, flags: u32) -> Option<Event> {
        self.count_zero_copy(result, flags);
        if cqueue::notif(flags) {
            let answer = self.tenant(id)?.unreleased.take()?;
            return self.reap_send(id, answer);
        }
        if cqueue::more(flags) {
            self.tenant(id)?.unreleased = Some(result);
            return None;
        }
        self.reap_send(id, result)
    }

    /// Likewise, but nobody waits for the memory: the send is over with the first completion.
    fn reap_send_zc_lasting(&mut self, id: ConnectionId, result: i32, flags: u32) -> Option<Event> {
        self.count_zero_copy(result, flags);
        if cqueue::notif(flags) {
            return None;
        }
        self.reap_send(id, result)
    }

    fn count_zero_copy(&mut self, result: i32, flags: u32) {
        if cqueue::notif(flags) {
            self.counters.zero_copy_sends += 1;
            self.counters.zero_copy_copied += u64::from(result & NOTIF_COPIED != 0);
        }
    }

    #[inline]
    fn reap_send(&mut self, id: ConnectionId, result: i32) -> Option<Event> {
        let connection = self.tenant(id)?;
        if connection.state == State::Closing {
            self.end_send(id);
            return self.settle(id);
        }
        let total = connection.send_total();
        let outcome = match result {
            1.. if connection.advance_send(result as usize) => Ok(total),
            1.. => {
                let is_short = (result as usize) < connection.send_part;
                let gather = connection.gather;
                self.counters.short_sends += u64::from(is_short);
                if let Some(number) = gather {
                    self.gathers.get_mut(number).advance(result as usize);
                }
                self.submit_send(id);
                return None;
            }
            0 => Err(libc::EIO), // the kernel never takes nothing of something
            error if -error == libc::EINTR => {
                self.submit_send(id);
                return None;
            }
            error => Err(-error),
        };
        let silent = connection.sends_silently && outcome.is_ok();
        self.end_send(id);
        (!silent).then_some(Event::Sent(id, outcome))
    }

    /// An unconfirmed or a lazy send failed, or the socket took only a part of it at once: the rest
    /// follows as an ordinary send, of which, unless it was lazy, only a failure is reported.
    fn reap_unconfirmed(&mut self, id: ConnectionId, result: i32) -> Option<Event> {
        let connection = self.tenant(id)?;
        if connection.state == State::Closing {
            return None;
        }
        if result < 0 && !matches!(-result, libc::EAGAIN | libc::EINTR) {
            if std::mem::take(&mut connection.lazy) {
                self.end_send(id);
            }
            return Some(Event::Sent(id, Err(-result)));
        }
        if !connection.advance_send(result.max(0) as usize) {
            connection.sends_silently = !std::mem::take(&mut connection.lazy);
            connection.sending = true;
            self.counters.short_sends += 1;
            self.submit_send(id);
        }
        None
    }

    #[inline]
    pub(super) fn end_send(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.index as usize];
        connection.sending = false;
        connection.sends_silently = false;
        connection.lasting = false;
        if let Some(number) = connection.gather.take() {
            self.gathers.put(number);
        }
    }

    fn reap_accept(&mut self, result: i32, more: bool) -> Option<Event> {
        if !more {
            self.acceptor.arm = Arm::Off;
        }
        // Ended though it is wanted: with a connection in hand (an overflow ends multishots), by
        // an accept_stop that was taken back, or by one connection's own failure (accept(2)).
        let harmless = matches!(
            -result,
            libc::ECANCELED | libc::EINTR | libc::ECONNABORTED | libc::EPROTO
        );
        let wanted = self.acceptor.wanted;
        if !more && wanted && (result >= 0 || harmless) {
            self.counters.rearms += 1;
            self.submit_accept();
        }
        if result >= 0 {
            // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
            return Some(Event::Accepted(unsafe { OwnedFd::from_raw_fd(result) }));
        }
        if !wanted || harmless {
            return None;
        }
        self.acceptor.wanted = false;
        Some(Event::AcceptFailed(-result))
    }

    fn reap_connect(&mut self, id: ConnectionId, result: i32) -> Option<Event> {
        let connection = self.tenant(id)?;
        let result = if result == 0 {
            connection.connect_answer
        } else {
            result
        };
        if -result == libc::EAGAIN && connection.state == State::Open {
            // A Unix listener's backlog is full. Would-block stays here: again in a moment.
            self.delay_connect(id);
            return None;
        }
        let is_open = connection.state == State::Open;
        self.end_connect(id);
        if !is_open {
            return self.settle(id);
        }
        Some(Event::Connected(
            id,
            if result < 0 { Err(-result) } else { Ok(()) },
        ))
    }

    fn reap_connect_delay(&mut self, id: ConnectionId) -> Option<Event> {
        if self.tenant(id)?.state == State::Open {
            self.submit_connect(id);
            return None;
        }
        self.end_connect(id);
        self.settle(id)
    }

    fn end_connect(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.index as usize];
        connection.connecting = Connecting::No;
        if let Some(number) = connection.address.take() {
            self.addresses.put(number);
        }
    }

    /// The descriptor is gone whatever the answer was: close(2) frees it even when it fails.
    fn reap_close(&mut self, id: ConnectionId) -> Option<Event> {
        self.tenant(id)?.closing_in_kernel = false;
        self.settle(id)
    }

    /// Frees a closing connection once the kernel has let go of all of it.
    fn settle(&mut self, id: ConnectionId) -> Option<Event> {
        let connection = self.tenant(id)?;
        if connection.state != State::Closing || !connection.is_quiet() {
            return None;
        }
        connection.vacate();
        Some(Event::Closed(id))
    }

    /// A cancellation found nothing. What it was for is over by now, or is asked again.
    fn reap_cancel_missed(&mut self, id: ConnectionId) -> Option<Event> {
        let connection = self.tenant(id)?;
        if connection.cancels_missed >= CANCELS_MISSED_MAX {
            return None;
        }
        connection.cancels_missed += 1;
        let is_closing = connection.state == State::Closing;
        if connection.receiving == Arm::Cancelling {
            connection.receiving = Arm::Armed;
            if !connection.wants_bytes && !is_closing {
                connection.receiving = Arm::Cancelling;
                self.submit_cancel(id, submit::RECEIVE);
            }
        }
        if is_closing {
            self.cancel_all(id);
        }
        None
    }

    fn reap_accept_cancel_missed(&mut self) -> Option<Event> {
        let acceptor = &mut self.acceptor;
        if acceptor.arm == Arm::Cancelling && acceptor.wanted {
            acceptor.arm = Arm::Armed;
        } else if acceptor.arm == Arm::Cancelling && acceptor.cancels_missed < CANCELS_MISSED_MAX {
            acceptor.cancels_missed += 1;
            self.submit_accept_cancel();
        }
        None
    }

    fn reap_wake(&mut self, result: i32, more: bool) -> Option<Event> {
        if result < 0 {
            return None; // only when everything is cancelled, by `drain`
        }
        let mut sink = [0u8; 64];
        let mut last = sink.len() as isize;
        // A short answer means empty; reading once more could block on a blocking pipe.
        while last == sink.len() as isize {
            // SAFETY: `sink` is writable for its whole length.
            last = unsafe { libc::read(self.wake_fd, sink.as_mut_ptr().cast(), sink.len()) };
        }
        // At the end of the file nobody can wake us any more, and a poll would fire for ever.
        // Nor when everything is being cancelled: this poll would come too late for that.
        if !more && last != 0 && !self.draining {
            self.counters.rearms += 1;
            self.submit_wake_poll();
        }
        Some(Event::Woken)
    }
}
