//! One connection's conversation: a reader and a writer that never wait for each other, inside
//! the connection's one task.

use super::bell::Bell;
use super::bench::Bench;
use super::buffer::{Block, Parcel};
use super::runtime::Runtime;
use super::sys;
use engine::outbox::Outbox;
use engine::session::How;
use engine::socket;
use engine::speaker::Speaker;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Operations that one half of a connection may do in a row when none of them has to wait (with
/// readiness they are done at once); then the other half and the others have their turn.
const OPERATIONS_PER_TURN: usize = 16;

/// An operation counts once more for each of these bytes that it moved.
const LARGE_BYTES: usize = 64 * 1024;

/// What one half may still do before it lets others have their turn.
#[derive(Debug, Default)]
struct Turn {
    operations_left: Cell<usize>,
    wants_more: Cell<bool>,
}

impl Turn {
    fn begin(&self) {
        self.operations_left.set(OPERATIONS_PER_TURN);
        self.wants_more.set(false);
    }

    /// Whether there may be another operation.
    fn take(&self) -> bool {
        let left = self.operations_left.get();
        self.operations_left.set(left.saturating_sub(1));
        self.wants_more.set(left == 0);
        left > 0
    }

    fn spend(&self, bytes: usize) {
        let left = self.operations_left.get();
        self.operations_left
            .set(left.saturating_sub(bytes / LARGE_BYTES));
    }
}

/// One side's session and what surrounds it.
pub trait Party: 'static {
    /// Bytes arrived.
    fn received(&mut self, bytes: &mut [u8], out: &mut Speaker<'_>);
    /// The kernel has taken bytes. Returns to which instant that belongs, 0 if nobody has looked at the clock.
    fn moved(&mut self, bytes: usize) -> u64;
    /// The kernel has taken everything.
    fn sent(&mut self, out: &mut Speaker<'_>);
    /// The peer's FIN. False: nobody expected it, and the connection is to be reset.
    fn finished(&mut self, out: &mut Speaker<'_>) -> bool;
    /// The connection is lost. Returns how to close what is left of it.
    fn lost(&mut self, errno: i32, out: &mut Speaker<'_>) -> How;
    /// Receiving stops because the peer does not read.
    fn paused(&mut self) {}
}

/// A connection, and what others on its thread may ask of it. It outlives its connections: a
/// load's comes back with the next.
#[derive(Debug)]
pub struct Wire<P> {
    party: RefCell<P>,
    outbox: RefCell<Outbox>,
    bench: Rc<Bench>,
    /// Wakes the task.
    bell: Bell,
    /// The open socket; -1 while there is none.
    fd: Cell<RawFd>,
    receiving: Cell<bool>,
    sending: Cell<bool>,
    paused: Cell<bool>,
    peer_finished: Cell<bool>,
    shutdown_done: Cell<bool>,
    /// How it is closed, once that is decided.
    ending: Cell<Option<How>>,
    /// One half did something that may concern the other.
    stirred: Cell<bool>,
    /// Something was received, and the writer has not been polled since.
    writer_first: Cell<bool>,
    reads: Turn,
    writes: Turn,
}

impl<P: Party> Wire<P> {
    /// Without a connection.
    pub fn new(party: P, bench: Rc<Bench>) -> Rc<Self> {
        Rc::new(Self {
            party: RefCell::new(party),
            outbox: RefCell::default(),
            bench,
            bell: Bell::default(),
            fd: Cell::new(-1),
            receiving: Cell::new(false),
            sending: Cell::new(false),
            paused: Cell::new(false),
            peer_finished: Cell::new(false),
            shutdown_done: Cell::new(false),
            ending: Cell::new(None),
            stirred: Cell::new(false),
            writer_first: Cell::new(false),
            reads: Turn::default(),
            writes: Turn::default(),
        })
    }

    /// The descriptor of the open connection.
    pub fn descriptor(&self) -> Option<RawFd> {
        Some(self.fd.get()).filter(|&fd| fd >= 0)
    }

    /// Wakes its task.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Whom [`Wire::ring`] wakes.
    pub fn listen(&self, context: &Context<'_>) {
        self.bell.listen(context.waker());
    }

    /// Lets go of the task's waker; its last act.
    pub fn leave(&self) {
        self.bell.forget();
    }

    /// Looks at the party, without saying anything to the peer.
    pub fn with<T>(&self, look: impl FnOnce(&mut P) -> T) -> T {
        look(&mut self.party.borrow_mut())
    }

    /// Tells the party something from outside of its task; what it answers goes out.
    pub fn tell<T>(&self, tell: impl FnOnce(&mut P, &mut Speaker<'_>) -> T) -> T {
        let answer = self.prepare(tell);
        self.bell.ring();
        answer
    }

    /// Tells the party something before its task talks.
    pub fn prepare<T>(&self, tell: impl FnOnce(&mut P, &mut Speaker<'_>) -> T) -> T {
        let (mut party, mut outbox) = (self.party.borrow_mut(), self.outbox.borrow_mut());
        self.bench.say(&mut outbox, 0, |out| tell(&mut party, out))
    }

    /// Ends the connection from outside of its task.
    pub fn cut(&self, how: How) {
        self.end(how);
        self.bell.ring();
    }

    /// Ends the connection: the operations in flight are called home, for none is ever dropped.
    /// Only the first call counts.
    fn end(&self, how: How) {
        let Some(fd) = self.descriptor() else {
            return;
        };
        if self.ending.get().is_some() {
            return;
        }
        self.ending.set(Some(how));
        self.stirred.set(true);
        socket::prepare_close(fd, how);
        match (self.sending.get(), self.receiving.get(), how) {
            (true, ..) | (_, true, How::Fin) => sys::shutdown(fd, Shutdown::Both),
            // Not FIN first: the peer is to see RST only.
            (false, true, How::Rst) => sys::shutdown(fd, Shutdown::Read),
            (false, false, _) => {}
        }
    }

    /// Talks on `stream`, which is attached, until the conversation has ended and the socket is
    /// given back.
    pub async fn converse<R: Runtime>(&self, stream: R::Stream) {
        let (reader, writer) = R::split(stream);
        let mut reading = pin!(self.read::<R>(reader));
        let mut writing = pin!(self.write::<R>(writer));
        let (mut has_read, mut has_written) = (None, None);
        let (reader, writer) = poll_fn(|context| {
            self.listen(context);
            self.reads.begin();
            self.writes.begin();
            loop {
                self.stirred.set(false);
                // What is there to say goes out before anything else is received.
                poll_once(&mut has_written, writing.as_mut(), context);
                poll_once(&mut has_read, reading.as_mut(), context);
                match (has_read.take(), has_written.take()) {
                    (Some(reader), Some(writer)) => return Poll::Ready((reader, writer)),
                    halves => (has_read, has_written) = halves,
                }
                if !self.stirred.get() {
                    break;
                }
            }
            if self.reads.wants_more.get() || self.writes.wants_more.get() {
                self.bench.turns.ask(context.waker());
            }
            Poll::Pending
        })
        .await;
        self.fd.set(-1);
        R::close(reader, writer);
        self.clear();
    }

    /// A new connection is there; from now on it can be cut.
    pub fn attach(&self, fd: RawFd) {
        self.fd.set(fd);
        self.paused.set(false);
        self.peer_finished.set(false);
        self.shutdown_done.set(false);
        self.ending.set(None);
    }

    /// Forgets what the last connection left. Before anything is said on the next.
    pub fn clear(&self) {
        debug_assert!(!self.sending.get(), "a conversation waits for its sends");
        self.bench.clear(&mut self.outbox.borrow_mut());
    }

    // ---- receiving -------------------------------------------------------------------------

    async fn read<R: Runtime>(&self, mut reader: R::Reader) -> R::Reader {
        while self.may_receive().await {
            let block = self.bench.block();
            self.receiving.set(true);
            let (result, block) = R::receive(&mut reader, block).await;
            self.receiving.set(false);
            match result {
                Ok(0) => {
                    self.finished();
                    break;
                }
                Ok(bytes) => {
                    self.reads.spend(bytes);
                    self.received(block);
                }
                Err(error) => {
                    self.lost(&error);
                    break;
                }
            }
        }
        reader
    }

    /// Whether to receive once more; waits while receiving is paused, when the conversation is about to be closed,
    /// and until the writer has had its turn after each receive: who asked waits for the answer, and
    /// a receive before it would find nothing.
    async fn may_receive(&self) -> bool {
        poll_fn(|_| {
            // Once, and not for as long as there is something to send: in a stream both ways there
            // always is. What was received has stirred the conversation, so this half is polled
            // again behind the writer, in this turn.
            let writer_first = self.writer_first.take();
            let closes = || self.outbox.borrow().close.is_some();
            match self.ending.get() {
                Some(_) => Poll::Ready(false),
                None if writer_first || self.paused.get() || closes() => Poll::Pending,
                None if !self.reads.take() => Poll::Pending,
                None => Poll::Ready(true),
            }
        })
        .await
    }

    #[inline]
    fn received(&self, block: Block) {
        if self.ending.get().is_some() {
            return;
        }
        self.stirred.set(true);
        self.writer_first.set(true);
        let mut outbox = self.outbox.borrow_mut();
        if outbox.close.is_some() {
            return;
        }
        let mut party = self.party.borrow_mut();
        let tell = |bytes: &mut [u8], out: &mut Speaker<'_>| party.received(bytes, out);
        self.bench.deliver(&mut outbox, block, tell);
        if self.bench.is_too_full(&outbox) {
            self.paused.set(true);
            party.paused();
        }
    }

    fn finished(&self) {
        if self.ending.get().is_some() {
            return;
        }
        self.stirred.set(true);
        self.peer_finished.set(true);
        let is_expected = self.prepare(P::finished);
        if !is_expected {
            self.end(How::Rst);
        }
    }

    fn lost(&self, error: &io::Error) {
        if self.ending.get().is_some() {
            return;
        }
        let errno = socket::errno_of(error);
        let how = self.prepare(|party, out| party.lost(errno, out));
        self.end(how);
    }

    // ---- sending ---------------------------------------------------------------------------

    async fn write<R: Runtime>(&self, mut writer: R::Writer) -> R::Writer {
        while let Some(parcel) = self.next_parcel().await {
            let (result, _) = R::send(&mut writer, parcel).await;
            self.sending.set(false);
            match result {
                Ok(bytes) => {
                    self.writes.spend(bytes);
                    self.taken(bytes);
                }
                Err(error) => self.lost(&error),
            }
        }
        writer
    }

    /// The next to send; waits for it. `None`: the connection has ended.
    async fn next_parcel(&self) -> Option<Parcel> {
        poll_fn(|_| self.poll_parcel()).await
    }

    #[inline]
    fn poll_parcel(&self) -> Poll<Option<Parcel>> {
        if self.ending.get().is_some() {
            return Poll::Ready(None);
        }
        let mut outbox = self.outbox.borrow_mut();
        if outbox.close == Some(How::Rst) {
            self.end(How::Rst);
            return Poll::Ready(None);
        }
        if !outbox.is_empty() {
            if !self.writes.take() {
                return Poll::Pending;
            }
            self.sending.set(true);
            // SAFETY: a conversation ends after its sends, and the outbox is cleared after that. Where the
            // runtime drops the conversation, `sending` stays, and the outbox is lost with the wire.
            return Poll::Ready(unsafe { self.bench.parcel(&mut outbox) });
        }
        // Both sides having said everything is an end, too.
        if outbox.close.is_some() || self.peer_finished.get() {
            self.end(How::Fin);
            return Poll::Ready(None);
        }
        if outbox.shutdown && !self.shutdown_done.replace(true) {
            sys::shutdown(self.fd.get(), Shutdown::Write);
        }
        Poll::Pending
    }

    #[inline]
    fn taken(&self, bytes: usize) {
        if self.ending.get().is_some() {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        let mut party = self.party.borrow_mut();
        self.bench.advance(&mut outbox, bytes);
        let moved_ns = party.moved(bytes);
        if outbox.is_empty() {
            self.bench.say(&mut outbox, moved_ns, |out| party.sent(out));
        }
        if self.paused.get() && self.bench.has_room_again(&outbox) {
            self.paused.set(false);
            self.stirred.set(true);
        }
    }
}

impl<P> Drop for Wire<P> {
    fn drop(&mut self) {
        let mut outbox = self.outbox.take();
        match self.sending.get() {
            true => self.bench.lose(outbox),
            false => self.bench.clear(&mut outbox),
        }
    }
}

/// Polls `future` unless it has its value already.
fn poll_once<F: Future>(
    value: &mut Option<F::Output>,
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) {
    if value.is_none()
        && let Poll::Ready(ready) = future.poll(context)
    {
        *value = Some(ready);
    }
}

#[cfg(all(test, feature = "monoio"))]
mod tests;
