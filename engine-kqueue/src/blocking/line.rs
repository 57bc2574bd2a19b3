//! One connection of a blocking thread: its socket, its buffer, and the conversation on it.

use crate::sys;
use engine::clock::now_ns;
use engine::meter::Meter;
use engine::pattern::Pattern;
use engine::proactor::{BackendCounters, How, PIECES_MAX, Piece};
use engine::session::Out;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

/// Above this many bytes of unsent output nothing more is received.
const PAUSE_BYTES: usize = 512 * 1024;

/// After so many sends in a row the input is looked at, so that one who only sends sees FIN.
const SENDS_PER_LOOK: u32 = 16;

/// Where the bytes of a chunk are.
#[derive(Debug)]
enum Source {
    /// In the shared pattern.
    Shared,
    /// In the receive buffer, as long as nothing else is received into it.
    Buffered,
    /// Copied out of the receive buffer.
    Copied(Vec<u8>),
}

/// A part of the output: `range` of `source`.
#[derive(Debug)]
struct Chunk {
    source: Source,
    range: Range<usize>,
}

/// What a session has asked for and the kernel has not taken.
#[derive(Debug, Default)]
struct Output {
    chunks: VecDeque<Chunk>,
    shutdown: bool,
    close: Option<How>,
}

impl Output {
    fn push(&mut self, source: Source, range: Range<usize>) {
        if !range.is_empty() {
            self.chunks.push_back(Chunk { source, range });
        }
    }

    /// Bytes that were received and wait to go back: what not receiving can stop from growing.
    /// What is of the pattern costs no memory, and a peer may have to be read before it reads it.
    fn echo_bytes(&self) -> usize {
        let echoes = self
            .chunks
            .iter()
            .filter(|chunk| !matches!(chunk.source, Source::Shared));
        echoes.map(|chunk| chunk.range.len()).sum()
    }

    /// Copies what lies in the receive buffer, so that the buffer can be used again.
    fn detach(&mut self, buffer: &[u8]) {
        for chunk in &mut self.chunks {
            if matches!(chunk.source, Source::Buffered) {
                let copy = buffer[chunk.range.clone()].to_vec();
                chunk.range = 0..copy.len();
                chunk.source = Source::Copied(copy);
            }
        }
    }

    /// Describes the memory of the oldest chunks.
    fn gather(
        &self,
        pieces: &mut [Piece; PIECES_MAX],
        pattern: &Pattern,
        buffer: &[u8],
    ) -> (usize, usize) {
        let (mut count, mut total) = (0, 0);
        for (piece, chunk) in pieces.iter_mut().zip(&self.chunks) {
            let range = chunk.range.clone();
            let bytes = match &chunk.source {
                Source::Shared => pattern.slice(range.start as u32..range.end as u32),
                Source::Buffered => &buffer[range],
                Source::Copied(copy) => &copy[range],
            };
            *piece = Piece {
                ptr: bytes.as_ptr(),
                len: bytes.len(),
            };
            count += 1;
            total += bytes.len();
        }
        (count, total)
    }

    /// Forgets `taken` bytes from the front.
    fn advance(&mut self, mut taken: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            let step = taken.min(chunk.range.len());
            chunk.range.start += step;
            taken -= step;
            if !chunk.range.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
    }
}

/// How a session answers while it is being told something.
pub struct Speaker<'a> {
    output: &'a mut Output,
    meter: &'a mut Meter,
    now_ns: u64,
}

impl Out for Speaker<'_> {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn echo(&mut self, range: Range<u32>) {
        // The bytes being delivered begin at the start of the buffer.
        let range = range.start as usize..range.end as usize;
        self.output.push(Source::Buffered, range);
    }

    fn shared(&mut self, range: Range<u32>) {
        let range = range.start as usize..range.end as usize;
        match self.output.chunks.back_mut() {
            Some(last)
                if matches!(last.source, Source::Shared) && last.range.end == range.start =>
            {
                last.range.end = range.end;
            }
            _ => self.output.push(Source::Shared, range),
        }
    }

    fn shutdown_write(&mut self) {
        self.output.shutdown = true;
    }

    fn close(&mut self, how: How) {
        self.output.close = Some(how);
    }

    fn meter(&mut self) -> &mut Meter {
        self.meter
    }
}

/// What a thread does when everything it was asked to send is sent.
pub enum Next {
    /// Receive, however long it takes.
    Receive,
    /// Receive until this monotonic instant (ns), then [`Party::due`].
    Until(u64),
    /// End the conversation.
    Leave,
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
    /// `len` bytes are at the start of the line's buffer.
    fn received(&mut self, line: &mut Line, len: usize);
    /// The kernel has taken bytes.
    fn moved(&mut self, bytes: usize);
    /// The kernel has taken everything.
    fn sent(&mut self, line: &mut Line);
    /// The peer's FIN. False: nobody expected it, so the conversation is over.
    fn finished(&mut self, line: &mut Line) -> bool;
    /// The instant of [`Next::Until`] has come.
    fn due(&mut self, line: &mut Line);
    /// Nothing is left to send.
    fn next(&mut self) -> Next;
    /// The output is blocked: whether to go on.
    fn blocked(&mut self) -> bool;
    /// The longest that one wait may last, ns.
    fn patience_ns(&self) -> Option<u64>;
    /// Nothing has moved for a while: whether that is too long.
    fn waited_too_long(&mut self) -> bool;
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
    output: Output,
    /// Receive buffer.
    pub buffer: Box<[u8]>,
    pattern: Arc<Pattern>,
    /// How long to try to receive before sleeping.
    spin: Duration,
    /// System calls and the like.
    pub counters: BackendCounters,
}

