//! One connection of a blocking thread: its socket, its buffer, and the conversation on it.

use crate::sys;
use engine::clock::now_ns;
use engine::outbox::{BlockPool, LeaseShape, Lender, Outbox, Supply};
use engine::proactor::{BackendCounters, Lease, PIECES_MAX, Piece};
use engine::region::Region;
use engine::session::How;
use engine::speaker::Speaker;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// After so many sends in a row the input is looked at, so that one who only sends sees FIN.
const SENDS_PER_LOOK: u32 = 16;

/// Where a thread receives: one buffer, lent to the output until something else is received into it.
#[derive(Debug)]
struct Buffer(Box<[u8]>);

impl Lender for Buffer {
    #[inline]
    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        &mut self.0[lease.offset as usize..(lease.offset + lease.len) as usize]
    }

    fn give_back(&mut self, _: Lease) {}
}

/// What a thread does when everything it was asked to send is sent.
pub enum Next {
    /// Receive, however long it takes.
    Receive,
    /// Receive until this monotonic instant (ns), then [`Party::due`].
    Until(u64),
    /// Look again: the session has said something.
    Again,
    /// End the conversation.
    Leave,
    /// End it because nothing has moved for too long.
    GiveUp,
}

/// How a conversation ended. The socket is still open.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The session asked to close.
    Closed(How),
    /// The peer finished although the session did not expect it ([`Party::finished`]).
    Finished,
    /// A send or receive failed.
    Lost(i32),
    /// A wait took longer than [`Party::waited_too_long`] allows.
    TimedOut,
    /// [`Next::Leave`].
    Left,
}

/// One side's session and what surrounds it.
pub trait Party {
    /// The conversation begins.
    fn opened(&mut self, line: &mut Line);
    /// `len` bytes are at the start of the line's buffer ([`Line::speak`]).
    fn received(&mut self, line: &mut Line, len: usize);
    /// The kernel has taken bytes, after so many calls of the line.
    fn moved(&mut self, bytes: usize, calls: &BackendCounters);
    /// The kernel has taken everything.
    fn sent(&mut self, line: &mut Line);
    /// The peer's FIN. False: nobody expected it, so the conversation is over.
    fn finished(&mut self, line: &mut Line) -> bool;
    /// The instant of [`Next::Until`] has come.
    fn due(&mut self, line: &mut Line);
    /// Nothing is left to send.
    fn next(&mut self, line: &mut Line) -> Next;
    /// The output is blocked: whether to go on.
    fn blocked(&mut self) -> bool;
    /// The longest that one wait may last, ns.
    fn patience_ns(&self) -> Option<u64>;
    /// Nothing has moved for a while: whether that is too long.
    fn waited_too_long(&mut self, line: &mut Line) -> bool;
    /// Receiving stops because the peer does not read.
    fn paused(&mut self) {}
    /// Around a wait in which nothing is owed to anybody.
    fn resting(&mut self, begins: bool) -> bool {
        let _ = begins;
        true
    }
}

/// A thread's connection: buffers are kept from one connection to the next.
#[derive(Debug)]
pub struct Line {
    /// The socket; owned by the thread's [`super::seats::Seat`].
    fd: RawFd,
    outbox: Outbox,
    pool: BlockPool,
    buffer: Buffer,
    region: Arc<Region>,
    /// The peer has finished.
    finished: bool,
    /// The half-close that the session asked for is made.
    shutdown_done: bool,
    /// The socket before this one, which its peer has ended: closed when this one's peer is waited for.
    parting: Option<OwnedFd>,
    /// How long to try to receive before sleeping.
    spin: Duration,
    /// System calls and the like.
    pub counters: BackendCounters,
}

impl Line {
    /// A line without a socket.
    pub fn new(buffer_bytes: usize, region: Arc<Region>, spin: Duration) -> Self {
        Self {
            fd: -1,
            outbox: Outbox::default(),
            pool: BlockPool::default(),
            buffer: Buffer(vec![0; buffer_bytes].into_boxed_slice()),
            region,
            finished: false,
            shutdown_done: false,
            parting: None,
            spin,
            counters: BackendCounters::default(),
        }
    }

    /// Takes up another socket.
    pub fn attach(&mut self, fd: RawFd) {
        self.fd = fd;
        self.finished = false;
        self.shutdown_done = false;
        self.clear();
    }

    /// Whether the session has said something that is not done yet.
    pub fn has_something_to_do(&self) -> bool {
        !self.outbox.is_empty() || self.outbox.close.is_some() || self.owes_shutdown()
    }

    fn owes_shutdown(&self) -> bool {
        self.outbox.shutdown && !self.shutdown_done
    }

    /// Whether the peer of this socket has finished, so that nobody waits for its closing.
    pub fn has_finished(&self) -> bool {
        self.finished
    }

