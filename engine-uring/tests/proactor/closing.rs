//! The end of connections: one Closed each, whatever was in flight.

use crate::support::{bench, id, pattern, send, tcp_pair};
use engine::proactor::{ConnectionId, Event, Piece, Proactor};
use engine::session::How;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

#[test]
fn closing_with_a_receive_in_flight_sends_fin_and_closes_once() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    bench.open(id(0), mine);
    assert!(bench.events_for(Duration::from_millis(10)).is_empty());
    bench.close_and_check(id(0), How::Fin);
    assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0, "FIN");
}

#[test]
fn closing_before_anything_was_submitted_closes_once() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    bench.open(id(0), mine);
    bench.close_and_check(id(0), How::Fin);
    assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0, "FIN");
}

#[test]
fn closing_with_send_and_receive_in_flight_closes_once() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let bytes = pattern(1, 30_000_000);
    for (generation, pieces) in [1, 3].into_iter().enumerate() {
        let id = ConnectionId {
            index: 0,
            generation: generation as u32,
        };
        let (mine, theirs) = tcp_pair();
        bench.open(id, mine);
        let parts: Vec<&[u8]> = bytes.chunks(bytes.len() / pieces).collect();
        send(&mut bench.proactor, id, &parts);
        assert!(
            bench.events_for(Duration::from_millis(20)).is_empty(),
            "nobody reads 30 MB"
        );
        bench.close_and_check(id, How::Fin);
        drop(theirs);
    }
}

#[test]
fn closing_while_bytes_pour_in_gives_every_buffer_back() {
    let Some(mut bench) = bench(4, 8, 256) else {
        return;
    };
    for generation in 0..30 {
        let peers: Vec<_> = (0..4)
            .map(|index| {
                let (mine, mut theirs) = tcp_pair();
                theirs.write_all(&[1; 20_000]).unwrap();
                bench.open(ConnectionId { index, generation }, mine);
                theirs
            })
            .collect();
        bench.until("bytes", |proactor, event| {
            if let Event::Received(_, lease) = event {
                proactor.give_back(lease);
                return true;
            }
            false
        });
        for index in 0..4 {
            bench
                .proactor
                .close(ConnectionId { index, generation }, How::Fin);
        }
        let mut closed = 0;
        bench.until("four times Closed", |_, event| match event {
            Event::Closed(_) => {
                closed += 1;
                closed == 4
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(bench.proactor.buffers_free(), 8);
        drop(peers);
    }
}

#[test]
fn a_pause_and_then_a_close_close_once() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    for (generation, settle) in [false, true].into_iter().enumerate() {
        let id = ConnectionId {
            index: 0,
            generation: generation as u32,
        };
        let (mine, _theirs) = tcp_pair();
        bench.open(id, mine);
        assert!(bench.events_for(Duration::from_millis(5)).is_empty());
        bench.proactor.receive_pause(id);
        if settle {
            assert!(bench.events_for(Duration::from_millis(5)).is_empty());
        }
        bench.close_and_check(id, How::Fin);
    }
}

#[test]
fn rst_resets_the_peer() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    bench.open(id(0), mine);
    assert!(bench.events_for(Duration::from_millis(5)).is_empty());
    bench.close_and_check(id(0), How::Rst);
    assert_eq!(
        theirs.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn a_reset_by_the_peer_is_reported_to_the_receive_and_to_the_send() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, theirs) = tcp_pair();
    bench.open(id(0), mine);
    socket2::SockRef::from(&theirs)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(theirs);
    bench.until("ReceiveFailed", |_, event| {
        matches!(event, Event::ReceiveFailed(_, libc::ECONNRESET))
    });
    send(&mut bench.proactor, id(0), &[b"x"]);
    bench.until("a failed send", |_, event| {
        matches!(event, Event::Sent(_, Err(libc::EPIPE | libc::ECONNRESET)))
    });
    bench.close_and_check(id(0), How::Fin);
}

#[test]
fn a_new_tenant_gets_nothing_of_the_old_one() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let mut tenant = id(0);
    tenant.generation = ConnectionId::GENERATION_MASK - 2; // over the wrap
    for round in 0..6u8 {
        let (mine, mut theirs) = tcp_pair();
        bench.open(tenant, mine);
        theirs.write_all(&[round; 10]).unwrap();
        bench.until("the tenant's bytes", |proactor, event| match event {
            Event::Received(id, lease) => {
                assert_eq!(id, tenant);
                assert!(proactor.bytes(&lease).iter().all(|&byte| byte == round));
                proactor.give_back(lease);
                true
            }
            other => panic!("{other:?}"),
        });
        theirs.write_all(&[99; 10]).unwrap(); // never read by anybody
        bench.close_and_check(tenant, How::Fin);
        tenant = tenant.next_generation();
    }
}

