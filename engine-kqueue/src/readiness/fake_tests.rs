//! The core over the scripted selector: every row of the table of real-kernel behaviour, and the
//! property that no legal order of reports changes a byte.

use super::*;
use crate::fake::Fake;
use crate::testing::{Echo, Rig, id, pattern, rig, settings, shrink, with_options};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

type Core = Readiness<Fake>;

fn core(connections: u32) -> Rig<Core> {
    core_with("", connections)
}

fn core_with(options: &str, connections: u32) -> Rig<Core> {
    let mut rig: Rig<Core> = rig(with_options(options, settings(connections, 4, 64)));
    rig.backend.wait(Some(0)).unwrap();
    assert!(rig.backend.next().is_none());
    rig
}

/// Opens one side of a socket pair on `index`; the other side is the peer.
fn open(core: &mut Core, id: ConnectionId) -> (UnixStream, RawFd) {
    let (peer, own) = UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    own.set_nonblocking(true).unwrap();
    let fd = own.as_raw_fd();
    core.open(id, own.into()).unwrap();
    core.receive_many(id);
    (peer, fd)
}

/// One turn; the bytes received in it, and the other events.
fn turn(core: &mut Core) -> (Vec<u8>, Vec<String>) {
    core.wait(Some(0)).unwrap();
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    while let Some(event) = core.next() {
        match event {
            Event::Received(_, lease) => {
                bytes.extend_from_slice(core.bytes(&lease));
                core.give_back(lease);
            }
            other => events.push(format!("{other:?}")),
        }
    }
    (bytes, events)
}

fn report(core: &mut Core, fd: RawFd, filter: Filter, avail: i64, eof: bool, err: Option<i32>) {
    let token = core.selector_mut().token(fd);
    let ready = Ready {
        token,
        filter,
        avail: Some(avail),
        eof,
        err,
        change_error: false,
    };
    core.selector_mut().script.push_back(ready);
}

#[test]
fn reads_all_that_was_told_and_makes_no_receive_that_finds_nothing() {
    let mut rig = core(1);
    let core = &mut rig.backend;
    let (mut peer, fd) = open(core, id(0));
    turn(core);
    // Exactly two buffers: without `avail` a third receive would have to find out.
    peer.write_all(&pattern(1, 128)).unwrap();
    core.selector_mut().touch(fd);
    let before = core.counters().system_calls;
    assert_eq!(turn(core).0, pattern(1, 128));
    assert_eq!(
        core.counters().system_calls - before,
        3,
        "one turn, two receives"
    );
}

#[test]
fn surplus_reports_are_harmless() {
    let mut rig = core(1);
    let core = &mut rig.backend;
    let (mut peer, fd) = open(core, id(0));
    assert_eq!(turn(core), (vec![], vec![]));
    for filter in [Filter::Read, Filter::Write, Filter::Read] {
        core.selector_mut().touch(fd);
        if filter == Filter::Read {
            report(core, fd, filter, 0, false, None);
        } else {
            let token = core.selector_mut().token(fd);
            let surplus = Ready {
                token,
                filter,
                avail: Some(32768),
                eof: false,
                err: None,
                change_error: false,
            };
            core.selector_mut().script.push_back(surplus);
        }
        assert_eq!(turn(core), (vec![], vec![]));
    }
    peer.write_all(b"after").unwrap();
    core.selector_mut().touch(fd);
    assert_eq!(turn(core).0, b"after");
}

#[test]
fn fin_with_bytes_pending_is_acted_on_only_after_the_bytes() {
    // The table: data=227 EV_EOF fflags=0.
    let mut rig = core(1);
    let core = &mut rig.backend;
    let (mut peer, fd) = open(core, id(0));
    turn(core);
    peer.write_all(&pattern(2, 227)).unwrap();
    drop(peer);
    report(core, fd, Filter::Read, 227, true, None);
    let (bytes, events) = turn(core);
    assert_eq!(bytes, pattern(2, 227));
    assert_eq!(events, [format!("Finished({:?})", id(0))]);
}

