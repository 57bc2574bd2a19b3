//! A load's life under any order of events: every connection is accounted for, nothing that is due is
//! forgotten, and nothing is given up early.

use crate::conversation::{echo_spec, rules};
use crate::imagined::{Asked, Note};
use engine::load::{
    CONNECTS_AT_ONCE, Connects, Dial, Life, LoadOut, LoadSession, LoadWorkload, Loss, Outcome,
    Phase, Rules,
};
use engine::meter::{ErrorKind, Meter, Recorded};
use engine::record::{Ending, Happening, RingReader, ring};
use engine::region::Region;
use engine::session::{Hints, How};
use engine::shape::{Pace, Queue, Ramp, Stop};
use engine::workload::{Closer, Direction, LoadSpec, LoadVisitor};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const MS: u64 = 1_000_000;
const CONNECTIONS: u32 = 5;

/// What may happen to a connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    Connected,
    Refused(i32),
    Received(usize),
    Sent,
    Finished,
    Lost,
    Closed,
    Passed(u64),
    Stop,
}

fn events() -> impl Strategy<Value = Vec<(u32, Event)>> {
    let errno = prop_oneof![
        Just(libc::ECONNREFUSED),
        Just(libc::EAGAIN),
        Just(libc::EADDRNOTAVAIL),
        Just(libc::ECONNRESET),
    ];
    let event = prop_oneof![
        6 => Just(Event::Connected),
        1 => errno.prop_map(Event::Refused),
        6 => prop_oneof![Just(10usize), 1usize..30].prop_map(Event::Received),
        2 => Just(Event::Sent),
        2 => Just(Event::Finished),
        1 => Just(Event::Lost),
        4 => Just(Event::Closed),
        4 => prop_oneof![0u64..MS, 0u64..200 * MS, 0u64..3_000 * MS].prop_map(Event::Passed),
        1 => Just(Event::Stop),
    ];
    prop::collection::vec((0..CONNECTIONS, event), 0..300)
}

/// How the executor of a test sees a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Socket {
    None,
    Connecting,
    Open,
    Closing,
}

/// As far from 0 as a clock is that runs since the machine was started.
const BEGIN_NS: u64 = 20_000_000_000_000;

/// An executor without sockets: what happens is what the test says.
struct Executor<W: LoadWorkload> {
    life: Life<W>,
    sockets: [Socket; CONNECTIONS as usize],
    now_ns: u64,
    /// Every event that the life recorded.
    events: RingReader,
}

impl<W: LoadWorkload> Executor<W> {
    fn new(workload: W, rules: Rules, pace: Pace) -> Self {
        let region = Arc::new(workload.region());
        let meter = Meter::new(pace.is_open(), rules.count(), Arc::default());
        let (recorder, events) = ring(1 << 14);
        let mut life = Life::new(workload, rules, region, meter).recording(Some(recorder));
        life.begin(BEGIN_NS);
        Self {
            life,
            sockets: [Socket::None; CONNECTIONS as usize],
            now_ns: BEGIN_NS,
            events,
        }
    }

    /// Tells the life something of a connection that has a socket.
    fn tell(&mut self, index: u32, tell: impl FnOnce(&mut Life<W>, &mut Note)) {
        let mut note = Note::new(self.now_ns);
        tell(&mut self.life, &mut note);
        if note.close.is_some() {
            self.sockets[index as usize] = Socket::Closing;
        }
    }

