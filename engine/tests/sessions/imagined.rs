//! One end of a connection that exists only in the imagination: no socket, no kernel.

use engine::meter::Meter;
use engine::pattern::Pattern;
use engine::proactor::How;
use engine::session::Out;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// What a session asked for while it was told one thing.
pub enum Asked {
    Echo(Range<u32>),
    Shared(Range<u32>),
}

/// An [`Out`] that writes down what it is asked.
pub struct Note<'a> {
    pub asked: Vec<Asked>,
    pub shutdown: bool,
    pub close: Option<How>,
    pub meter: &'a mut Meter,
    pub now_ns: u64,
}

impl Out for Note<'_> {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }
    fn echo(&mut self, range: Range<u32>) {
        self.asked.push(Asked::Echo(range));
    }
    fn shared(&mut self, range: Range<u32>) {
        self.asked.push(Asked::Shared(range));
    }
    fn shutdown_write(&mut self) {
        self.shutdown = true;
    }
    fn close(&mut self, how: How) {
        self.close = Some(how);
    }
    fn meter(&mut self) -> &mut Meter {
        self.meter
    }
}

/// One end of an imagined connection: what it said so far, and what of it is still under way.
pub struct End {
    pub pattern: Arc<Pattern>,
    pub meter: Meter,
    pub clock_ns: u64,
    /// Said and not delivered to the peer yet.
    pub under_way: VecDeque<u8>,
    /// Everything ever said.
    pub said: Vec<u8>,
    /// Output was asked for since the session last heard `sent`.
    pub owes_sent: bool,
    pub shutdown: bool,
    pub close: Option<How>,
    /// No more output is taken from here on: ends the endless talk of a source.
    pub budget: usize,
}

impl End {
    pub fn new(pattern: Arc<Pattern>, meter: Meter) -> Self {
        Self {
            pattern,
            meter,
            clock_ns: 1_000,
            under_way: VecDeque::new(),
            said: Vec::new(),
            owes_sent: false,
            shutdown: false,
            close: None,
            budget: usize::MAX,
        }
    }

    /// Tells the session something, as a driver would; nothing is said after a close.
    pub fn tell(&mut self, bytes: &mut [u8], tell: impl FnOnce(&mut [u8], &mut Note<'_>)) {
        if self.close.is_some() {
            return;
        }
        self.clock_ns += 1_000;
        let mut note = Note {
            asked: Vec::new(),
            shutdown: false,
            close: None,
            meter: &mut self.meter,
            now_ns: self.clock_ns,
        };
        tell(bytes, &mut note);
        let Note {
            asked,
            shutdown,
            close,
            ..
        } = note;
        for piece in asked {
            let piece = match piece {
                Asked::Echo(range) => &bytes[range.start as usize..range.end as usize],
                Asked::Shared(range) => self.pattern.slice(range),
            };
            assert!(!self.shutdown, "output was asked for after a half-close");
            self.owes_sent = true;
            self.said.extend_from_slice(piece);
            if close != Some(How::Rst) {
                self.under_way.extend(piece);
            }
        }
        self.shutdown |= shutdown;
        self.close = close;
        if close == Some(How::Rst) {
            self.under_way.clear();
        }
    }

    /// Whether the driver would call `sent` now, with the kernel taking everything.
    pub fn take_sent(&mut self) -> bool {
        self.said.len() < self.budget && self.close.is_none() && std::mem::take(&mut self.owes_sent)
    }
}

pub fn memory(workload_bytes: u32) -> Arc<Pattern> {
    Arc::new(Pattern::new(workload_bytes))
}