#[test]
fn ten_thousand_are_accepted_answered_and_closed_once_each() {
    let Some(mut bench) = bench(4, 4, 64) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    bench
        .proactor
        .accept_many(std::os::fd::AsRawFd::as_raw_fd(&listener));
    let total = 10_000;
    let client = std::thread::spawn(move || {
        for _ in 0..total {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap(); // no TIME_WAIT
            stream.write_all(b"hello").unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).unwrap();
        }
    });
    // The next may be accepted before the last is closed, so tenants take turns on four places.
    let (mut closed, mut accepted) = (0, 0);
    bench.until("all closed", |proactor, event| {
        match event {
            Event::Accepted(socket) => {
                let tenant = ConnectionId {
                    index: accepted % 4,
                    generation: accepted / 4,
                };
                accepted += 1;
                proactor.open(tenant, socket).unwrap();
                proactor.receive_many(tenant);
            }
            Event::Received(tenant, lease) => {
                proactor.give_back(lease);
                send(proactor, tenant, &[b"hello"]);
            }
            Event::Sent(tenant, _) => proactor.close(tenant, How::Rst),
            // The client may be faster with its own reset.
            Event::Finished(_) | Event::ReceiveFailed(..) => {}
            Event::Closed(_) => closed += 1,
            other => panic!("{other:?}"),
        }
        closed == total
    });
    client.join().unwrap();
}

#[test]
fn dropping_with_everything_in_flight_ends_and_closes() {
    let Some(mut bench) = bench(8, 4, 1024) else {
        return;
    };
    let bytes = pattern(1, 30_000_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bench
        .proactor
        .accept_many(std::os::fd::AsRawFd::as_raw_fd(&listener));
    let mut peers = Vec::new();
    for index in 0..8 {
        let (mine, theirs) = tcp_pair();
        bench.open(id(index), mine);
        send(&mut bench.proactor, id(index), &[&bytes]);
        if index < 4 {
            // The rest is dropped before it was ever submitted.
            bench.proactor.wait(Some(0)).unwrap();
        }
        peers.push(theirs);
    }
    let begin = std::time::Instant::now();
    drop(bench);
    assert!(
        begin.elapsed() < Duration::from_millis(900),
        "drop had to give up waiting: {:?}",
        begin.elapsed()
    );
    for mut peer in peers {
        // FIN after the bytes that were under way.
        std::io::copy(&mut peer, &mut std::io::sink()).unwrap();
    }
}

/// Bytes and a reset that both arrive before the receive runs: the receive takes the bytes, is told
/// that no more are there, and sleeps. The reset must be noticed all the same.
#[test]
fn a_reset_that_comes_with_bytes_is_noticed() {
    for rounds in 0..28 {
        let words = pattern(1, [1, 10, 255, 256, 257, 700, 5_000][rounds % 7]);
        let Some(mut bench) = bench(1, 8, 256) else {
            return;
        };
        let (mine, theirs) = tcp_pair();
        bench.open(id(0), mine);
        // The receive is armed; with task work deferred nothing happens until the next wait.
        bench.proactor.wait(Some(0)).unwrap();
        if rounds % 2 == 1 {
            (&theirs).write_all(b"first").unwrap();
            bench.until("the first bytes", |proactor, event| match event {
                Event::Received(_, lease) => {
                    proactor.give_back(lease);
                    true
                }
                other => panic!("{other:?}"),
            });
        }
        (&theirs).write_all(&words).unwrap();
        socket2::SockRef::from(&theirs)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(theirs);
        let mut received = 0;
        bench.until("the reset", |proactor, event| match event {
            Event::Received(_, lease) => {
                received += lease.len;
                proactor.give_back(lease);
                false
            }
            Event::ReceiveFailed(_, errno) => errno == libc::ECONNRESET,
            other => panic!("{other:?}"),
        });
        assert_eq!(received as usize, words.len());
        bench.close_and_check(id(0), How::Fin);
    }
}

/// Of a connection that has said its last the kernel holds nothing, so its close has nothing to wait for.
#[test]
fn a_close_after_the_end_costs_no_call_of_its_own() {
    let Some(mut bench) = bench(2, 4, 1024) else {
        return;
    };
    let mut tenant = id(0);
    for _ in 0..3 {
        let (mine, mut theirs) = tcp_pair();
        bench.open(tenant, mine);
        theirs.write_all(b"last").unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        bench.until("Finished", |proactor, event| match event {
            Event::Received(_, lease) => {
                proactor.give_back(lease);
                false
            }
            event => matches!(event, Event::Finished(_)),
        });
        let before = bench.proactor.counters().system_calls;
        bench.proactor.close(tenant, How::Fin);
        // The wait that would come next tells it, and does not sleep on it.
        bench.proactor.wait(None).unwrap();
        let event = bench.proactor.next();
        assert!(
            matches!(event, Some(Event::Closed(closed)) if closed == tenant),
            "{event:?}"
        );
        assert_eq!(bench.proactor.counters().system_calls, before);
        // The descriptor goes with the next call, together with what the place's next tenant wants.
        assert!(bench.events_for(Duration::from_millis(5)).is_empty());
        assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0, "FIN");
        tenant = tenant.next_generation();
    }
}