    fn happen(&mut self, index: u32, event: Event) {
        let socket = self.sockets[index as usize];
        match (event, socket) {
            (Event::Connected, Socket::Connecting) => {
                self.sockets[index as usize] = Socket::Open;
                self.tell(index, |life, out| life.connected(index, out));
            }
            (Event::Refused(errno), Socket::Connecting) => {
                let error = io::Error::from_raw_os_error(errno);
                self.tell(index, |life, out| life.connect_failed(index, &error, out));
                self.sockets[index as usize] = Socket::Closing;
            }
            (Event::Received(len), Socket::Open) => {
                self.tell(index, |life, out| {
                    life.received(index, &mut vec![0; len], out);
                });
            }
            (Event::Sent, Socket::Open) => self.tell(index, |life, out| life.sent(index, out)),
            (Event::Finished, Socket::Open) => {
                self.tell(index, |life, out| life.peer_finished(index, out));
            }
            (Event::Lost, Socket::Open) => {
                self.tell(index, |life, out| life.lost(index, libc::ECONNRESET, out));
            }
            (Event::Closed, Socket::Closing) => {
                self.sockets[index as usize] = Socket::None;
                self.life.closed(index, self.now_ns);
            }
            (Event::Passed(ns), _) => self.now_ns += ns,
            (Event::Stop, _) => self.life.stop(self.now_ns),
            _ => {}
        }
        self.obey();
    }

    fn obey(&mut self) {
        self.life.pass(self.now_ns);
        if self.life.phase() == Phase::Preparing && self.life.is_prepared() {
            self.life.go(self.now_ns, self.now_ns);
            self.life.pass(self.now_ns);
        }
        while let Some(index) = self.life.next_speaker(self.now_ns) {
            self.tell(index, |life, out| life.speak(index, out));
        }
        while let Some((index, _)) = self.life.next_close() {
            self.sockets[index as usize] = Socket::Closing;
        }
        while let Some(Dial { index, .. }) = self.life.next_dial(self.now_ns) {
            assert_eq!(self.sockets[index as usize], Socket::None, "one at a time");
            self.sockets[index as usize] = Socket::Connecting;
        }
    }

    /// Nothing that is due by now is left undone, unless a bounded turn ended before it.
    fn assert_nothing_is_forgotten(&mut self) {
        for _ in 0..100_000 {
            if self.life.is_drained(self.now_ns) {
                return;
            }
            if !self.life.has_work(self.now_ns) {
                assert!(self.life.next_wake_ns() > self.now_ns);
                return;
            }
            self.obey();
        }
        panic!("there is always more to do: {:?}", self.life.phase());
    }

    fn end(mut self) -> (Recorded, engine::load::Accounts) {
        self.life.finish(self.now_ns);
        let accounts = self.life.accounts();
        assert_events_tell_the_accounts(&mut self.events, accounts);
        (self.life.take_recorded(), accounts)
    }
}

/// What is recorded of one client.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    is_started: bool,
    is_open: bool,
    sent: u64,
    received: u64,
    at_ns: u64,
}

/// Each start has one end, which is that of the accounts; messages are numbered as they went, and each answer is one to a
/// message that went before it.
fn assert_events_tell_the_accounts(events: &mut RingReader, accounts: engine::load::Accounts) {
    let mut clients: BTreeMap<u32, Told> = BTreeMap::new();
    let (mut started, mut endings) = (0, [0; 3]);
    assert_eq!(events.dropped(), 0);
    while let Some(event) = events.pop() {
        let told = clients.entry(event.client).or_default();
        assert!(event.at_ns >= told.at_ns, "{event:?} {told:?}");
        told.at_ns = event.at_ns;
        assert_eq!(told.is_started, event.what != Happening::Start, "{event:?}");
        match event.what {
            Happening::Start => {
                started += 1;
                *told = Told {
                    is_started: true,
                    at_ns: event.at_ns,
                    ..Told::default()
                };
            }
            Happening::Open => assert!(!std::mem::replace(&mut told.is_open, true)),
            Happening::Sent(sequence) => {
                assert!(told.is_open);
                assert_eq!(sequence, told.sent);
                told.sent += 1;
            }
            Happening::Received(sequence) => {
                assert_eq!(sequence, told.received);
                told.received += 1;
                assert!(told.received <= told.sent);
            }
            Happening::Exit(ending) => {
                told.is_started = false;
                let index = match ending {
                    Ending::Normal => 0,
                    Ending::Unfinished => 1,
                    Ending::ConnectTimeout | Ending::Failed { .. } => 2,
                };
                endings[index] += 1;
            }
        }
    }
    assert_eq!(started, accounts.started);
    let counted = [accounts.succeeded, accounts.unfinished, accounts.failed];
    assert_eq!(endings, counted);
}

