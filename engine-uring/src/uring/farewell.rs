//! The last send of a connection and its close, in one submission and without a completion:
//! [`engine::proactor::Proactor::send_and_close`].
//!
//! Who answers once and closes would wait for the answer's completion only to queue the close. Here both
//! are queued linked: the kernel tries the send while it takes the entries, as an unconfirmed one
//! (`submit::submit_unconfirmed`), and closes if it took everything. All of that is silent, and the
//! call goes on to wait for the next connection. What the socket did not take completes, and breaks
//! the link: then the rest follows as an ordinary send, and the close behind it.
//!
//! The connection's place is free at once; what is still to be done is remembered here, until a call has
//! taken the entries and all completions of its turn were looked at: silence then means success.

use super::UringProactor;
use super::farewell_state::Farewell;
use super::submit::{FAREWELL, FAREWELL_REST, SEND_FLAGS, silent_close};
use engine::proactor::{ConnectionId, Event, Piece, Token};
use io_uring::types::Fd;
use io_uring::{opcode, squeue};

impl UringProactor {
    /// Queues the last bytes of a connection and its close, if both may go in silence.
    pub(super) fn say_farewell(&mut self, id: ConnectionId, piece: &Piece) -> bool {
        // A link does not reach from one call into the next.
        if !self.may_be_silent(piece.len) || !self.may_close_silently(id) || !self.ring.has_room(2)
        {
            return false;
        }
        let fd = self.give_up_place(id);
        let number = self.farewells.entries.take();
        *self.farewells.entries.get_mut(number) = Farewell {
            fd,
            from: piece.ptr,
            left: piece.len,
        };
        self.farewells.queued.push(number);
        let send = opcode::Send::new(Fd(fd), piece.ptr, piece.len as u32)
            .flags(SEND_FLAGS | libc::MSG_DONTWAIT)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS | squeue::Flags::IO_LINK)
            .user_data(Token::pack(FAREWELL, numbered(number)).0);
        // SAFETY: the bytes stay valid until the backend is dropped, by the contract of
        // `Proactor::send_and_close`; the close points to nothing.
        unsafe {
            self.ring.push(&send, &mut self.counters);
            self.ring.push(&silent_close(fd), &mut self.counters);
        }
        true
    }

    /// After the call of a turn: those of the last turn are over.
    #[inline]
    pub(super) fn forget_farewells(&mut self) {
        let farewells = &mut self.farewells;
        for number in farewells.taken.drain(..) {
            farewells.entries.put(number);
        }
        if !farewells.queued.is_empty() && self.ring.has_told_all() {
            std::mem::swap(&mut farewells.taken, &mut farewells.queued);
        }
    }

    /// The socket did not take all of it at once, so the link is broken and nothing was closed; or what was
    /// left has been sent, or never will be.
    pub(super) fn reap_farewell(&mut self, number: u32, result: i32) -> Option<Event> {
        let farewell = self.farewells.keep(number);
        let sent = (result.max(0) as usize).min(farewell.left);
        farewell.from = farewell.from.wrapping_add(sent);
        farewell.left -= sent;
        // Else the peer is gone, and there is nobody to be told the rest.
        let can_go_on = result > 0 || matches!(-result, libc::EAGAIN | libc::EINTR);
        let Farewell { fd, from, left } = *farewell;
        if left > 0 && can_go_on && !self.draining {
            self.counters.short_sends += 1;
            let send = opcode::Send::new(Fd(fd), from, left as u32)
                .flags(SEND_FLAGS)
                .build();
            // SAFETY: as in `say_farewell`.
            unsafe { self.push(send, FAREWELL_REST, numbered(number)) };
        } else {
            self.farewells.entries.put(number);
            self.submit_silent_close(fd);
        }
        None
    }
}

/// A token's place for the number of a farewell.
fn numbered(number: u32) -> ConnectionId {
    ConnectionId {
        index: number,
        generation: 0,
    }
}
