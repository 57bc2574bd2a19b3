//! The core over the real selector of this system and real sockets.

use super::*;
use crate::testing::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

fn received<S: Selector>(backend: &mut Readiness<S>) -> Vec<u8> {
    match next(backend) {
        Event::Received(_, lease) => {
            let bytes = backend.bytes(&lease).to_vec();
            backend.give_back(lease);
            bytes
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn echoes_bytes_and_closes_after_fin() {
    each_trigger((4, 8, 4096), |mut rig| {
        let peers: Vec<_> = (0..4)
            .map(|index| open_tcp(&mut rig.backend, index))
            .collect();
        let mut echo = Echo::new(rig.backend, 4);
        let talks: Vec<_> = peers
            .into_iter()
            .enumerate()
            .map(|(seed, mut peer)| {
                std::thread::spawn(move || {
                    let said = pattern(seed as u64, 300_000);
                    let mut reader = peer.try_clone().unwrap();
                    let writer = {
                        let said = said.clone();
                        std::thread::spawn(move || {
                            peer.write_all(&said).unwrap();
                            peer.shutdown(std::net::Shutdown::Write).unwrap();
                        })
                    };
                    let mut heard = Vec::new();
                    reader.read_to_end(&mut heard).unwrap();
                    writer.join().unwrap();
                    assert_eq!(heard, said);
                })
            })
            .collect();
        let started = Instant::now();
        while echo.closed < 4 {
            assert!(started.elapsed() < PATIENCE);
            echo.turn(now_plus(Duration::from_millis(100)));
        }
        talks.into_iter().for_each(|talk| talk.join().unwrap());
        assert_eq!(echo.backend.buffers_free(), 8);
        expect_silence(&mut echo.backend, Duration::from_millis(20));
    });
}

#[test]
fn no_free_buffer_parks_and_does_not_spin() {
    let mut rig = native(2, 2, 64);
    let backend = &mut rig.backend;
    let mut peer = open_tcp(backend, 0);
    peer.write_all(&pattern(1, 64 * 3)).unwrap();
    let mut leases = Vec::new();
    while leases.len() < 2 {
        match next(backend) {
            Event::Received(_, lease) => leases.push(lease),
            other => panic!("{other:?}"),
        }
    }
    let (before, started) = (backend.counters().system_calls, Instant::now());
    expect_silence(backend, Duration::from_millis(60));
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert!(backend.counters().system_calls - before < 10, "it slept");
    assert_eq!(
        (backend.buffers_free(), backend.counters().no_buffers),
        (0, 1)
    );
    backend.give_back(leases.pop().unwrap());
    assert_eq!(received(backend), pattern(1, 192)[128..]);
    backend.give_back(leases.pop().unwrap());
}

#[test]
fn a_pause_holds_bytes_back_and_resuming_delivers_them() {
    each_trigger((1, 4, 4096), |mut rig| {
        let backend = &mut rig.backend;
        let mut peer = open_tcp(backend, 0);
        peer.write_all(b"one").unwrap();
        assert_eq!(received(backend), b"one");
        backend.receive_pause(id(0));
        peer.write_all(b"two").unwrap();
        expect_silence(backend, Duration::from_millis(40));
        backend.receive_resume(id(0));
        assert_eq!(received(backend), b"two");
        // FIN while paused is not lost either.
        backend.receive_pause(id(0));
        drop(peer);
        let before = backend.counters().system_calls;
        expect_silence(backend, Duration::from_millis(40));
        assert!(backend.counters().system_calls - before < 10, "it slept");
        backend.receive_resume(id(0));
        assert!(matches!(next(backend), Event::Finished(_)));
        let before = backend.counters().system_calls;
        expect_silence(backend, Duration::from_millis(40));
        assert!(
            backend.counters().system_calls - before < 10,
            "it slept after the end"
        );
    });
}

#[test]
fn every_close_gives_one_closed_and_the_index_is_free() {
    each_trigger((1, 4, 4096), |mut rig| {
        let backend = &mut rig.backend;
        let mut tenant = id(0);
        for how in [How::Fin, How::Rst, How::Fin] {
            let (mut peer, socket) = tcp_pair();
            backend.open(tenant, socket).unwrap();
            backend.receive_many(tenant);
            if how == How::Fin {
                // Bytes under way to a closed connection are not reported.
                peer.write_all(b"late").unwrap();
                backend.wait(now_plus(Duration::from_millis(50))).unwrap();
            }
            backend.close(tenant, how);
            assert!(matches!(next(backend), Event::Closed(closed) if closed == tenant));
            expect_silence(backend, Duration::from_millis(10));
            if how == How::Rst {
                let error = peer.read(&mut [0; 8]).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
            }
            tenant = tenant.next_generation();
        }
    });
}

#[test]
fn the_peers_reset_is_reported() {
    each_trigger((1, 4, 4096), |mut rig| {
        let peer = open_tcp(&mut rig.backend, 0);
        expect_silence(&mut rig.backend, Duration::from_millis(5));
        socket2::SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        let event = next(&mut rig.backend);
        assert!(
            matches!(event, Event::ReceiveFailed(_, libc::ECONNRESET)),
            "{event:?}"
        );
    });
}

#[test]
fn a_gathered_send_to_a_slow_reader_arrives_byte_for_byte() {
    let mut rig = native(1, 4, 4096);
    let backend = &mut rig.backend;
    let (mut peer, socket) = tcp_pair();
    shrink(&socket);
    backend.open(id(0), socket).unwrap();
    // Eight pieces of uneven size, together far larger than the kernel's buffers.
    let bytes: &'static [u8] = pattern(5, 3_000_001).leak();
    let cuts = [
        0, 1, 70_000, 70_007, 900_000, 1_500_000, 1_500_001, 2_999_999, 3_000_001,
    ];
    let pieces: Vec<Piece> = cuts
        .windows(2)
        .map(|cut| Piece {
            ptr: bytes[cut[0]..].as_ptr(),
            len: cut[1] - cut[0],
        })
        .collect();
    let reader = std::thread::spawn(move || {
        let mut heard = Vec::new();
        let mut buffer = [0; 30_000];
        while heard.len() < bytes.len() {
            let len = peer.read(&mut buffer).unwrap();
            assert!(len > 0);
            heard.extend_from_slice(&buffer[..len]);
            std::thread::sleep(Duration::from_micros(100));
        }
        assert!(heard == bytes);
    });
    // SAFETY: the bytes are leaked, so they live and never change.
    let sending = unsafe { backend.send(id(0), &pieces) };
    assert!(matches!(sending, Sending::Pending));
    let event = next(backend);
    assert!(matches!(event, Event::Sent(_, Ok(3_000_001))), "{event:?}");
    reader.join().unwrap();
    assert_eq!(
        backend.counters().short_sends,
        1,
        "one send, cut by the kernel"
    );
    assert!(
        backend.counters().rearms <= 2,
        "one registration serves all rounds"
    );
}

#[test]
fn a_wake_wakes() {
    let mut rig = native(1, 4, 4096);
    for _ in 0..3 {
        rig.waker.wake();
        rig.waker.wake();
        assert!(matches!(next(&mut rig.backend), Event::Woken));
        expect_silence(&mut rig.backend, Duration::from_millis(5));
    }
    let waker = rig.waker.try_clone().unwrap();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    rig.backend.wait(None).unwrap();
    assert!(matches!(rig.backend.next(), Some(Event::Woken)));
    other.join().unwrap();
}

#[test]
fn a_deadline_is_never_early_and_a_past_one_does_not_sleep() {
    let mut rig = native(1, 4, 4096);
    // Whatever the wake registration reports comes first.
    expect_silence(&mut rig.backend, Duration::from_millis(1));
    for micros in [20_000u64, 300, 1_500, 20_500] {
        let deadline = engine::clock::now_ns() + micros * 1_000;
        rig.backend.wait(Some(deadline)).unwrap();
        assert!(
            engine::clock::now_ns() >= deadline,
            "{micros} us ended early"
        );
    }
    let started = Instant::now();
    rig.backend.wait(Some(1)).unwrap();
    assert!(started.elapsed() < Duration::from_millis(15));
}

/// Whether the other end has closed `peer`'s connection.
fn is_closed(peer: &mut std::net::TcpStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    match peer.read(&mut [0; 1]) {
        Ok(0) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    }
}

/// Connects `id`; returns the other end.
fn connect<S: Selector>(backend: &mut Readiness<S>, id: ConnectionId) -> std::net::TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket2::SockAddr::from(listener.local_addr().unwrap());
    backend.open(id, client(socket2::Domain::IPV4)).unwrap();
    backend.connect(id, &address);
    assert!(matches!(next(backend), Event::Connected(_, Ok(()))));
    backend.receive_many(id);
    listener.accept().unwrap().0
}

/// Lets the peer of a connection end it.
fn finish<S: Selector>(backend: &mut Readiness<S>, peer: &std::net::TcpStream) {
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(next(backend), Event::Finished(_)));
}

/// Nobody waits for that closing, and it is made before the selector is asked again.
#[test]
fn what_its_peer_has_ended_is_closed_behind_the_next_ones_connect() {
    each_trigger((2, 4, 4096), |mut rig| {
        let backend = &mut rig.backend;
        let mut peer = connect(backend, id(0));
        finish(backend, &peer);
        backend.close(id(0), How::Fin);
        assert!(matches!(next(backend), Event::Closed(_)));
        assert!(!is_closed(&mut peer), "there is something better to do");
        let other = connect(backend, id(1));
        // Elsewhere a connect is slept for.
        assert_eq!(is_closed(&mut peer), !cfg!(target_os = "linux"));
        expect_silence(backend, Duration::from_millis(10));
        assert!(is_closed(&mut peer));
        drop(other);
    });
}

#[test]
fn a_close_that_a_peer_may_wait_for_is_not_put_off() {
    each_trigger((1, 4, 4096), |mut rig| {
        let backend = &mut rig.backend;
        let mut peer = open_tcp(backend, 0);
        finish(backend, &peer);
        backend.close(id(0), How::Fin);
        assert!(is_closed(&mut peer), "it had connected to us");
    });
}

#[test]
fn only_so_many_sockets_are_kept_for_their_closing() {
    each_trigger((1, 4, 4096), |mut rig| {
        let backend = &mut rig.backend;
        let mut peer = connect(backend, id(0));
        finish(backend, &peer);
        backend.parting.resize_with(PARTING_MAX, || tcp_pair().1);
        backend.close(id(0), How::Fin);
        assert!(is_closed(&mut peer), "there is no room for it");
    });
}

fn client(domain: socket2::Domain) -> OwnedFd {
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

#[test]
fn connecting_succeeds_or_says_why_not() {
    let mut rig = native(3, 4, 4096);
    let backend = &mut rig.backend;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket2::SockAddr::from(listener.local_addr().unwrap());
    backend.open(id(0), client(socket2::Domain::IPV4)).unwrap();
    backend.connect(id(0), &address);
    assert!(matches!(next(backend), Event::Connected(_, Ok(()))));
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    expect_silence(backend, Duration::from_millis(10));
    backend.receive_many(id(0));
    assert_eq!(received(backend), b"hello");

    drop(listener);
    backend.open(id(1), client(socket2::Domain::IPV4)).unwrap();
    backend.connect(id(1), &address);
    let event = next(backend);
    assert!(
        matches!(event, Event::Connected(_, Err(libc::ECONNREFUSED))),
        "{event:?}"
    );

    let nowhere = socket2::SockAddr::unix("/nonexistent/linerate.sock").unwrap();
    backend.open(id(2), client(socket2::Domain::UNIX)).unwrap();
    backend.connect(id(2), &nowhere);
    // A close before the result is delivered leaves only Closed.
    backend.close(id(2), How::Fin);
    assert!(matches!(next(backend), Event::Closed(closed) if closed == id(2)));
    expect_silence(backend, Duration::from_millis(10));
}

#[test]
fn accepts_everybody_and_stops_when_told() {
    let mut rig = native(1, 4, 4096);
    let backend = &mut rig.backend;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let peers: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    backend.accept_many(listener.as_raw_fd());
    for _ in &peers {
        match next(backend) {
            Event::Accepted(socket) => {
                // SAFETY: fcntl with F_GETFL touches no memory.
                let mode = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) };
                assert_ne!(mode & libc::O_NONBLOCK, 0);
            }
            other => panic!("{other:?}"),
        }
    }
    backend.accept_stop();
    let _late = std::net::TcpStream::connect(address).unwrap();
    expect_silence(backend, Duration::from_millis(30));
    backend.accept_many(listener.as_raw_fd());
    assert!(matches!(next(backend), Event::Accepted(_)));
}