/// Plays events and ends the run.
struct Play {
    events: Vec<(u32, Event)>,
    rules: Rules,
    pace: Pace,
}

impl LoadVisitor for Play {
    type Output = (Recorded, engine::load::Accounts);

    fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output {
        let mut executor = Executor::new(workload, self.rules, self.pace);
        executor.obey();
        for (index, event) in self.events {
            executor.happen(index, event);
            executor.assert_nothing_is_forgotten();
            let accounts = executor.life.accounts();
            assert!(accounts.started >= accounts.succeeded + accounts.failed);
        }
        executor.end()
    }
}

fn specs() -> impl Strategy<Value = (LoadSpec, Pace)> {
    let pace = prop_oneof![
        Just(Pace::Closed),
        Just(Pace::Constant(100.0)),
        Just(Pace::Poisson(1_000.0)),
    ];
    let closer = prop_oneof![Just(Closer::Client), Just(Closer::Server)];
    let how = prop_oneof![Just(How::Fin), Just(How::Rst)];
    (0..4, pace, closer, how, 1u32..3).prop_map(|(kind, pace, closer, how, depth)| {
        let spec = match kind {
            0 => LoadSpec::RequestResponse {
                request_bytes: 10,
                response_bytes: 10,
                depth,
                pace,
                verify: false,
                echo: false,
            },
            1 => LoadSpec::Transaction {
                exchange: Some((10, 10)),
                pace,
                closer,
                how,
            },
            2 => LoadSpec::Transaction {
                exchange: None,
                pace,
                closer,
                how,
            },
            _ => LoadSpec::Stream {
                direction: Direction::Both,
                message_bytes: 10,
                bitrate_bits_per_second: None,
            },
        };
        (spec, pace)
    })
}

fn stops() -> impl Strategy<Value = Stop> {
    prop_oneof![
        (1u64..20).prop_map(Stop::Count),
        (1u64..2_000).prop_map(|ms| Stop::After(ms * MS)),
    ]
}

fn queues() -> impl Strategy<Value = Queue> {
    prop_oneof![Just(Queue::Own), Just(Queue::Shared)]
}

