//! One end of a connection that exists only in the imagination: no socket, no kernel.

use engine::region::Region;
use engine::session::{How, Out};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// What a session asked for while it was told one thing.
pub enum Asked {
    Echo(Range<u32>),
    Shared(Range<u32>),
    Own(Vec<u8>),
}

/// An [`Out`] that writes down what it is asked.
pub struct Note {
    pub asked: Vec<Asked>,
    pub shutdown: bool,
    pub close: Option<How>,
    pub after_ns: Option<u64>,
    pub now_ns: u64,
}

impl Note {
    /// Nothing was asked yet, at this instant.
    pub fn new(now_ns: u64) -> Self {
        Self {
            asked: Vec::new(),
            shutdown: false,
            close: None,
            after_ns: None,
            now_ns,
        }
    }
}

impl Out for Note {
    fn now_ns(&mut self) -> u64 {
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
    fn space(&mut self, bytes: usize) -> &mut [u8] {
        self.asked.push(Asked::Own(vec![0; bytes]));
        match self.asked.last_mut() {
            Some(Asked::Own(own)) => own,
            _ => unreachable!(),
        }
    }
    fn after(&mut self, delay_ns: u64) {
        self.after_ns = Some(self.now_ns + delay_ns);
    }
}

/// One end of an imagined connection: what it said so far, and what of it is still under way.
pub struct End {
    pub region: Arc<Region>,
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
    pub fn new(region: Arc<Region>) -> Self {
        Self {
            region,
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
    pub fn tell(&mut self, bytes: &mut [u8], tell: impl FnOnce(&mut [u8], &mut Note)) {
        if self.close.is_some() {
            return;
        }
        self.clock_ns += 1_000;
        let mut note = Note::new(self.clock_ns);
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
                Asked::Shared(range) => self.region.slice(range),
                Asked::Own(ref own) => own,
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
