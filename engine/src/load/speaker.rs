//! The [`LoadOut`] of every engine: its own [`Out`], with the schedule, the meter and an ear for what a
//! session says about its connection.

use super::outcome::Outcome;
use super::session::{Began, LoadOut};
use crate::meter::Meter;
use crate::record::{ClientEvent, Happening, Recorder};
use crate::session::{How, Out};
use crate::shape::Pacer;
use std::ops::Range;

/// What a session said beyond its output, until its load has heard it.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub ready: bool,
    /// It has room for an operation, and found none that is due.
    pub has_room: bool,
    pub after_ns: Option<u64>,
    pub outcome: Option<Outcome>,
}

impl Said {
    /// Whether there is anything to be heard.
    #[inline]
    pub fn is_anything(&self) -> bool {
        self.ready || self.has_room || self.after_ns.is_some() || self.outcome.is_some()
    }
}

pub(super) struct LoadSpeaker<'a, O> {
    pub out: &'a mut O,
    pub meter: &'a mut Meter,
    pub pacer: &'a mut Pacer,
    pub said: &'a mut Said,
    /// Where every event is recorded, if it is.
    pub recorder: &'a mut Option<Recorder>,
    /// Its number in the whole run.
    pub client: u32,
    /// So many operations of the schedule may begin.
    pub starts_left: u32,
    /// The schedule is the worker's, and others may take from it.
    pub shares: bool,
    pub began: Began,
    /// Traffic may flow: operations may start.
    pub running: bool,
}

impl<O: Out> Out for LoadSpeaker<'_, O> {
    #[inline]
    fn now_ns(&mut self) -> u64 {
        self.out.now_ns()
    }

    #[inline]
    fn echo(&mut self, range: Range<u32>) {
        self.out.echo(range);
    }

    #[inline]
    fn shared(&mut self, range: Range<u32>) {
        self.out.shared(range);
    }

    #[inline]
    fn request(&mut self, range: Range<u32>) {
        self.out.request(range);
    }

    #[inline]
    fn space(&mut self, bytes: usize) -> &mut [u8] {
        self.out.space(bytes)
    }

    fn after(&mut self, delay_ns: u64) {
        self.said.after_ns = Some(self.out.now_ns().saturating_add(delay_ns));
    }

    #[inline]
    fn shutdown_write(&mut self) {
        self.out.shutdown_write();
    }

    fn close(&mut self, how: How) {
        // A load's connection does not just close: it ends as planned, or fails.
        self.end(Outcome::Planned(how));
    }
}

impl<O> LoadSpeaker<'_, O> {
    #[inline]
    fn start_what_is_due(&mut self) -> Option<u64> {
        let oldest_ns = self.pacer.oldest_ns().filter(|_| self.starts_left > 0);
        let Some(intended_ns) = oldest_ns else {
            self.said.has_room = self.shares;
            return None;
        };
        if !self.meter.permit(intended_ns) {
            return None;
        }
        self.starts_left -= 1;
        self.pacer.take();
        Some(intended_ns)
    }

    #[inline]
    fn record(&mut self, what: Happening, at_ns: u64) {
        if let Some(recorder) = self.recorder {
            recorder.record(ClientEvent {
                at_ns,
                client: self.client,
                what,
            });
        }
    }
}

impl<O: Out> LoadOut for LoadSpeaker<'_, O> {
    #[inline]
    fn ready(&mut self) {
        self.said.ready = true;
    }

    #[inline]
    fn start(&mut self) -> Option<u64> {
        if !self.running {
            return None;
        }
        if self.pacer.is_open() {
            return self.start_what_is_due();
        }
        let now_ns = self.out.now_ns();
        self.meter.permit(now_ns).then_some(now_ns)
    }

    fn began(&self) -> Began {
        self.began
    }

    fn end(&mut self, outcome: Outcome) {
        self.said.outcome.get_or_insert(outcome);
    }

    #[inline]
    fn meter(&mut self) -> &mut Meter {
        self.meter
    }

    #[inline]
    fn record_sent(&mut self, sequence: u64, at_ns: u64) {
        self.record(Happening::Sent(sequence), at_ns);
    }

    #[inline]
    fn record_received(&mut self, sequence: u64, at_ns: u64) {
        self.record(Happening::Received(sequence), at_ns);
    }
}
