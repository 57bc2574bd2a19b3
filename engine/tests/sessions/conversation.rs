//! A load and a testee, wired to each other by an imagined network.

use crate::imagined::{End, memory};
use engine::meter::{Meter, Recorded};
use engine::proactor::How;
use engine::session::{Boundary, Session};
use engine::shape::Pace;
use engine::workload::{
    LoadSession, LoadSpec, LoadVisitor, LoadWorkload, ServeSpec, ServeVisitor, ServeWorkload, Slot,
};
use proptest::prelude::*;
use std::sync::Arc;

/// What a conversation came to.
#[derive(Debug)]
pub struct Outcome {
    pub recorded: Recorded,
    pub load_said: Vec<u8>,
    pub testee_said: Vec<u8>,
    pub connections: u32,
}

/// The order in which bytes move: each entry moves up to so many bytes one way or the other.
#[derive(Clone, Debug)]
pub struct Weather(Vec<(bool, usize)>);

pub fn weather() -> impl Strategy<Value = Weather> {
    let step = (any::<bool>(), prop_oneof![1usize..8, 1usize..70_000]);
    prop::collection::vec(step, 1..60).prop_map(Weather)
}

pub struct Conversation {
    pub serve: ServeSpec,
    pub weather: Weather,
    pub operations: u64,
    /// Changes what the load receives.
    pub garble: Garble,
}

/// What happens to the testee's bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Garble {
    Nothing,
    Flip(usize),
    Swap(usize),
    Drop(usize),
    Double(usize),
}

impl LoadVisitor for Conversation {
    type Output = Outcome;

    fn visit<W: LoadWorkload>(self, load: W) -> Outcome {
        let serve = self.serve.clone();
        serve.dispatch(WithTestee {
            conversation: self,
            load,
        })
    }
}

pub struct WithTestee<W> {
    conversation: Conversation,
    load: W,
}

impl<L: LoadWorkload> ServeVisitor for WithTestee<L> {
    type Output = Outcome;

    fn visit<T: ServeWorkload>(self, testee: T) -> Outcome {
        let Self { conversation, load } = self;
        let mut meter = Meter::new(false, Some(conversation.operations), Arc::default());
        meter.begin(1, u64::MAX);
        meter.open_window();
        let pattern = memory(load.pattern_bytes());
        let mut slot = load.slot(3, 8);
        slot.pattern = Arc::clone(&pattern);
        let mut outcome = Outcome {
            recorded: Recorded::new(),
            load_said: Vec::new(),
            testee_said: Vec::new(),
            connections: 0,
        };
        let mut connections = 0;
        while connections == 0 || L::RECONNECTS && meter.permit() {
            connections += 1;
            let mut talk = Talk {
                load: End::new(Arc::clone(&pattern), meter),
                testee: End::new(memory(testee.pattern_bytes()), Meter::for_tests()),
                load_session: load.session(),
                testee_session: testee.session(),
                slot: &mut slot,
                garble: conversation.garble,
                delivered_to_load: 0,
                told_load_of_end: false,
                told_testee_of_end: false,
            };
            if let ServeSpec::Source { message_bytes } | ServeSpec::Duplex { message_bytes } =
                conversation.serve
            {
                talk.testee.budget = 30 * message_bytes as usize;
            }
            talk.run(&conversation.weather.0);
            outcome.load_said.extend(&talk.load.said);
            outcome.testee_said.extend(&talk.testee.said);
            meter = talk.load.meter;
        }
        outcome.connections = connections;
        outcome.recorded = meter.into_recorded();
        outcome
    }
}

pub struct Talk<'a, L, T> {
    load: End,
    testee: End,
    load_session: L,
    testee_session: T,
    slot: &'a mut Slot,
    pub garble: Garble,
    delivered_to_load: usize,
    told_load_of_end: bool,
    told_testee_of_end: bool,
}

