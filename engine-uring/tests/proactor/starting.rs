//! Connecting, accepting, waking and waiting.

use crate::support::{bench, bench_with, id, tcp_pair};
use engine::clock::now_ns;
use engine::proactor::{Event, Proactor};
use engine::session::How;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

fn tcp_socket() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

#[test]
fn connects_and_is_accepted() {
    let Some(mut bench) = bench(64, 64, 256) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bench.proactor.accept_many(listener.as_raw_fd());
    let address = socket2::SockAddr::from(listener.local_addr().unwrap());
    for index in 0..64 {
        bench.proactor.open(id(index), tcp_socket().into()).unwrap();
        bench.proactor.connect(id(index), &address);
    }
    let (mut connected, mut accepted) = (0, Vec::new());
    bench.until("64 connects and accepts", |proactor, event| {
        match event {
            Event::Connected(id, Ok(())) => {
                connected += 1;
                proactor.receive_many(id);
            }
            Event::Accepted(socket) => accepted.push(socket),
            other => panic!("{other:?}"),
        }
        connected == 64 && accepted.len() == 64
    });
    let flags = |fd: i32, what| {
        // SAFETY: no memory is involved.
        unsafe { libc::fcntl(fd, what) }
    };
    assert_ne!(
        flags(accepted[0].as_raw_fd(), libc::F_GETFD) & libc::FD_CLOEXEC,
        0
    );
    assert_eq!(
        flags(accepted[0].as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK,
        0
    );
}

/// What the option says of itself: the table is beside the descriptors and not instead of them. A socket
/// that were only in the table could not be asked for TCP_INFO.
#[test]
fn sockets_in_the_rings_own_table_keep_their_descriptors() {
    let Some(mut bench) = bench_with(1, 8, 64, &[("direct", "true")]) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    let descriptor = mine.as_raw_fd();
    bench.open(id(0), mine);
    theirs.write_all(b"?").unwrap();
    bench.until("bytes", |proactor, event| match event {
        Event::Received(_, lease) => {
            proactor.give_back(lease);
            true
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(bench.proactor.descriptor(id(0)), descriptor);
    assert!(engine::tcp_info::read(descriptor).is_some_and(|reading| reading.is_ok()));
    bench.close_and_check(id(0), How::Fin);
}

#[test]
fn a_refused_connect_says_so() {
    let Some(mut bench) = bench(1, 1, 64) else {
        return;
    };
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    bench.proactor.open(id(0), tcp_socket().into()).unwrap();
    bench.proactor.connect(id(0), &gone.into());
    bench.until("refusal", |_, event| match event {
        Event::Connected(_, outcome) => outcome == Err(libc::ECONNREFUSED),
        other => panic!("{other:?}"),
    });
    bench.close_and_check(id(0), How::Fin);
}

#[test]
fn a_connect_that_hangs_can_be_closed() {
    let Some(mut bench) = bench(1, 1, 64) else {
        return;
    };
    // A listener whose backlog is full answers no further SYN.
    let socket = tcp_socket();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap();
    let _first = TcpStream::connect(address.as_socket().unwrap()).unwrap();
    bench.proactor.open(id(0), tcp_socket().into()).unwrap();
    bench.proactor.connect(id(0), &address);
    assert!(bench.events_for(Duration::from_millis(50)).is_empty());
    bench.close_and_check(id(0), How::Fin);
}

#[test]
fn a_full_unix_backlog_delays_connects_and_never_shows() {
    let Some(mut bench) = bench(8, 1, 64) else {
        return;
    };
    let path = std::env::temp_dir().join(format!("linerate-uring-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(1).unwrap();
    for index in 0..8 {
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        bench.proactor.open(id(index), socket.into()).unwrap();
        bench.proactor.connect(id(index), &address);
    }
    let mut connected = bench
        .events_for(Duration::from_millis(50))
        .iter()
        .map(|event| assert!(matches!(event, Event::Connected(_, Ok(()))), "{event:?}"))
        .count();
    assert!(connected < 8, "the backlog of 1 held {connected}");
    let calls = bench.proactor.counters().system_calls;
    assert!(
        calls < 300,
        "{calls} system calls in 50 ms of waiting for a backlog"
    );
    bench.proactor.close(id(7), How::Fin); // one gives up
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(listener));
    let acceptor = std::thread::spawn(move || {
        (0..7)
            .map(|_| listener.accept().unwrap())
            .collect::<Vec<_>>()
    });
    let mut closed = false;
    bench.until("all connected", |_, event| {
        match event {
            Event::Connected(_, Ok(())) => connected += 1,
            Event::Closed(_) => closed = true,
            other => panic!("{other:?}"),
        }
        connected == 7 && closed
    });
    acceptor.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        assert!(
            !name.starts_with("iou-wrk"),
            "a connect was handed to io-wq: {name}"
        );
    }
}

#[test]
fn accepting_stops_and_starts_again() {
    let Some(mut bench) = bench(1, 1, 64) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    bench.proactor.accept_many(listener.as_raw_fd());
    let _first = TcpStream::connect(address).unwrap();
    bench.until("the first", |_, event| matches!(event, Event::Accepted(_)));
    bench.proactor.accept_stop();
    assert!(bench.events_for(Duration::from_millis(10)).is_empty());
    let _second = TcpStream::connect(address).unwrap();
    assert!(
        bench.events_for(Duration::from_millis(30)).is_empty(),
        "accepted after the stop"
    );
    bench.proactor.accept_many(listener.as_raw_fd());
    bench.until("the second", |_, event| matches!(event, Event::Accepted(_)));
    // Taken back before the kernel saw it.
    bench.proactor.accept_stop();
    bench.proactor.accept_many(listener.as_raw_fd());
    let _third = TcpStream::connect(address).unwrap();
    bench.until("the third", |_, event| matches!(event, Event::Accepted(_)));
}

#[test]
fn a_bad_listener_fails_once_and_is_not_tried_again() {
    let Some(mut bench) = bench(1, 1, 64) else {
        return;
    };
    let not_listening = tcp_socket();
    bench.proactor.accept_many(not_listening.as_raw_fd());
    let events = bench.events_for(Duration::from_millis(30));
    assert!(
        matches!(events[..], [Event::AcceptFailed(libc::EINVAL)]),
        "{events:?}"
    );
}

#[test]
fn a_wake_ends_a_wait_without_deadline() {
    let Some(mut bench) = bench(1, 1, 64) else {
        return;
    };
    let waker = bench.waker.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        }
    });
    for _ in 0..3 {
        bench.proactor.wait(None).unwrap();
        assert!(matches!(bench.proactor.next(), Some(Event::Woken)));
        assert!(bench.proactor.next().is_none());
    }
    thread.join().unwrap();
    assert!(
        bench.events_for(Duration::from_millis(10)).is_empty(),
        "a wake is reported once"
    );
}

#[test]
fn a_deadline_is_kept_and_never_early() {
    let Some(mut bench) = bench(1, 1, 64) else {
        return;
    };
    for wait_ms in [20, 25, 1] {
        let deadline = now_ns() + wait_ms * 1_000_000;
        bench.proactor.wait(Some(deadline)).unwrap();
        let late_ns = now_ns()
            .checked_sub(deadline)
            .expect("the wait ended before its deadline");
        assert!(late_ns < 500_000_000, "{late_ns} ns late");
        assert!(bench.proactor.next().is_none());
    }
    let before = now_ns();
    bench.proactor.wait(Some(before - 1)).unwrap();
    bench.proactor.wait(Some(0)).unwrap();
    assert!(
        now_ns() - before < 15_000_000,
        "a past deadline must not sleep"
    );
}

#[test]
fn a_table_has_an_end() {
    let Some(mut bench) = bench(2, 1, 64) else {
        return;
    };
    let error = bench.proactor.open(id(2), tcp_socket().into()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// Queues are locked memory: what may come costs none before it comes.
#[test]
fn queues_are_as_long_as_what_is_expected_and_the_table_as_what_is_allowed() {
    let Some(mut bench) = bench(16_384, 64, 256) else {
        return;
    };
    let features = bench.proactor.features();
    let entries = |name: &str| {
        let found = features.iter().find(|(key, _)| key == name);
        found.expect(name).1.parse::<u32>().unwrap()
    };
    assert!(entries("sq_entries") <= 256 && entries("cq_entries") <= 1024);
    // The last place is as good as the first.
    let last = id(16_383);
    let (mine, mut theirs) = tcp_pair();
    bench.open(last, mine);
    theirs.write_all(b"x").unwrap();
    bench.until("a byte", |proactor, event| match event {
        Event::Received(id, lease) => {
            proactor.give_back(lease);
            id == last
        }
        other => panic!("{other:?}"),
    });
    bench.close_and_check(last, How::Fin);
    assert!(
        bench
            .proactor
            .open(id(16_384), tcp_socket().into())
            .is_err()
    );
}
