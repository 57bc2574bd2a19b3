//! The testee's loop on a backend that has no kernel: what happens is what the test says.

use super::*;
use crate::control::Control;
use crate::driver::ServeLimits;
use crate::worker::scripted::Scripted;
use crate::workload::{EchoServer, ServeSpec};
use std::fs::File;

type Testee = Server<Scripted, EchoServer>;

fn testee(idle_timeout_ns: u64) -> Testee {
    let control = Arc::new(Control::default());
    let job = ServeJob {
        worker: 0,
        wake: control.seat().unwrap(),
        control,
        published: Arc::default(),
        spec: ServeSpec::Echo,
        listener: None,
        handoff: None,
        socket: socket::SocketOptions::default(),
        limits: ServeLimits {
            connections: 100_000,
            idle_timeout_ns: Some(idle_timeout_ns),
            one_off: false,
            drain_ns: 0,
        },
        expected_connections: None,
        expected_message_bytes: None,
        engine_options: Vec::new(),
    };
    Server::new(job, EchoServer).unwrap()
}

fn connect(testee: &mut Testee, count: usize) {
    for _ in 0..count {
        testee.accepted(File::open("/dev/null").unwrap().into());
    }
}

/// One turn of the loop, in which connection `index` sends a byte, if one is named.
fn turn(testee: &mut Testee, index: Option<usize>) {
    if let Some(index) = index {
        let id = testee.places[index].wire.id;
        testee.bench.proactor.leased = true;
        let lease = Lease {
            buffer: 0,
            offset: 0,
            len: 1,
        };
        let received = Event::Received(id, lease);
        testee.bench.proactor.events.push_back(received);
    }
    let _ = testee.next_deadline_ns();
    while let Some(event) = testee.bench.proactor.next() {
        testee.handle(event);
    }
    testee.sweep();
}

#[test]
fn a_turn_looks_at_no_connection_that_cannot_be_idle_yet() {
    let hour_ns = 3_600_000_000_000;
    let mut testee = testee(hour_ns);
    connect(&mut testee, 500);
    let before = testee.timers.visits();
    for _ in 0..1_000 {
        turn(&mut testee, Some(7));
    }
    assert_eq!(testee.timers.visits() - before, 0);
    let next_ns = testee.next_deadline_ns().expect("somebody may be idle");
    assert!(next_ns > now_ns() + hour_ns / 2, "it wakes only to look");
}

#[test]
fn the_idle_are_closed_when_their_time_is_over_and_the_busy_are_not() {
    let timeout_ns = 40_000_000;
    let mut testee = testee(timeout_ns);
    connect(&mut testee, 20);
    let begun_ns = now_ns();
    while testee.open > 1 && now_ns() < begun_ns + 100 * timeout_ns {
        turn(&mut testee, Some(3));
        assert!(testee.open == 20 || now_ns() >= begun_ns + timeout_ns / 2);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(testee.places[3].session.is_some());
    assert_eq!(testee.open, 1);
    assert_eq!(testee.job.published.idle_closed.load(Relaxed), 19);
    // A new tenant of a place is not judged by the time of the one before.
    connect(&mut testee, 1);
    turn(&mut testee, Some(3));
    assert_eq!(testee.open, 2);
}