    /// Closes `socket` when there is nothing else to do.
    pub fn part_later(&mut self, socket: Option<OwnedFd>) {
        self.part();
        self.parting = socket;
    }

    /// Whether something is kept for its closing.
    pub fn keeps_socket(&self) -> bool {
        self.parting.is_some()
    }

    /// Closes what was kept for that.
    #[inline]
    pub fn part(&mut self) {
        if let Some(socket) = self.parting.take() {
            self.counters.system_calls += sys::close(socket, How::Fin);
        }
    }

    /// Forgets what was to be sent.
    pub fn clear(&mut self) {
        self.outbox.clear(&mut self.buffer, &mut self.pool);
    }

    /// What a session answers through. `now_ns` is the instant of the event, 0 if nobody has looked yet.
    #[inline]
    pub fn speaker(&mut self, now_ns: u64) -> Speaker<'_> {
        Speaker::new(&mut self.outbox, &mut self.pool, now_ns)
    }

    /// Splits into what a session is told and what it answers through.
    #[inline]
    pub fn speak(&mut self, now_ns: u64, len: usize) -> (&mut [u8], Speaker<'_>) {
        let lease = LeaseShape {
            buffer: 0,
            offset: 0,
            len: len as u32,
        };
        let speaker = Speaker::new(&mut self.outbox, &mut self.pool, now_ns);
        (&mut self.buffer.0[..len], speaker.receiving(lease))
    }

    /// When the session wants its timer called, ns.
    pub fn timer_ns(&mut self) -> &mut Option<u64> {
        &mut self.outbox.timer_ns
    }

    /// What was told of the first `len` bytes of the buffer is settled.
    #[inline]
    fn settle(&mut self, len: usize) {
        let lease = Lease {
            buffer: 0,
            offset: 0,
            len: len as u32,
        };
        self.outbox
            .settle(lease, Supply::Ample, &mut self.buffer, &mut self.pool);
    }

    /// Sends what there is, without waiting. `Ok(true)`: all of it is out.
    fn send<P: Party>(&mut self, party: &mut P) -> Result<bool, i32> {
        let mut pieces = [Piece {
            ptr: std::ptr::null(),
            len: 0,
        }; PIECES_MAX];
        let count = self
            .outbox
            .gather(&mut pieces, &self.region, &mut self.buffer);
        let pieces = &pieces[..count];
        self.counters.system_calls += 1;
        // SAFETY: the pieces point into the region, the buffer and blocks held by the outbox,
        // none of which is touched during the call.
        let sent = unsafe { sys::send(self.fd, pieces, false) };
        let taken = match sent {
            Ok(taken) => taken,
            Err(errno) if sys::would_block(errno) => 0,
            Err(errno) => return Err(errno),
        };
        self.outbox.advance(taken, &mut self.buffer, &mut self.pool);
        if taken == 0 {
            return Ok(false);
        }
        let total: usize = pieces.iter().map(|piece| piece.len).sum();
        self.counters.short_sends += u64::from(taken < total);
        party.moved(taken, &self.counters);
        Ok(self.outbox.is_empty())
    }

    /// Receives once. `Ok(None)`: there is nothing (now, or within the socket's time limit).
    fn receive(&mut self, wait: bool) -> Result<Option<usize>, i32> {
        if !self.outbox.is_empty() {
            self.outbox.detach(&mut self.buffer, &mut self.pool);
        }
        if !wait {
            return self.receive_now();
        }
        self.part();
        if !self.spin.is_zero()
            && let Some(len) = self.spin()?
        {
            return Ok(Some(len));
        }
        self.counters.system_calls += 1;
        or_nothing(sys::receive(self.fd, &mut self.buffer.0))
    }

    /// Delivers what has arrived already, without waiting.
    ///
    /// # Errors
    /// The errno of a connection that was lost.
    pub fn hear_what_came<P: Party>(&mut self, party: &mut P) -> Result<(), i32> {
        if let Some(len) = self.receive_now()?.filter(|&len| len > 0) {
            party.received(self, len);
            self.settle(len);
        }
        Ok(())
    }

    fn receive_now(&mut self) -> Result<Option<usize>, i32> {
        self.counters.system_calls += 1;
        or_nothing(sys::receive_now(self.fd, &mut self.buffer.0))
    }

    /// Tries to receive without sleeping, as long as the options say.
    fn spin(&mut self) -> Result<Option<usize>, i32> {
        let until_ns = now_ns() + self.spin.as_nanos() as u64;
        loop {
            let received = self.receive_now()?;
            if received.is_some() || now_ns() >= until_ns {
                return Ok(received);
            }
            std::hint::spin_loop();
        }
    }
}