#[test]
fn a_selector_obeys_the_low_water_mark_and_eof_beats_it() {
    // The fake itself, against the table: 70 bytes of 200 are silent, 220 report, FIN reports.
    let (mut peer, own) = UnixStream::pair().unwrap();
    let mut fake = Fake::default();
    let mut out = Vec::new();
    let add = Change {
        fd: own.as_raw_fd(),
        filter: Filter::Read,
        op: Op::Add,
        clear: true,
        shared: false,
        oneshot: false,
        lowat: Some(200),
        token: 9,
    };
    peer.write_all(&[0; 70]).unwrap();
    fake.turn(&mut vec![add], &mut out, None).unwrap();
    assert_eq!(out, []);
    peer.write_all(&[0; 150]).unwrap();
    fake.touch(own.as_raw_fd());
    fake.turn(&mut vec![], &mut out, None).unwrap();
    assert_eq!((out[0].avail, out[0].eof), (Some(220), false));
    out.clear();
    (&own).read_exact(&mut [0; 215]).unwrap();
    drop(peer);
    fake.touch(own.as_raw_fd());
    fake.turn(&mut vec![], &mut out, None).unwrap();
    assert_eq!((out[0].avail, out[0].eof), (Some(5), true));
}

#[test]
fn both_filters_report_a_reset_and_it_is_told_once() {
    // The table: READ and WRITE both EV_EOF fflags=ECONNRESET; data is 0 and the free space.
    let mut rig = core(1);
    let core = &mut rig.backend;
    let (peer, socket) = crate::testing::tcp_pair();
    let fd = socket.as_raw_fd();
    core.open(id(0), socket).unwrap();
    core.receive_many(id(0));
    turn(core);
    reset(peer);
    report(
        core,
        fd,
        Filter::Write,
        32_768,
        true,
        Some(libc::ECONNRESET),
    );
    report(core, fd, Filter::Read, 0, true, Some(libc::ECONNRESET));
    let (_, events) = turn(core);
    assert_eq!(
        events,
        [format!("ReceiveFailed({:?}, {})", id(0), libc::ECONNRESET)]
    );
    core.selector_mut().touch(fd);
    assert_eq!(turn(core), (vec![], vec![]));
}

/// Closes with RST.
fn reset(peer: std::net::TcpStream) {
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
}

#[test]
fn a_reset_behind_bytes_is_told_after_the_bytes() {
    // The table: EV_EOF with data and fflags=ECONNRESET, then the bytes, then ECONNRESET.
    let mut rig = core(1);
    let core = &mut rig.backend;
    let (mut peer, socket) = crate::testing::tcp_pair();
    let fd = socket.as_raw_fd();
    core.open(id(0), socket).unwrap();
    core.receive_many(id(0));
    turn(core);
    peer.write_all(&pattern(4, 200)).unwrap();
    reset(peer);
    core.selector_mut().touch(fd);
    let report = {
        // What the fake itself says, before the core takes it.
        let (fake, mut out) = (core.selector_mut(), Vec::new());
        fake.turn(&mut vec![], &mut out, None).unwrap();
        out[0]
    };
    assert_eq!((report.eof, report.err), (true, Some(libc::ECONNRESET)));
    core.selector_mut().script.push_back(report);
    let (bytes, events) = turn(core);
    // Linux may drop what was not read when RST comes; what is told comes in this order.
    assert!(bytes == pattern(4, 200) || bytes.is_empty());
    assert_eq!(
        events,
        [format!("ReceiveFailed({:?}, {})", id(0), libc::ECONNRESET)]
    );
}

#[test]
fn a_reset_ends_a_blocked_send() {
    // NetBSD was seen to answer EPIPE, Linux ECONNRESET; after SO_ERROR was taken, Linux says EPIPE, too.
    for (error_taken, errno) in [(false, libc::ECONNRESET), (true, libc::EPIPE)] {
        let mut rig = core(1);
        let core = &mut rig.backend;
        let (peer, socket) = crate::testing::tcp_pair();
        let fd = socket.as_raw_fd();
        core.open(id(0), socket).unwrap();
        turn(core);
        static MUCH: [u8; 16 << 20] = [7; 16 << 20];
        assert!(matches!(
            crate::testing::send_all(core, id(0), &MUCH),
            Sending::Pending
        ));
        turn(core);
        assert!(core.selector_mut().watches(fd, Filter::Write));
        reset(peer);
        if error_taken {
            assert_eq!(sys::take_error(fd), Err(libc::ECONNRESET));
        }
        report(
            core,
            fd,
            Filter::Write,
            32_768,
            true,
            Some(libc::ECONNRESET),
        );
        let (_, events) = turn(core);
        let said = |errno| format!("Sent({:?}, Err({errno}))", id(0));
        match cfg!(target_os = "linux") {
            true => assert_eq!(events, [said(errno)]),
            false => assert!([said(libc::EPIPE), said(libc::ECONNRESET)].contains(&events[0])),
        }
        turn(core);
        assert!(
            !core.selector_mut().watches(fd, Filter::Write),
            "asked for only while blocked"
        );
    }
}

