//! One connection's conversation: a reader and a writer that never wait for each other, inside
//! the connection's one task.

use super::bell::Bell;
use super::buffer::{Block, Piece, Pool, SharedRegion};
use super::output::Output;
use super::runtime::Runtime;
use super::sys;
use super::turns::Turns;
use engine::session::How;
use engine::socket;
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
    fn received(&mut self, bytes: &mut [u8], output: &mut Output);
    /// The kernel has taken bytes.
    fn moved(&mut self, bytes: usize);
    /// The kernel has taken everything.
    fn sent(&mut self, output: &mut Output);
    /// The peer's FIN. False: nobody expected it, and the connection is to be reset.
    fn finished(&mut self, output: &mut Output) -> bool;
    /// The connection is lost. Returns how to close what is left of it.
    fn lost(&mut self, errno: i32, output: &mut Output) -> How;
    /// Receiving stops because the peer does not read.
    fn paused(&mut self) {}
}

/// A connection, and what others on its thread may ask of it. It outlives its connections: a
/// load's comes back with the next.
#[derive(Debug)]
pub struct Wire<P> {
    party: RefCell<P>,
    output: RefCell<Output>,
    pool: Rc<Pool>,
    turns: Rc<Turns>,
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
    pub fn new(party: P, pool: Rc<Pool>, region: SharedRegion, turns: Rc<Turns>) -> Rc<Self> {
        Rc::new(Self {
            party: RefCell::new(party),
            output: RefCell::new(Output::new(region, Rc::clone(&pool))),
            pool,
            turns,
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
    pub fn tell<T>(&self, tell: impl FnOnce(&mut P, &mut Output) -> T) -> T {
        let answer = self.prepare(tell);
        self.bell.ring();
        answer
    }

    /// Tells the party something before its task talks.
    pub fn prepare<T>(&self, tell: impl FnOnce(&mut P, &mut Output) -> T) -> T {
        tell(&mut self.party.borrow_mut(), &mut self.output.borrow_mut())
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
                self.turns.ask(context.waker());
            }
            Poll::Pending
        })
        .await;
        self.fd.set(-1);
        R::close(reader, writer);
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
        self.output.borrow_mut().clear();
    }

    // ---- receiving -------------------------------------------------------------------------

    async fn read<R: Runtime>(&self, mut reader: R::Reader) -> R::Reader {
        while self.may_receive().await {
            let block = self.pool.take();
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
            let closes = || self.output.borrow().close.is_some();
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
    fn received(&self, mut block: Block) {
        if self.ending.get().is_some() {
            return;
        }
        self.stirred.set(true);
        self.writer_first.set(true);
        let mut output = self.output.borrow_mut();
        if output.close.is_none() {
            let mut party = self.party.borrow_mut();
            party.received(block.bytes_mut(), &mut output);
            output.settle(block, &self.pool);
            if output.held_bytes() > output.pause_bytes() {
                self.paused.set(true);
                party.paused();
            }
        }
    }

    fn finished(&self) {
        if self.ending.get().is_some() {
            return;
        }
        self.stirred.set(true);
        self.peer_finished.set(true);
        let expected = {
            let mut output = self.output.borrow_mut();
            self.party.borrow_mut().finished(&mut output)
        };
        if !expected {
            self.end(How::Rst);
        }
    }

    fn lost(&self, error: &io::Error) {
        if self.ending.get().is_some() {
            return;
        }
        let how = {
            let mut output = self.output.borrow_mut();
            self.party
                .borrow_mut()
                .lost(socket::errno_of(error), &mut output)
        };
        self.end(how);
    }

    // ---- sending ---------------------------------------------------------------------------

    async fn write<R: Runtime>(&self, mut writer: R::Writer) -> R::Writer {
        while let Some(piece) = self.next_piece().await {
            self.sending.set(true);
            let (result, piece) = R::send(&mut writer, piece).await;
            self.sending.set(false);
            match result {
                Ok(bytes) => {
                    self.writes.spend(bytes);
                    self.taken(piece, bytes);
                }
                Err(error) => self.lost(&error),
            }
        }
        writer
    }

    /// The next to send; waits for it. `None`: the connection has ended.
    async fn next_piece(&self) -> Option<Piece> {
        poll_fn(|_| self.poll_piece()).await
    }

    #[inline]
    fn poll_piece(&self) -> Poll<Option<Piece>> {
        if self.ending.get().is_some() {
            return Poll::Ready(None);
        }
        let mut output = self.output.borrow_mut();
        if output.close == Some(How::Rst) {
            self.end(How::Rst);
            return Poll::Ready(None);
        }
        if !output.is_empty() {
            return match self.writes.take() {
                true => Poll::Ready(output.take()),
                false => Poll::Pending,
            };
        }
        // Both sides having said everything is an end, too.
        if output.close.is_some() || self.peer_finished.get() {
            self.end(How::Fin);
            return Poll::Ready(None);
        }
        if output.shutdown && !self.shutdown_done.replace(true) {
            sys::shutdown(self.fd.get(), Shutdown::Write);
        }
        Poll::Pending
    }

    #[inline]
    fn taken(&self, piece: Piece, bytes: usize) {
        if self.ending.get().is_some() {
            return;
        }
        let mut output = self.output.borrow_mut();
        let mut party = self.party.borrow_mut();
        output.taken(piece, bytes);
        party.moved(bytes);
        if output.is_empty() {
            party.sent(&mut output);
        }
        if self.paused.get()
            && (output.held_bytes() == 0 || output.held_bytes() < output.pause_bytes() / 2)
        {
            self.paused.set(false);
            self.stirred.set(true);
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