/// The close of a connection that its peer has ended goes behind what the next one says, and before the worker
/// sleeps.
#[test]
fn what_its_peer_has_ended_is_closed_behind_the_next_ones_connect() {
    let Some(mut bench) = bench(2, 4, 1024) else {
        return;
    };
    let is_closed = |peer: &mut std::net::TcpStream| {
        peer.set_nonblocking(true).unwrap();
        match peer.read(&mut [0; 1]) {
            Ok(0) => true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            other => panic!("{other:?}"),
        }
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket2::SockAddr::from(listener.local_addr().unwrap());
    let socket =
        || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bench.proactor.open(id(0), socket().into()).unwrap();
    bench.proactor.connect(id(0), &address);
    bench.until("Connected", |_, event| {
        matches!(event, Event::Connected(_, Ok(())))
    });
    bench.proactor.receive_many(id(0));
    let (mut theirs, _) = listener.accept().unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    bench.until("Finished", |_, event| matches!(event, Event::Finished(_)));
    bench.proactor.close(id(0), How::Fin);
    bench.proactor.open(id(1), socket().into()).unwrap();
    bench.proactor.connect(id(1), &address);
    bench.until("Connected", |_, event| match event {
        Event::Closed(closed) => closed != id(0),
        event => matches!(event, Event::Connected(_, Ok(()))),
    });
    assert!(!is_closed(&mut theirs), "the connect goes first");
    // Also without a deadline: what is queued is submitted before the sleep.
    bench.proactor.wait(Some(engine::clock::now_ns())).unwrap();
    assert!(is_closed(&mut theirs));
}

/// What nobody has to wait for is done all the same when the backend ends at once.
#[test]
fn a_close_that_was_only_queued_is_made_when_the_backend_ends() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    bench.open(id(0), mine);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    bench.until("Finished", |_, event| matches!(event, Event::Finished(_)));
    bench.proactor.close(id(0), How::Fin);
    assert!(bench.proactor.release());
    assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0, "FIN");
}

/// A farewell: all bytes arrive, then FIN, however slowly the peer reads, and the place is free at once.
#[test]
fn the_last_words_arrive_whole_before_the_fin() {
    for (length, send_buffer) in [(1, 0), (60_000, 0), (60_000, 4_096)] {
        let Some(mut bench) = bench(1, 8, 256) else {
            return;
        };
        let words = pattern(1, length);
        let (mine, mut theirs) = tcp_pair();
        if send_buffer > 0 {
            let mine = socket2::SockRef::from(&mine);
            mine.set_send_buffer_size(send_buffer).unwrap();
            socket2::SockRef::from(&theirs)
                .set_recv_buffer_size(send_buffer)
                .unwrap();
        }
        bench.proactor.open(id(0), mine.into()).unwrap();
        let piece = Piece {
            ptr: words.as_ptr(),
            len: words.len(),
        };
        // SAFETY: `words` is dropped after the backend, which is declared later.
        assert!(unsafe { bench.proactor.send_and_close(id(0), piece) });
        bench.until("Closed", |_, event| match event {
            Event::Closed(closed) => closed == id(0),
            other => panic!("only Closed may come, not {other:?}"),
        });
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).map(|_| read)
        });
        while !reader.is_finished() {
            assert!(bench.events_for(Duration::from_millis(5)).is_empty());
        }
        assert_eq!(reader.join().unwrap().unwrap(), words, "{length} bytes");
        let short = bench.proactor.counters().short_sends;
        assert_eq!(
            short > 0,
            send_buffer > 0,
            "the small buffer did not take it all at once"
        );
        drop(bench);
        drop(words);
    }
}

#[test]
fn last_words_to_a_peer_that_is_gone_close_all_the_same() {
    let Some(mut bench) = bench(1, 8, 256) else {
        return;
    };
    let words = pattern(1, 100);
    let (mine, theirs) = tcp_pair();
    socket2::SockRef::from(&theirs)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(theirs);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&mine));
    let inode = std::fs::read_link(&path).unwrap();
    bench.proactor.open(id(0), mine.into()).unwrap();
    let piece = Piece {
        ptr: words.as_ptr(),
        len: words.len(),
    };
    // SAFETY: the bytes are leaked, and so valid for ever.
    assert!(unsafe { bench.proactor.send_and_close(id(0), piece) });
    std::mem::forget(words);
    assert_eq!(
        bench.events_for(Duration::from_millis(30)).len(),
        1,
        "Closed"
    );
    let now = std::fs::read_link(&path);
    assert!(now.ok() != Some(inode), "the descriptor is gone");
}