#[test]
fn a_change_that_fails_ends_the_call_and_what_is_ready_comes_in_the_next() {
    let (mut peer, own) = UnixStream::pair().unwrap();
    let mut fake = Fake::default();
    let mut out = Vec::new();
    let change = |fd, op| Change {
        fd,
        filter: Filter::Read,
        op,
        clear: true,
        shared: false,
        oneshot: false,
        lowat: None,
        token: 9,
    };
    peer.write_all(b"x").unwrap();
    let gone = -1;
    let mut changes = vec![
        change(gone, Op::Add),
        change(own.as_raw_fd(), Op::Add),
        change(gone, Op::Delete),
    ];
    fake.list_capacity = 1;
    fake.turn(&mut changes, &mut out, None).unwrap();
    let errors: Vec<_> = out
        .drain(..)
        .map(|ready| (ready.change_error, ready.err))
        .collect();
    assert_eq!(errors, [(true, Some(libc::EBADF)); 2]);
    fake.turn(&mut vec![], &mut out, None).unwrap();
    assert_eq!(
        (out.len(), out[0].avail, out[0].change_error),
        (1, Some(1), false)
    );
}

#[test]
fn each_change_has_an_entry_for_its_error() {
    for (batch, changes, expected) in [(7, 65, 66), (7, 3, 7), (1, 0, 1), (64, 64, 65)] {
        assert_eq!(crate::selector::room(batch, changes), expected);
    }
}

#[test]
fn a_connect_whose_error_was_taken_is_told_by_the_report() {
    // SO_ERROR says 0, the report says why: EV_EOF fflags=ECONNREFUSED.
    let mut rig = core(1);
    let core = &mut rig.backend;
    let refusing = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let fd = socket.as_raw_fd();
    core.open(id(0), socket.into()).unwrap();
    core.selector_mut().interruptions = 1;
    core.connect(id(0), &refusing.into());
    core.wait(Some(0)).unwrap();
    let mut events = Vec::new();
    while let Some(event) = core.next() {
        events.push(format!("{event:?}"));
    }
    if events.is_empty() {
        // Not refused at once: the report of the end comes after somebody has asked.
        let _ = sys::take_error(fd);
        report(core, fd, Filter::Write, 0, true, Some(libc::ECONNREFUSED));
        events = turn(core).1;
    }
    let refused = format!("Connected({:?}, Err({}))", id(0), libc::ECONNREFUSED);
    assert_eq!(events, [refused]);
}

#[test]
fn refused_changes_end_what_waited_for_them() {
    let mut rig = core(2);
    let core = &mut rig.backend;
    let (_peer, fd) = open(core, id(0));
    turn(core);
    let token = core.selector_mut().token(fd);
    let refused = |filter, errno| Ready {
        token,
        filter,
        avail: None,
        eof: false,
        err: Some(errno),
        change_error: true,
    };
    // A delete of what is gone means nothing; a refused registration is the end of receiving.
    core.selector_mut()
        .script
        .push_back(refused(Filter::Write, libc::ENOENT));
    core.selector_mut()
        .script
        .push_back(refused(Filter::Read, libc::ENOMEM));
    let (_, events) = turn(core);
    assert_eq!(
        events,
        [format!("ReceiveFailed({:?}, {})", id(0), libc::ENOMEM)]
    );
}