impl<L: LoadSession, T: Session<()>> Talk<'_, L, T> {
    pub fn run(&mut self, weather: &[(bool, usize)]) {
        self.slot.reset_connection();
        self.slot.connect_started_ns = self.load.clock_ns;
        self.slot.connect_intended_ns = self.load.clock_ns;
        let (session, slot) = (&mut self.load_session, &mut *self.slot);
        self.load.tell(&mut [], |_, out| session.opened(slot, out));
        let session = &mut self.testee_session;
        self.testee
            .tell(&mut [], |_, out| session.opened(&mut (), out));
        for &(to_load, bytes) in weather {
            match to_load {
                true => self.deliver_to_load(bytes),
                false => self.deliver_to_testee(bytes),
            };
        }
        // Then the weather calms down, until nothing moves any more.
        for _ in 0..100_000 {
            if !(self.deliver_to_load(usize::MAX) | self.deliver_to_testee(usize::MAX)) {
                return;
            }
        }
        panic!("the conversation did not end");
    }

    /// Delivers up to `bytes` bytes, or the end of the testee's talk, to the load.
    fn deliver_to_load(&mut self, bytes: usize) -> bool {
        let (session, slot) = (&mut self.load_session, &mut *self.slot);
        let mut moved = false;
        let at = self.delivered_to_load;
        let mut segment: Vec<u8> = self
            .testee
            .under_way
            .drain(..bytes.min(self.testee.under_way.len()))
            .collect();
        self.delivered_to_load += segment.len();
        if !segment.is_empty() {
            moved = true;
            garble(self.garble, at, &mut segment);
            self.load.tell(&mut segment, |bytes, out| {
                session.received(slot, bytes, Boundary::Stream, out);
            });
        } else if (self.testee.shutdown || self.testee.close.is_some()) && !self.told_load_of_end {
            moved = true;
            self.told_load_of_end = true;
            let reset = self.testee.close == Some(How::Rst);
            self.load.tell(&mut [], |_, out| match reset {
                true => {
                    session.was_reset(slot, out);
                }
                false => session.peer_finished(slot, out),
            });
        }
        if self.load.take_sent() {
            self.load.tell(&mut [], |_, out| session.sent(slot, out));
        }
        moved
    }

    fn deliver_to_testee(&mut self, bytes: usize) -> bool {
        let session = &mut self.testee_session;
        let mut moved = false;
        let mut segment: Vec<u8> = self
            .load
            .under_way
            .drain(..bytes.min(self.load.under_way.len()))
            .collect();
        if !segment.is_empty() {
            moved = true;
            self.testee.tell(&mut segment, |bytes, out| {
                session.received(&mut (), bytes, Boundary::Stream, out);
            });
        } else if (self.load.shutdown || self.load.close.is_some()) && !self.told_testee_of_end {
            moved = true;
            self.told_testee_of_end = true;
            self.testee
                .tell(&mut [], |_, out| session.peer_finished(&mut (), out));
        }
        while self.testee.under_way.is_empty() && self.testee.take_sent() {
            self.testee
                .tell(&mut [], |_, out| session.sent(&mut (), out));
            moved = true;
        }
        moved
    }
}

/// Spoils the byte at an absolute position of the stream, if the segment (which begins at `at`)
/// holds it. A segment too short to be spoiled as asked has its byte flipped instead.
pub fn garble(garble: Garble, at: usize, segment: &mut Vec<u8>) {
    let within = |position: usize| {
        position
            .checked_sub(at)
            .filter(|&offset| offset < segment.len())
    };
    match garble {
        Garble::Nothing => {}
        Garble::Flip(position) => {
            if let Some(offset) = within(position) {
                segment[offset] ^= 0x10;
            }
        }
        Garble::Swap(position) => {
            if let Some(offset) = within(position) {
                match (offset + 1..segment.len()).find(|&other| segment[other] != segment[offset]) {
                    Some(other) => segment.swap(offset, other),
                    None => segment[offset] ^= 1,
                }
            }
        }
        Garble::Drop(position) => {
            if let Some(offset) = within(position).filter(|_| segment.len() > 1) {
                segment.remove(offset);
            }
        }
        Garble::Double(position) => {
            if let Some(offset) = within(position) {
                segment.insert(offset, segment[offset]);
            }
        }
    }
}

pub fn converse(load: &LoadSpec, serve: ServeSpec, weather: Weather, operations: u64) -> Outcome {
    load.dispatch(Conversation {
        serve,
        weather,
        operations,
        garble: Garble::Nothing,
    })
}

pub fn calm() -> Weather {
    Weather(vec![(true, usize::MAX), (false, usize::MAX)])
}

pub fn echo_spec(bytes: u32, depth: u32) -> LoadSpec {
    LoadSpec::RequestResponse {
        request_bytes: bytes,
        response_bytes: bytes,
        depth,
        pace: Pace::Closed,
        verify: true,
        echo: true,
    }
}