fn ramps() -> impl Strategy<Value = Ramp> {
    prop_oneof![
        Just(Ramp::AtOnce),
        Just(Ramp::PerSecond(100.0)),
        Just(Ramp::Batches {
            connections: 2,
            pause_ns: 50 * MS
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_connection_and_operation_is_accounted_for(
        (spec, pace) in specs(),
        stop in stops(),
        ramp in ramps(),
        queue in queues(),
        warmup_ms in prop_oneof![Just(0u64), 1u64..300],
        events in events(),
    ) {
        let rules = Rules { ramp, queue, warmup_ns: warmup_ms * MS, ..rules(CONNECTIONS, stop) };
        let timeout_ns = rules.operation_timeout_ns;
        let (recorded, accounts) = spec.dispatch(Play { events, rules, pace });
        prop_assert_eq!(accounts.pending(), 0, "{:?}", accounts);
        prop_assert_eq!(
            accounts.started,
            accounts.succeeded + accounts.failed + accounts.unfinished
        );
        // A time-out is never early.
        let timeouts = recorded.errors[ErrorKind::Timeout as usize];
        if timeouts > 0 && recorded.errors_total() == timeouts && !recorded.failed.is_empty() {
            prop_assert!(recorded.failed.min() * 1_001 / 1_000 >= timeout_ns);
        }
        // A run that counts does exactly what it was asked for, or says what is missing.
        if let Stop::Count(count) = stop {
            prop_assert!(recorded.operations <= count, "{} of {count}", recorded.operations);
        }
        prop_assert!(recorded.window_start_ns <= recorded.window_end_ns);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_connection_that_is_opened_once_has_one_outcome(
        ramp in ramps(),
        closing in ramps(),
        connects_at_once in 1u32..4,
        events in events(),
    ) {
        let stop = Stop::Count(CONNECTIONS.into());
        let rules = Rules { ramp, closing, connects_at_once, ..rules(CONNECTIONS, stop) };
        let spec = LoadSpec::Connect { ramp };
        let (recorded, accounts) = spec.dispatch(Play { events, rules, pace: Pace::Closed });
        let established = recorded.operations;
        let outcomes = established + recorded.errors_total() + recorded.unfinished.count;
        prop_assert_eq!(outcomes, u64::from(CONNECTIONS));
        prop_assert_eq!(recorded.unfinished.never_sent, u64::from(CONNECTIONS) - accounts.started);
        prop_assert_eq!(accounts.lost, recorded.lost.iter().sum::<u64>());
        prop_assert_eq!(accounts.succeeded, established - accounts.lost);
        prop_assert_eq!(recorded.connect.len(), established);
        prop_assert_eq!(accounts.failed, recorded.errors_total() + accounts.lost);
    }
}

/// Five connections a tenth of a second apart, of which the peer ends one; closed in the same order.
struct Held {
    closing: Ramp,
}

impl LoadVisitor for Held {
    type Output = ();

    fn visit<W: LoadWorkload>(self, workload: W) {
        let rules = Rules {
            ramp: Ramp::PerSecond(10.0),
            closing: self.closing,
            ..rules(CONNECTIONS, Stop::Count(CONNECTIONS.into()))
        };
        let mut executor = Executor::new(workload, rules, Pace::Closed);
        executor.obey();
        // Half of all are another worker's, which takes turns with this one.
        for index in 0..CONNECTIONS {
            executor.happen(index, Event::Passed(if index == 0 { 0 } else { 200 * MS }));
            let dialled = executor.sockets.map(|socket| socket != Socket::None);
            assert_eq!(dialled.iter().filter(|one| **one).count() as u32, index + 1);
            executor.happen(index, Event::Connected);
        }
        assert_eq!(
            executor.life.phase(),
            Phase::Draining,
            "all are established"
        );
        executor.happen(0, Event::Passed(3_600_000 * MS));
        assert!(!executor.life.is_drained(executor.now_ns), "they are held");
        executor.happen(1, Event::Finished);
        executor.happen(1, Event::Closed);
        let standing = executor.life.standing().count() as u32;
        assert_eq!(standing, CONNECTIONS - 1);
        executor.happen(0, Event::Stop);
        if self.closing == Ramp::AtOnce {
            assert!(executor.life.is_drained(executor.now_ns));
        } else {
            // At once, and after 2 (it is gone), 4, 6 and 8 s.
            for (second, left) in (1..=8).zip([3, 3, 3, 2, 2, 1, 1, 0]) {
                assert!(
                    !executor.life.is_drained(executor.now_ns),
                    "{left} are left"
                );
                for index in 0..CONNECTIONS {
                    executor.happen(index, Event::Passed(u64::from(index == 0) * 1_000 * MS));
                    executor.happen(index, Event::Closed);
                }
                assert_eq!(executor.life.standing().count(), left, "after {second} s");
            }
            assert!(executor.life.is_drained(executor.now_ns));
        }
        let (recorded, accounts) = executor.end();
        assert_eq!(recorded.operations, u64::from(CONNECTIONS));
        assert_eq!(recorded.lost[ErrorKind::ClosedEarly as usize], 1);
        assert_eq!((accounts.succeeded, accounts.lost), (4, 1));
        assert_eq!(recorded.errors_total(), 0, "connecting failed nowhere");
        let window_ns = recorded.window_end_ns - recorded.window_start_ns;
        assert_eq!(window_ns / MS, 800, "the hold is not in the window");
    }
}

#[test]
fn connections_are_held_until_somebody_says_so() {
    let ramp = Ramp::PerSecond(10.0);
    for closing in [Ramp::AtOnce, Ramp::PerSecond(1.0)] {
        LoadSpec::Connect { ramp }.dispatch(Held { closing });
    }
}

#[test]
fn a_life_of_many_idle_connections_looks_at_none_of_them() {
    struct Many;
    impl LoadVisitor for Many {
        type Output = ();
        fn visit<W: LoadWorkload>(self, workload: W) {
            let count = 60_000;
            let rules = rules(count, Stop::After(u64::MAX / 2));
            let region = Arc::new(workload.region());
            let meter = Meter::new(false, None, Arc::default());
            let mut life = Life::new(workload, rules, region, meter);
            life.begin(1);
            while let Some(dial) = life.next_dial(1) {
                life.connected(dial.index, &mut Note::new(1));
            }
            assert!(life.is_prepared());
            life.go(1, 1);
            while let Some(index) = life.next_speaker(1) {
                life.speak(index, &mut Note::new(1));
            }
            // One connection is busy for as long as nothing is due of the others.
            let visits = life.timer_visits();
            for turn in 2..100_000 {
                life.received(7, &mut [0; 10], &mut Note::new(turn));
                assert!(!life.has_work(turn));
            }
            assert_eq!(life.timer_visits(), visits);
            assert_eq!(life.wake_at_ns(), None, "a look now and then suffices");
        }
    }
    let mut spec = echo_spec(10, 1);
    if let LoadSpec::RequestResponse { verify, .. } = &mut spec {
        *verify = false;
    }
    spec.dispatch(Many);
}

/// A load at 500 operations/s whose first connection is never answered and whose others are at once, for 100 ms.
struct WithOneSilent(Queue);

impl LoadVisitor for WithOneSilent {
    type Output = Recorded;

    fn visit<W: LoadWorkload>(self, workload: W) -> Recorded {
        let pace = workload.pace();
        let rules = Rules {
            queue: self.0,
            ..rules(CONNECTIONS, Stop::After(100 * MS))
        };
        let mut executor = Executor::new(workload, rules, pace);
        executor.obey();
        for _ in 0..1_100 {
            for index in 0..CONNECTIONS {
                executor.happen(index, Event::Connected);
                if index > 0 {
                    executor.answer(index);
                }
                executor.happen(index, Event::Closed);
            }
            executor.happen(0, Event::Passed(MS / 10));
        }
        executor.end().0
    }
}

impl<W: LoadWorkload> Executor<W> {
    /// Answers what a connection waits for.
    fn answer(&mut self, index: u32) {
        if self.sockets[index as usize] == Socket::Open && self.life.waits(index) {
            self.happen(index, Event::Received(10));
            if W::CONNECTS == Connects::Each {
                self.happen(index, Event::Finished);
            }
        }
    }
}

/// A run that counts, at a rate, without a warm-up: all is answered at once.
struct Counted(Queue, u64);

impl LoadVisitor for Counted {
    type Output = Recorded;

    fn visit<W: LoadWorkload>(self, workload: W) -> Recorded {
        let pace = workload.pace();
        let rules = Rules {
            queue: self.0,
            ..rules(CONNECTIONS, Stop::Count(self.1))
        };
        let mut executor = Executor::new(workload, rules, pace);
        executor.obey();
        for _ in 0..2_000 {
            for index in 0..CONNECTIONS {
                executor.happen(index, Event::Connected);
                executor.answer(index);
                executor.happen(index, Event::Closed);
            }
            executor.happen(0, Event::Passed(MS));
        }
        executor.end().0
    }
}

#[test]
fn a_run_that_counts_at_a_rate_begins_at_the_go() {
    for pace in [Pace::Constant(100.0), Pace::Poisson(100.0)] {
        for spec in at_pace(pace) {
            for queue in [Queue::Own, Queue::Shared] {
                let recorded = spec.clone().dispatch(Counted(queue, 20));
                assert_eq!(recorded.operations, 20, "{spec:?}, {queue:?}");
                let window_ns = recorded.window_end_ns - recorded.window_start_ns;
                assert!(
                    window_ns < 1_500 * MS,
                    "{window_ns} ns: {spec:?}, {queue:?}"
                );
            }
        }
    }
}

/// Requests on connections that stay, and on one each.
fn at_pace(pace: Pace) -> [LoadSpec; 2] {
    [
        LoadSpec::RequestResponse {
            request_bytes: 10,
            response_bytes: 10,
            depth: 1,
            pace,
            verify: false,
            echo: false,
        },
        LoadSpec::Transaction {
            exchange: Some((10, 10)),
            pace,
            closer: Closer::Server,
            how: How::Fin,
        },
    ]
}

/// More connections than may connect at once, of which one is answered and none after it.
#[test]
fn a_count_that_is_given_up_misses_nothing() {
    struct OneAnswer;
    impl LoadVisitor for OneAnswer {
        type Output = Recorded;
        fn visit<W: LoadWorkload>(self, workload: W) -> Recorded {
            let count = CONNECTS_AT_ONCE + 72;
            let rules = rules(count, Stop::Count(1_000));
            let patience_ns = 5 * rules.connect_timeout_ns;
            let meter = Meter::new(false, rules.count(), Arc::default());
            let region = Arc::new(workload.region());
            let mut life = Life::new(workload, rules, region, meter);
            life.begin(BEGIN_NS);
            life.go(BEGIN_NS, BEGIN_NS);
            let first = life.next_dial(BEGIN_NS).expect("one is to be dialled");
            life.connected(first.index, &mut Note::new(BEGIN_NS));
            life.received(first.index, &mut [0; 10], &mut Note::new(BEGIN_NS));
            life.peer_finished(first.index, &mut Note::new(BEGIN_NS));
            life.closed(first.index, BEGIN_NS);
            while life.next_dial(BEGIN_NS).is_some() {}
            // Nobody looks before all of it is over: time-outs come with the end of patience.
            life.pass(BEGIN_NS + patience_ns);
            life.finish(BEGIN_NS + patience_ns);
            life.take_recorded()
        }
    }
    let spec = LoadSpec::Transaction {
        exchange: Some((10, 10)),
        pace: Pace::Closed,
        closer: Closer::Server,
        how: How::Fin,
    };
    let recorded = spec.dispatch(OneAnswer);
    let all = recorded.operations + recorded.errors_total() + recorded.unfinished.count;
    assert_eq!(all, 1_000);
    assert_eq!(recorded.operations, 1);
}

/// Half of 1000 a second, for the rules give these connections a half: arrival k comes k times 2 ms after the go.
#[test]
fn in_one_queue_nothing_waits_for_a_busy_connection_while_another_is_free() {
    for spec in at_pace(Pace::Constant(1_000.0)) {
        let shared = spec.clone().dispatch(WithOneSilent(Queue::Shared));
        assert_eq!(shared.unfinished.never_sent, 0, "{spec:?}");
        assert_eq!(
            shared.unfinished.count, 1,
            "what the silent one took: {spec:?}"
        );
        assert!(
            (48..=50).contains(&shared.operations),
            "{} {spec:?}",
            shared.operations
        );
        let own = spec.clone().dispatch(WithOneSilent(Queue::Own));
        let never_sent = own.unfinished.never_sent;
        assert!(
            never_sent >= 8,
            "a fifth waits for it: {never_sent} {spec:?}"
        );
    }
}

/// A protocol that shakes hands: it says hello, waits, and is ready when its timer says so.
#[derive(Clone)]
struct Shy;

struct ShySession;

impl LoadWorkload for Shy {
    type Slot = Vec<&'static str>;
    type Session = ShySession;
    const CONNECTS: Connects = Connects::Ahead;
    const OWES: bool = true;

    fn pace(&self) -> Pace {
        Pace::Closed
    }
    fn slot(&self, _: u32, _: &Arc<Region>) -> Self::Slot {
        Vec::new()
    }
    fn session(&self) -> ShySession {
        ShySession
    }
    fn hints(&self) -> Hints {
        Hints {
            receive_bytes: 1,
            bulk: false,
            brief: false,
        }
    }
    fn region(&self) -> Region {
        Region::new(Vec::new())
    }
}

impl LoadSession<Vec<&'static str>> for ShySession {
    fn connected<O: LoadOut>(&mut self, told: &mut Vec<&'static str>, out: &mut O) {
        told.push("connected");
        out.space(5).copy_from_slice(b"hello");
        out.after(50 * MS);
        assert_eq!(out.start(), None, "no operation before traffic may flow");
    }
    fn timer<O: LoadOut>(&mut self, told: &mut Vec<&'static str>, out: &mut O) {
        told.push("timer");
        out.ready();
    }
    fn opened<O: LoadOut>(&mut self, told: &mut Vec<&'static str>, out: &mut O) {
        told.push("opened");
        assert!(out.start().is_some());
    }
    fn received<O: LoadOut>(&mut self, told: &mut Vec<&'static str>, _: &mut [u8], out: &mut O) {
        told.push("received");
        if told.contains(&"opened") {
            assert_eq!(
                told,
                &["connected", "received", "timer", "opened", "received"]
            );
            out.end(Outcome::Planned(How::Fin));
        }
    }
    fn waiting_since_ns(&self, _: &Vec<&'static str>) -> Option<u64> {
        None
    }
    fn fail(&mut self, _: &mut Vec<&'static str>, _: &Loss, _: u64, _: &mut Meter) -> u64 {
        0
    }
    fn abandon(&mut self, _: &mut Vec<&'static str>, _: u64, _: &mut Meter) -> u64 {
        0
    }
}

#[test]
fn a_handshake_comes_before_the_go_and_hears_what_the_peer_says() {
    let rules = rules(1, Stop::After(1_000 * MS));
    let meter = Meter::new(false, None, Arc::default());
    let mut life = Life::new(Shy, rules, Arc::new(Shy.region()), meter);
    life.begin(1);
    let dial = life.next_dial(1).expect("one connection");
    let mut note = Note::new(1);
    life.connected(dial.index, &mut note);
    assert!(matches!(&note.asked[..], [Asked::Own(own)] if own == b"hello"));
    assert!(!life.is_prepared(), "it shakes hands");
    life.received(0, b"greetings".to_vec().as_mut_slice(), &mut Note::new(2));
    let due_ns = life.next_wake_ns();
    assert_eq!(due_ns, 1 + 50 * MS, "its timer is what is due next");
    life.pass(due_ns - 1);
    assert_eq!(life.next_speaker(due_ns - 1), None, "never early");
    life.pass(due_ns);
    assert_eq!(life.next_speaker(due_ns), Some(0));
    life.speak(0, &mut Note::new(due_ns));
    assert!(life.is_prepared());
    life.go(due_ns, due_ns);
    assert_eq!(life.next_speaker(due_ns), Some(0));
    life.speak(0, &mut Note::new(due_ns));
    let mut note = Note::new(due_ns + 1);
    life.received(0, &mut [1], &mut note);
    assert_eq!(note.close, Some(How::Fin), "as planned");
    life.closed(0, due_ns + 2);
    assert!(
        life.next_dial(due_ns + 2).is_some(),
        "and the next follows at once"
    );
}

#[test]
fn a_handshake_that_takes_too_long_is_a_connect_that_timed_out() {
    let meter = Meter::new(false, None, Arc::default());
    let rules = rules(1, Stop::After(1_000 * MS));
    let limit_ns = rules.connect_timeout_ns;
    let mut life = Life::new(Shy, rules, Arc::new(Shy.region()), meter);
    life.begin(1);
    life.next_dial(1).expect("one connection");
    life.connected(0, &mut Note::new(1));
    life.pass(limit_ns);
    assert_eq!(life.next_close(), None);
    life.pass(limit_ns + 1);
    assert_eq!(life.next_close(), Some((0, How::Rst)));
    let refused = life.refused().expect("before the go that is the end");
    assert!(
        refused.to_string().contains("took longer than 1000 ms"),
        "{refused}"
    );
    life.closed(0, limit_ns + 1);
    life.finish(limit_ns + 2);
    assert_eq!(life.accounts().failed, 1);
}