impl Line {
    /// A line without a socket.
    pub fn new(buffer_bytes: usize, pattern: Arc<Pattern>, spin: Duration) -> Self {
        Self {
            fd: -1,
            output: Output::default(),
            buffer: vec![0; buffer_bytes].into_boxed_slice(),
            pattern,
            spin,
            counters: BackendCounters::default(),
        }
    }

    /// Takes up another socket.
    pub fn attach(&mut self, fd: RawFd) {
        self.fd = fd;
        self.output = Output::default();
    }

    /// Splits into what a session is told and what it answers through.
    pub fn speak<'a>(
        &'a mut self,
        meter: &'a mut Meter,
        now_ns: u64,
        len: usize,
    ) -> (&'a mut [u8], Speaker<'a>) {
        let Self { output, buffer, .. } = self;
        let speaker = Speaker {
            output,
            meter,
            now_ns,
        };
        (&mut buffer[..len], speaker)
    }

    /// Whether the session has asked to close.
    pub fn is_closing(&self) -> bool {
        self.output.close.is_some()
    }

    /// Sends what there is, without waiting. `Ok(true)`: all of it is out.
    fn send<P: Party>(&mut self, party: &mut P) -> Result<bool, i32> {
        let mut pieces = [Piece {
            ptr: std::ptr::null(),
            len: 0,
        }; PIECES_MAX];
        let (count, total) = self.output.gather(&mut pieces, &self.pattern, &self.buffer);
        self.counters.system_calls += 1;
        // SAFETY: the pieces point into the pattern, the buffer and copies held by the output,
        // none of which is touched during the call.
        match unsafe { sys::send(self.fd, &pieces[..count], false) } {
            Ok(taken) => {
                self.output.advance(taken);
                self.counters.short_sends += u64::from(taken < total);
                party.moved(taken);
                Ok(self.output.chunks.is_empty())
            }
            Err(errno) if sys::would_block(errno) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Receives once. `Ok(None)`: there is nothing (now, or within the socket's time limit).
    fn receive(&mut self, wait: bool) -> Result<Option<usize>, i32> {
        if !self.output.chunks.is_empty() {
            self.output.detach(&self.buffer);
        }
        if !wait {
            return self.receive_now();
        }
        if !self.spin.is_zero()
            && let Some(len) = self.spin()?
        {
            return Ok(Some(len));
        }
        self.counters.system_calls += 1;
        or_nothing(sys::receive(self.fd, &mut self.buffer))
    }

    fn receive_now(&mut self) -> Result<Option<usize>, i32> {
        self.counters.system_calls += 1;
        or_nothing(sys::receive_now(self.fd, &mut self.buffer))
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
    finished: bool,
    paused: bool,
    shutdown_done: bool,
    sends: u32,
}

/// Talks until the conversation ends.
pub fn converse<P: Party>(line: &mut Line, party: &mut P) -> End {
    party.opened(line);
    let mut course = Course {
        line,
        party,
        finished: false,
        paused: false,
        shutdown_done: false,
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
        if self.line.output.close == Some(How::Rst) {
            return Ok(Step::Over(End::Closed(How::Rst)));
        }
        if !self.line.output.chunks.is_empty() {
            return self.push();
        }
        if let Some(how) = self.line.output.close {
            return Ok(Step::Over(End::Closed(how)));
        }
        if self.line.output.shutdown && !self.shutdown_done {
            self.shutdown_done = true;
            self.line.counters.system_calls += 1;
            sys::shutdown_write(self.line.fd);
        }
        if self.finished {
            // Both sides have said everything.
            return Ok(Step::Over(End::Closed(How::Fin)));
        }
        match self.party.next() {
            Next::Leave => Ok(Step::Over(End::Left)),
            Next::Until(due_ns) => self.rest_until(due_ns),
            Next::Receive => match self.line.receive(true)? {
                Some(len) => Ok(self.deliver(len)),
                None if self.party.waited_too_long() => Ok(Step::Over(End::TimedOut)),
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
                && !self.line.output.chunks.is_empty()
                && !self.finished
            {
                return self.look();
            }
            return Ok(Step::On);
        }
        if !self.party.blocked() {
            return Ok(Step::Over(End::Left));
        }
        // A peer that wants to be read before it reads must not stop us both.
        let room = self.line.output.echo_bytes() <= PAUSE_BYTES;
        if !room && !self.paused {
            self.paused = true;
            self.line.counters.receive_pauses += 1;
            self.party.paused();
        }
        let read = if room && !self.finished {
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
        if !sys::poll(&mut entry, until_ns) && self.party.waited_too_long() {
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
            if !self.line.is_closing() {
                self.party.received(self.line, len);
            }
            return Step::On;
        }
        self.finished = true;
        if self.party.finished(self.line) {
            Step::On
        } else {
            Step::Over(End::Finished)
        }
    }
}
