//! What happens to an accepted connection before somebody serves it.

use crate::driver::Handoff;
use crate::meter::ServePublished;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// After descriptors or threads ran out, accepting rests this long (ns), unless a connection closes
/// before.
pub const ACCEPT_BACKOFF_NS: u64 = 50_000_000;

/// A worker's place in the hand-off, if there is one: deals connections out to all workers in turn,
/// or takes those that were dealt to it. Its counters may have other writers.
#[derive(Debug)]
pub struct Dealer {
    handoff: Option<Handoff>,
    published: Arc<ServePublished>,
    /// Whose turn is next; 0 is the dealer itself.
    next: usize,
}

impl Dealer {
    /// `handoff` is that of the job.
    pub fn new(handoff: Option<Handoff>, published: Arc<ServePublished>) -> Self {
        Self {
            handoff,
            published,
            next: 0,
        }
    }

    /// Whether it accepts for others too, and so goes on when its own table is full.
    pub fn accepts_for_others(&self) -> bool {
        matches!(self.handoff, Some(Handoff::Give(_)))
    }

    /// Counts a connection that was accepted, and passes it on if it is another's turn; what comes
    /// back is the worker's own.
    pub fn deal(&mut self, socket: OwnedFd) -> Option<OwnedFd> {
        self.deal_released(socket, Ok)
    }

    /// As [`Dealer::deal`], for a connection that `release` makes a descriptor of before it is passed on.
    pub fn deal_released<S>(
        &mut self,
        connection: S,
        release: impl FnOnce(S) -> io::Result<OwnedFd>,
    ) -> Option<S> {
        self.published.accepted.fetch_add(1, Relaxed);
        let Some(Handoff::Give(others)) = &self.handoff else {
            return Some(connection);
        };
        let turn = self.next;
        self.next = (turn + 1) % (others.len() + 1);
        let (sender, waker) = match turn {
            0 => return Some(connection),
            other => &others[other - 1],
        };
        match release(connection).map(|socket| sender.try_send(socket)) {
            Ok(Ok(())) => waker.wake(),
            Ok(Err(_)) | Err(_) => self.over_limit(),
        }
        None
    }

    /// A connection that was dealt to this worker.
    pub fn take(&self) -> Option<OwnedFd> {
        match &self.handoff {
            Some(Handoff::Take(receiver)) => receiver.try_recv().ok(),
            _ => None,
        }
    }

    /// Counts a connection that is closed at once because a table or a queue is full.
    pub fn over_limit(&self) {
        self.published.over_limit.fetch_add(1, Relaxed);
        self.published.closed.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Waker;
    use std::fs::File;
    use std::sync::mpsc::sync_channel;

    fn socket() -> OwnedFd {
        File::open("/dev/null").expect("/dev/null").into()
    }

    #[test]
    fn connections_go_round_and_a_full_queue_refuses() {
        let (sender, receiver) = sync_channel(1);
        let (waker, _end) = Waker::pair().unwrap();
        let published = Arc::new(ServePublished::default());
        let give = Handoff::Give(vec![(sender, waker)]);
        let mut dealer = Dealer::new(Some(give), Arc::clone(&published));
        let taker = Dealer::new(Some(Handoff::Take(receiver)), Arc::default());
        assert!(dealer.accepts_for_others() && !taker.accepts_for_others());
        let own: Vec<bool> = (0..4).map(|_| dealer.deal(socket()).is_some()).collect();
        assert_eq!(own, [true, false, true, false]);
        assert!(taker.take().is_some() && taker.take().is_none());
        let counts = (
            &published.accepted,
            &published.over_limit,
            &published.closed,
        );
        let counts = (
            counts.0.load(Relaxed),
            counts.1.load(Relaxed),
            counts.2.load(Relaxed),
        );
        assert_eq!(counts, (4, 1, 1), "the queue holds one");
    }

    #[test]
    fn without_a_hand_off_every_connection_is_ones_own() {
        let mut dealer = Dealer::new(None, Arc::default());
        assert!((0..3).all(|_| dealer.deal(socket()).is_some()));
        assert!(dealer.take().is_none());
    }
}