/// The answer of a receive; `None` if it would have had to wait.
fn or_nothing(received: Result<usize, i32>) -> Result<Option<usize>, i32> {
    match received {
        Ok(len) => Ok(Some(len)),
        Err(errno) if sys::would_block(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What one step of a conversation led to.
enum Step {
    /// Go on.
    On,
    /// It is over.
    Over(End),
}

/// The course of one conversation.
struct Course<'a, P> {
    line: &'a mut Line,
    party: &'a mut P,
    paused: bool,
    sends: u32,
}

/// Talks until the conversation ends.
pub fn converse<P: Party>(line: &mut Line, party: &mut P) -> End {
    party.opened(line);
    let mut course = Course {
        line,
        party,
        paused: false,
        sends: 0,
    };
    loop {
        let step = match course.step() {
            Ok(step) => step,
            Err(errno) => return End::Lost(errno),
        };
        if let Step::Over(end) = step {
            return end;
        }
    }
}

impl<P: Party> Course<'_, P> {
    #[inline]
    fn step(&mut self) -> Result<Step, i32> {
        if self.line.outbox.close == Some(How::Rst) {
            return Ok(Step::Over(End::Closed(How::Rst)));
        }
        if !self.line.outbox.is_empty() {
            return self.push();
        }
        if let Some(how) = self.line.outbox.close {
            return Ok(Step::Over(End::Closed(how)));
        }
        if self.line.owes_shutdown() {
            self.line.shutdown_done = true;
            self.line.counters.system_calls += 1;
            sys::shutdown_write(self.line.fd);
        }
        if self.line.finished {
            // Both sides have said everything.
            return Ok(Step::Over(End::Closed(How::Fin)));
        }
        match self.party.next(self.line) {
            Next::Leave => Ok(Step::Over(End::Left)),
            Next::GiveUp => Ok(Step::Over(End::TimedOut)),
            Next::Again => Ok(Step::On),
            Next::Until(due_ns) => self.rest_until(due_ns),
            Next::Receive => match self.line.receive(true)? {
                Some(len) => Ok(self.deliver(len)),
                None if self.party.waited_too_long(self.line) => Ok(Step::Over(End::TimedOut)),
                None => Ok(Step::On),
            },
        }
    }

    /// Moves the output on; waits if it is blocked.
    fn push(&mut self) -> Result<Step, i32> {
        if self.line.send(self.party)? {
            self.paused = false;
            self.party.sent(self.line);
            self.sends += 1;
            if self.sends.is_multiple_of(SENDS_PER_LOOK)
                && !self.line.outbox.is_empty()
                && !self.line.finished
            {
                return self.look();
            }
            return Ok(Step::On);
        }
        if !self.party.blocked() {
            return Ok(Step::Over(End::Left));
        }
        self.line.part();
        // A peer that wants to be read before it reads must not stop us both.
        let room = !self.line.outbox.is_too_full(&self.line.pool);
        if !room && !self.paused {
            self.paused = true;
            self.line.counters.receive_pauses += 1;
            self.party.paused();
        }
        let read = if room && !self.line.finished {
            libc::POLLIN
        } else {
            0
        };
        let mut entry = [sys::watch(self.line.fd, libc::POLLOUT | read)];
        let until_ns = self
            .party
            .patience_ns()
            .map(|patience_ns| now_ns() + patience_ns);
        self.line.counters.system_calls += 1;
        if !sys::poll(&mut entry, until_ns) && self.party.waited_too_long(self.line) {
            return Ok(Step::Over(End::TimedOut));
        }
        if entry[0].revents & libc::POLLIN != 0 && read != 0 {
            return self.look();
        }
        Ok(Step::On)
    }

    /// Takes what has arrived, without waiting.
    fn look(&mut self) -> Result<Step, i32> {
        Ok(match self.line.receive(false)? {
            Some(len) => self.deliver(len),
            None => Step::On,
        })
    }

    fn rest_until(&mut self, due_ns: u64) -> Result<Step, i32> {
        self.line.part();
        let mut entry = [sys::watch(self.line.fd, libc::POLLIN)];
        let ready = if self.party.resting(true) {
            self.line.counters.system_calls += 1;
            sys::poll(&mut entry, Some(due_ns))
        } else {
            false
        };
        self.party.resting(false);
        if ready {
            return self.look();
        }
        self.party.due(self.line);
        Ok(Step::On)
    }

    #[inline]
    fn deliver(&mut self, len: usize) -> Step {
        if len > 0 {
            if self.line.outbox.close.is_none() {
                self.party.received(self.line, len);
                self.line.settle(len);
            }
            return Step::On;
        }
        self.line.finished = true;
        if self.party.finished(self.line) {
            Step::On
        } else {
            Step::Over(End::Finished)
        }
    }
}
