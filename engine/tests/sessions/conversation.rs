//! A load and a testee, wired to each other by an imagined network.

use crate::imagined::End;

use engine::endpoint::Target;
use engine::load::{Life, LoadWorkload, Rules, Share};
use engine::meter::{Meter, Recorded};
use engine::session::{How, Session};
use engine::shape::{POISSON_SEED, Pace, Ramp, Stop};
use engine::workload::{LoadSpec, LoadVisitor, ServeSpec, ServeVisitor, ServeWorkload};
use proptest::prelude::*;
use std::net::SocketAddr;
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
        let meter = Meter::new(false, Some(conversation.operations), Arc::default());
        let region = Arc::new(load.region());
        let rules = rules(1, Stop::Count(conversation.operations));
        let mut life = Life::new(load, rules, Arc::clone(&region), meter);
        let mut outcome = Outcome {
            recorded: Recorded::new(),
            load_said: Vec::new(),
            testee_said: Vec::new(),
            connections: 0,
        };
        let mut clock_ns = 1_000;
        life.begin(clock_ns);
        if life.is_prepared() {
            life.go(clock_ns, clock_ns);
        }
        while life.next_dial(clock_ns).is_some() {
            outcome.connections += 1;
            let mut talk = Talk {
                load: End::new(Arc::clone(&region)),
                testee: End::new(Arc::new(testee.region())),
                life: &mut life,
                testee_session: testee.session(),
                garble: conversation.garble,
                delivered_to_load: 0,
                told_load_of_end: false,
                told_testee_of_end: false,
            };
            talk.load.clock_ns = clock_ns;
            if let ServeSpec::Source { message_bytes } | ServeSpec::Duplex { message_bytes } =
                conversation.serve
            {
                talk.testee.budget = 30 * message_bytes as usize;
            }
            talk.run(&conversation.weather.0);
            outcome.load_said.extend(&talk.load.said);
            outcome.testee_said.extend(&talk.testee.said);
            clock_ns = talk.load.clock_ns;
            if talk.load.close.is_none() {
                break;
            }
            life.closed(0, clock_ns);
            life.pass(clock_ns);
        }
        life.finish(clock_ns + 1);
        let accounts = life.accounts();
        assert_eq!(accounts.pending(), 0, "{accounts:?}");
        outcome.recorded = life.take_recorded();
        outcome
    }
}

/// So many connections to a target that nobody connects to, without warm-up.
pub fn rules(connections: u32, stop: Stop) -> Rules {
    Rules {
        share: Share {
            first: 3,
            count: connections,
            total: connections + 5,
        },
        target: Target {
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9)).into()],
            sources: Vec::new(),
            spread: 1,
        },
        ramp: Ramp::AtOnce,
        connects_at_once: engine::load::CONNECTS_AT_ONCE,
        closing: Ramp::AtOnce,
        queue: engine::shape::Queue::Own,
        poisson_seed: POISSON_SEED,
        warmup_ns: 0,
        stop,
        connect_timeout_ns: 1_000_000_000,
        operation_timeout_ns: 1_000_000_000,
        drain_ns: 1_000_000_000,
    }
}

pub struct Talk<'a, W: LoadWorkload, T> {
    load: End,
    testee: End,
    life: &'a mut Life<W>,
    testee_session: T,
    pub garble: Garble,
    delivered_to_load: usize,
    told_load_of_end: bool,
    told_testee_of_end: bool,
}

impl<W: LoadWorkload, T: Session> Talk<'_, W, T> {
    pub fn run(&mut self, weather: &[(bool, usize)]) {
        let life = &mut *self.life;
        self.load.tell(&mut [], |_, out| life.connected(0, out));
        if life.is_prepared() && life.phase() == engine::load::Phase::Preparing {
            life.go(self.load.clock_ns, self.load.clock_ns);
        }
        while life.next_speaker(self.load.clock_ns).is_some() {
            self.load.tell(&mut [], |_, out| life.speak(0, out));
        }
        let session = &mut self.testee_session;
        self.testee.tell(&mut [], |_, out| session.opened(out));
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
        let life = &mut *self.life;
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
            self.load
                .tell(&mut segment, |bytes, out| life.received(0, bytes, out));
        } else if (self.testee.shutdown || self.testee.close.is_some()) && !self.told_load_of_end {
            moved = true;
            self.told_load_of_end = true;
            let reset = self.testee.close == Some(How::Rst);
            self.load.tell(&mut [], |_, out| match reset {
                true => life.lost(0, libc::ECONNRESET, out),
                false => life.peer_finished(0, out),
            });
        }
        if self.load.take_sent() {
            self.load.tell(&mut [], |_, out| life.sent(0, out));
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
            self.testee
                .tell(&mut segment, |bytes, out| session.received(bytes, out));
        } else if (self.load.shutdown || self.load.close.is_some()) && !self.told_testee_of_end {
            moved = true;
            self.told_testee_of_end = true;
            self.testee
                .tell(&mut [], |_, out| session.peer_finished(out));
        }
        while self.testee.under_way.is_empty() && self.testee.take_sent() {
            self.testee.tell(&mut [], |_, out| session.sent(out));
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
        Garble::Drop(position) => match (within(position), segment.len()) {
            (Some(_), 1) => segment[0] ^= 0x10,
            (Some(offset), _) => drop(segment.remove(offset)),
            (None, _) => {}
        },
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