#[test]
fn reports_for_a_former_tenant_are_dropped() {
    let mut rig = core(1);
    let core = &mut rig.backend;
    let old = id(0);
    let (_peer, fd) = open(core, old);
    turn(core);
    let stale = core.selector_mut().token(fd);
    core.close(old, How::Fin);
    assert_eq!(turn(core).1, [format!("Closed({old:?})")]);
    let new = old.next_generation();
    let (mut peer, _) = open(core, new);
    peer.write_all(b"new").unwrap();
    for filter in [Filter::Read, Filter::Write] {
        core.selector_mut().script.push_back(Ready {
            token: stale,
            filter,
            avail: Some(9),
            eof: true,
            err: None,
            change_error: false,
        });
    }
    let (bytes, events) = turn(core);
    assert_eq!((bytes.as_slice(), events.len()), (&b"new"[..], 0));
}

#[test]
fn a_signal_is_not_an_error_and_changes_are_not_repeated() {
    let mut rig = core(1);
    let core = &mut rig.backend;
    let (mut peer, _) = open(core, id(0));
    peer.write_all(b"x").unwrap();
    let asked = core.selector_mut().changes.len();
    core.selector_mut().interruptions = 2;
    assert_eq!(turn(core), (vec![], vec![]));
    assert_eq!(turn(core), (vec![], vec![]));
    assert_eq!(turn(core).0, b"x");
    assert_eq!(core.selector_mut().changes.len(), asked + 1);
}

#[test]
fn an_event_list_shorter_than_the_ready_set_loses_nothing() {
    // The table: an event list of 7 for 65 descriptors.
    let mut rig = core(64);
    let core = &mut rig.backend;
    core.selector_mut().list_capacity = 7;
    let peers: Vec<_> = (0..64).map(|index| open(core, id(index))).collect();
    for round in 0..5u8 {
        for (peer, fd) in &peers {
            (&mut &*peer).write_all(&[round; 3]).unwrap();
            core.selector_mut().touch(*fd);
        }
        let mut got = 0;
        for _ in 0..12 {
            got += turn(core).0.len();
        }
        assert_eq!(got, 64 * 3);
    }
}

#[test]
fn a_listener_that_tells_its_backlog_is_asked_no_more_often() {
    // The table: data=5 for five pending, then an extra report.
    let path = std::env::temp_dir().join(format!("linerate-fake-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let peers: Vec<_> = (0..5)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    let mut rig = core(8);
    let core = &mut rig.backend;
    core.accept_many(listener.as_raw_fd());
    core.selector_mut().interruptions = 1;
    turn(core);
    let fd = listener.as_raw_fd();
    report(core, fd, Filter::Read, 5, false, None);
    let before = core.counters().system_calls;
    core.selector_mut().list_capacity = usize::MAX;
    core.wait(Some(0)).unwrap();
    // The fake's own level report follows the scripted one and says 0: at least one try.
    let mut accepted = 0;
    while let Some(event) = core.next() {
        assert!(matches!(event, Event::Accepted(_)));
        accepted += 1;
    }
    assert!((1..=5).contains(&accepted));
    assert_eq!(core.counters().system_calls - before, 1 + accepted);
    while accepted < 5 {
        core.wait(Some(0)).unwrap();
        while let Some(event) = core.next() {
            assert!(matches!(event, Event::Accepted(_)));
            accepted += 1;
        }
    }
    core.accept_stop();
    core.wait(Some(0)).unwrap();
    assert!(!core.selector_mut().watches(fd, Filter::Read));
    drop(peers);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn work_at_hand_means_no_sleep_and_parked_connections_do() {
    let mut rig = core(2);
    let core = &mut rig.backend;
    let (mut peer, fd) = open(core, id(0));
    turn(core);
    // More than a turn's budget of 64-byte buffers.
    peer.write_all(&pattern(3, 64 * 40)).unwrap();
    core.selector_mut().touch(fd);
    let (bytes, _) = turn(core);
    assert_eq!(bytes.len(), 64 * RECEIVE_BUDGET as usize);
    core.wait(None).unwrap();
    assert_eq!(core.selector_mut().timeout, Some(Some(Duration::ZERO)));
    // All buffers leased: it is parked, counted once, and the wait may sleep.
    let mut leases = Vec::new();
    while let Some(Event::Received(_, lease)) = core.next() {
        leases.push(lease);
    }
    assert_eq!(
        (
            leases.len(),
            core.buffers_free(),
            core.counters().no_buffers
        ),
        (4, 0, 1)
    );
    core.wait(None).unwrap();
    assert_eq!(core.selector_mut().timeout, Some(None));
    assert!(core.next().is_none());
    assert_eq!(core.counters().no_buffers, 1);
    core.give_back(leases.pop().unwrap());
    core.wait(None).unwrap();
    assert_eq!(core.selector_mut().timeout, Some(Some(Duration::ZERO)));
    assert!(matches!(core.next(), Some(Event::Received(..))));
}

#[test]
fn unknown_options_are_refused() {
    let mut wrong = settings(1, 1, 64);
    wrong.options.push(("sqpoll".into(), "on".into()));
    let error = Core::new(&wrong).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("'sqpoll'"), "{error}");
}

/// One step of a peer.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize),
    Read(usize, usize),
    Turn,
}

const PEERS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PEERS, 1usize..2000).prop_map(|(peer, len)| Step::Write(peer, len)),
        2 => (0..PEERS, 1usize..3000).prop_map(|(peer, len)| Step::Read(peer, len)),
        3 => Just(Step::Turn),
    ]
}

