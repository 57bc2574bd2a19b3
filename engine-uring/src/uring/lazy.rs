//! Replies of whose end nobody has to know soon: [`engine::proactor::Proactor::send_lazily`].
//!
//! An ordinary send completes at once, and its completion ends the very wait that submitted it: two
//! system calls for a request and its reply. A lazy one is submitted as an unconfirmed send
//! (`submit::submit_unconfirmed`), which is silent where all goes well; so the wait sleeps until the
//! next request comes.
//!
//! Why silence means success: the kernel tries such a send once, while it takes the entry, and what
//! it could not send it reports before the call returns. So once a call has taken everything that was
//! queued, and all completions of that turn were looked at, the send is over unless one said
//! otherwise. The memory, a leased buffer for an echo, is held until then.
//!
//! Only in a turn that brought nothing else: with several completions at hand the next call is shared by
//! all of them, and one of them might want more of the same connection, which would then wait for an
//! end that nothing announces. So at most one such send is queued, and one more waits to be looked at.

use super::UringProactor;
use super::connection::State;
use super::submit::UNCONFIRMED_BYTES_MAX;
use engine::proactor::{ConnectionId, Event, Piece};

impl UringProactor {
    /// Whether a send of `len` bytes can go without a completion of its own.
    ///
    /// With a polling thread nobody knows when the send is tried: closing, and a FIN, could
    /// overtake it. What is to be zero-copy completes twice anyway.
    #[inline]
    pub(super) fn may_be_silent(&self, len: usize) -> bool {
        len <= UNCONFIRMED_BYTES_MAX
            && self.wishes.polling.is_none()
            && self.zero_copy_from.is_none_or(|from| len < from)
    }

    /// Queues a lazy send, if this is the turn for one.
    #[inline]
    pub(super) fn queue_lazily(&mut self, id: ConnectionId, piece: &Piece) -> bool {
        // What is leased stays so until something else happens, which must not need it.
        if self.lazy.brought > 1
            || self.lazy.queued.is_some()
            || !self.may_be_silent(piece.len)
            || !self.buffers.may_wait(id.index)
        {
            return false;
        }
        let connection = &mut self.connections[id.index as usize];
        connection.begin_send(piece);
        connection.sending = true;
        connection.lazy = true;
        self.submit_unconfirmed(id);
        self.lazy.queued = Some(id);
        true
    }

    /// After the call of a turn, before its completions are looked at.
    #[inline]
    pub(super) fn begin_lazy_turn(&mut self) {
        self.lazy.brought = self.ring.unread();
        if self.lazy.queued.is_some() && self.lazy.tried.is_none() && self.ring.has_told_all() {
            self.lazy.tried = self.lazy.queued.take();
        }
    }

    /// The end of a lazy send, once all completions of the turn were looked at.
    #[inline]
    pub(super) fn end_lazy_turn(&mut self) -> Option<Event> {
        let id = self.lazy.tried.take()?;
        let connection = &mut self.connections[id.index as usize];
        if connection.state != State::Open || connection.generation != id.generation {
            return None;
        }
        // Not, if it failed or was short: what is left of it then is an ordinary send.
        if !std::mem::take(&mut connection.lazy) {
            return None;
        }
        let total = connection.send_total();
        self.end_send(id);
        Some(Event::Sent(id, Ok(total)))
    }
}