#[test]
fn a_flooder_does_not_starve_the_quiet() {
    let mut rig = native(4, 8, 1024);
    let mut flooder = open_tcp(&mut rig.backend, 0);
    let mut quiet: Vec<_> = (1..4)
        .map(|index| open_tcp(&mut rig.backend, index))
        .collect();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flooding = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let much = pattern(9, 1 << 20);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                flooder.write_all(&much).unwrap();
            }
        })
    };
    let backend = &mut rig.backend;
    while backend.counters().events < 200 {
        received(backend);
    }
    for round in 0..20 {
        for peer in &mut quiet {
            peer.write_all(b"ping").unwrap();
        }
        // The quiet are heard before the flooder gets two turns' worth of receives.
        let (mut heard, mut floods) = (0, 0);
        while heard < quiet.len() {
            match received(backend).len() {
                4 => heard += 1,
                _ => floods += 1,
            }
            assert!(floods <= 4 * RECEIVE_BUDGET, "round {round}: {heard} heard");
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    while !flooding.is_finished() {
        backend.wait(now_plus(Duration::from_millis(10))).unwrap();
        while let Some(event) = backend.next() {
            if let Event::Received(_, lease) = event {
                backend.give_back(lease);
            }
        }
    }
    flooding.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn urgent_data_does_not_leave_bytes_behind() {
    // A receive stops at the urgent mark, so a short one must not count as drained there.
    let mut rig = native(1, 4, 4096);
    let backend = &mut rig.backend;
    let mut peer = open_tcp(backend, 0);
    peer.write_all(b"before").unwrap();
    // SAFETY: the byte string is static and one byte is sent of it.
    let sent = unsafe { libc::send(peer.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    peer.write_all(b"after").unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let mut heard = Vec::new();
    while heard.len() < 11 {
        heard.extend(received(backend));
    }
    assert_eq!(heard, b"beforeafter");
}

#[test]
fn a_level_makes_one_receive_per_report_and_gets_everything() {
    let mut rig: Rig<Readiness<Native>> = rig(with_options("trigger=level", settings(1, 4, 64)));
    let backend = &mut rig.backend;
    let mut peer = open_tcp(backend, 0);
    let said = pattern(3, 300);
    peer.write_all(&said).unwrap();
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        backend.wait(now_plus(PATIENCE)).unwrap();
        let mut receives = 0;
        while let Some(event) = backend.next() {
            let Event::Received(_, lease) = event else {
                panic!("{event:?}");
            };
            heard.extend_from_slice(backend.bytes(&lease));
            backend.give_back(lease);
            receives += 1;
        }
        assert!(receives <= 1, "{receives} in one turn");
    }
    assert_eq!(heard, said);
}

#[test]
fn spinning_asks_again_and_again_and_keeps_deadlines() {
    let mut rig: Rig<Readiness<Native>> = rig(with_options("spin=1s", settings(1, 4, 64)));
    let backend = &mut rig.backend;
    let mut peer = open_tcp(backend, 0);
    let started = Instant::now();
    backend.wait(now_plus(Duration::from_millis(40))).unwrap();
    assert!(backend.next().is_none());
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(40), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(900), "{elapsed:?}");
    assert!(backend.counters().system_calls > 100, "it did not sleep");
    peer.write_all(b"now").unwrap();
    assert_eq!(received(backend), b"now");
}

#[test]
fn after_spinning_it_sleeps() {
    let mut rig: Rig<Readiness<Native>> = rig(with_options("spin=1us", settings(1, 4, 64)));
    let backend = &mut rig.backend;
    let mut peer = open_tcp(backend, 0);
    expect_silence(backend, Duration::from_millis(60));
    assert!(backend.counters().system_calls < 100, "it slept");
    peer.write_all(b"now").unwrap();
    assert_eq!(received(backend), b"now");
}

#[test]
fn a_batch_of_one_loses_nobody() {
    let mut rig: Rig<Readiness<Native>> = rig(with_options("batch=1", settings(3, 4, 64)));
    let backend = &mut rig.backend;
    let mut peers: Vec<_> = (0..3).map(|index| open_tcp(backend, index)).collect();
    backend.wait(Some(0)).unwrap();
    assert!(backend.next().is_none());
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    for _ in 0..3 {
        backend.wait(now_plus(PATIENCE)).unwrap();
        assert!(matches!(backend.next(), Some(Event::Received(..))));
        assert!(backend.next().is_none(), "one report at a time");
    }
}