/// A peer with what it has said and heard.
struct Peer {
    stream: UnixStream,
    fd: RawFd,
    said: usize,
    heard: Vec<u8>,
    ended: bool,
}

impl Peer {
    fn write(&mut self, seed: u64, len: usize) {
        let all = pattern(seed, self.said + len);
        if let Ok(taken) = self.stream.write(&all[self.said..]) {
            self.said += taken;
        }
    }

    fn read(&mut self, len: usize) {
        let mut buffer = vec![0; len];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(taken) => self.heard.extend_from_slice(&buffer[..taken]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever the order, repetition and segmentation of reports: the echoed bytes are the same.
    #[test]
    fn any_legal_order_of_reports_gives_the_same_bytes(
        steps in proptest::collection::vec(step(), 1..60),
        seed in any::<u64>(),
        list_capacity in 0usize..5,
        trigger in prop_oneof![Just("trigger=edge"), Just("trigger=level")],
    ) {
        let mut rig = core_with(trigger, PEERS as u32 + 1);
        // A closed connection, so that there are stale tokens.
        open(&mut rig.backend, id(PEERS as u32));
        turn(&mut rig.backend);
        rig.backend.close(id(PEERS as u32), How::Fin);
        turn(&mut rig.backend);
        let mut peers: Vec<Peer> = (0..PEERS as u32)
            .map(|index| {
                let (stream, fd) = open(&mut rig.backend, id(index));
                shrink(&stream);
                Peer { stream, fd, said: 0, heard: Vec::new(), ended: false }
            })
            .collect();
        rig.backend.selector_mut().list_capacity = list_capacity;
        // Half of the cases without surplus reports, which would make up for lost ones.
        if seed.is_multiple_of(2) {
            rig.backend.selector_mut().chaos(seed);
        }
        let mut echo = Echo::new(rig.backend, PEERS);
        for step in steps {
            match step {
                Step::Write(peer, len) => {
                    peers[peer].write(peer as u64, len);
                    echo.backend.selector_mut().touch_only(peers[peer].fd, Filter::Read);
                }
                Step::Read(peer, len) => {
                    peers[peer].read(len);
                    echo.backend.selector_mut().touch_only(peers[peer].fd, Filter::Write);
                }
                Step::Turn => echo.turn(Some(0)),
            }
        }
        for peer in &peers {
            peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
            echo.backend.selector_mut().touch_only(peer.fd, Filter::Read);
        }
        for _ in 0..5000 {
            echo.turn(Some(0));
            for peer in peers.iter_mut().filter(|peer| !peer.ended) {
                let before = peer.heard.len();
                peer.read(4096);
                if peer.heard.len() > before {
                    echo.backend.selector_mut().touch_only(peer.fd, Filter::Write);
                }
            }
            if echo.closed == PEERS && peers.iter().all(|peer| peer.ended) {
                break;
            }
        }
        prop_assert_eq!(echo.closed, PEERS);
        prop_assert_eq!(echo.backend.buffers_free(), 4);
        for (index, peer) in peers.iter().enumerate() {
            prop_assert!(peer.ended);
            prop_assert_eq!(&peer.heard, &pattern(index as u64, peer.said));
        }
    }
}
