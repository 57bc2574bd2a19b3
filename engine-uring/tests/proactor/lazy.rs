//! Replies of whose end nobody has to know soon: silent, complete, and never before what follows.

use crate::support::{Bench, bench, bench_with, id, pattern, send_lazily, tcp_pair};
use engine::proactor::{ConnectionId, Event, Lease, Proactor};
use engine::session::How;
use engine_uring::uring::UringProactor;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::RawFd;
use std::thread;
use std::time::Duration;

/// A connection that has just received one byte, in a turn that brought nothing else.
fn asked(bench: &mut Bench, id: ConnectionId) -> TcpStream {
    let (mine, theirs) = tcp_pair();
    bench.open(id, mine);
    assert!(bench.events_for(Duration::from_millis(5)).is_empty());
    (&theirs).write_all(b"?").unwrap();
    let lease = received(bench);
    bench.proactor.give_back(lease);
    theirs
}

/// What is received next.
fn received(bench: &mut Bench) -> Lease {
    let mut taken = None;
    bench.until("bytes", |_, event| match event {
        Event::Received(_, lease) => {
            taken = Some(lease);
            true
        }
        other => panic!("{other:?}"),
    });
    taken.unwrap()
}

fn is_sent(event: &Event, bytes: usize) -> bool {
    match event {
        Event::Sent(_, outcome) => {
            assert_eq!(*outcome, Ok(bytes));
            true
        }
        other => panic!("{other:?}"),
    }
}

/// Echoes lazily, from the receive buffers, what comes one message after the other.
#[derive(Default)]
struct LazyEcho {
    leases: VecDeque<Lease>,
    sending: bool,
    told: usize,
}

impl LazyEcho {
    fn handle(&mut self, proactor: &mut UringProactor, event: Event) -> bool {
        match event {
            Event::Received(_, lease) => self.leases.push_back(lease),
            Event::Sent(_, outcome) => {
                let lease = self.leases.pop_front().unwrap();
                assert_eq!(outcome, Ok(lease.len as usize));
                proactor.give_back(lease);
                self.sending = false;
                self.told += 1;
            }
            Event::Finished(_) => return true,
            other => panic!("{other:?}"),
        }
        if let Some(lease) = self.leases.front().filter(|_| !self.sending) {
            let bytes = proactor.bytes(lease);
            // SAFETY: the lease is given back only after the send of these bytes ended.
            let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
            self.sending = send_lazily(proactor, id(0), bytes);
            assert!(self.sending, "one message at a time came");
        }
        false
    }
}

#[test]
fn a_lazy_reply_takes_one_call_with_the_next_request() {
    let Some(mut bench) = bench(1, 8, 1024) else {
        return;
    };
    let (mine, theirs) = tcp_pair();
    bench.open(id(0), mine);
    let peer = thread::spawn(move || {
        let mut echo = [0; 500];
        for number in 0..50 {
            (&theirs).write_all(&pattern(number, 500)).unwrap();
            (&theirs).read_exact(&mut echo).unwrap();
            assert!(echo[..] == pattern(number, 500));
        }
        theirs.shutdown(Shutdown::Write).unwrap();
        theirs
    });
    let (mut echo, before) = (LazyEcho::default(), bench.proactor.counters().system_calls);
    bench.until("the end", |proactor, event| echo.handle(proactor, event));
    let calls = bench.proactor.counters().system_calls - before;
    assert!(calls <= 60, "{calls} system calls for 50 replies");
    bench.until("the last end", |proactor, event| {
        echo.handle(proactor, event);
        echo.told == 50
    });
    assert_eq!(bench.proactor.buffers_free(), 8);
    bench.close_and_check(id(0), How::Fin);
    drop(peer.join().unwrap());
}

#[test]
fn its_end_is_told_when_a_turn_has_ended_and_wakes_nobody() {
    let reply = pattern(1, 300);
    let Some(mut bench) = bench(1, 8, 64) else {
        return;
    };
    let mut theirs = asked(&mut bench, id(0));
    assert!(send_lazily(&mut bench.proactor, id(0), &reply));
    assert!(bench.proactor.next().is_none(), "nothing was submitted yet");
    let begun = std::time::Instant::now();
    bench
        .proactor
        .wait(Some(engine::clock::now_ns() + 50_000_000))
        .unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(50),
        "the end of the reply ended the wait"
    );
    assert!(is_sent(&bench.proactor.next().unwrap(), 300));
    let mut heard = vec![0; 300];
    theirs.read_exact(&mut heard).unwrap();
    assert!(heard == reply);
    bench.close_and_check(id(0), How::Fin);
}

#[test]
fn a_lazy_reply_that_fits_in_part_arrives_whole() {
    let reply = pattern(2, 64 * 1024);
    let Some(mut bench) = bench(1, 8, 64) else {
        return;
    };
    let theirs = asked(&mut bench, id(0));
    shrink_send_buffer(bench.proactor.descriptor(id(0)));
    let expected = reply.clone();
    assert!(send_lazily(&mut bench.proactor, id(0), &reply));
    let peer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        let mut heard = vec![0; expected.len()];
        (&theirs).read_exact(&mut heard).unwrap();
        assert!(heard == expected);
        theirs
    });
    bench.until("its end", |_, event| is_sent(&event, 64 * 1024));
    assert!(bench.proactor.counters().short_sends >= 1);
    drop(peer.join().unwrap());
    bench.close_after_finish(id(0));
}

#[test]
fn a_lazy_reply_into_a_full_socket_waits_for_room() {
    let reply = pattern(3, 1000);
    let Some(mut bench) = bench(1, 8, 64) else {
        return;
    };
    let mut theirs = asked(&mut bench, id(0));
    shrink_send_buffer(bench.proactor.descriptor(id(0)));
    let before = fill(bench.proactor.descriptor(id(0)));
    assert!(send_lazily(&mut bench.proactor, id(0), &reply));
    let events = bench.events_for(Duration::from_millis(30));
    assert!(events.is_empty(), "nobody reads, but {events:?}");
    assert_eq!(bench.proactor.counters().short_sends, 1);
    let peer = thread::spawn(move || {
        let mut heard = vec![0; before + 1000];
        theirs.read_exact(&mut heard).unwrap();
        assert!(heard[before..] == pattern(3, 1000));
        theirs
    });
    bench.until("its end", |_, event| is_sent(&event, 1000));
    drop(peer.join().unwrap());
    bench.close_after_finish(id(0));
}

/// The kernel's least.
fn shrink_send_buffer(fd: RawFd) {
    // SAFETY: the descriptor is open, for the bench owns it, and is not used beyond this borrow.
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    socket2::SockRef::from(&socket)
        .set_send_buffer_size(1)
        .unwrap();
}

/// Fills a socket whose peer does not read; how many bytes that took.
fn fill(fd: RawFd) -> usize {
    let (block, mut taken, mut quiet) = ([0u8; 4096], 0, 0);
    while quiet < 12 {
        // SAFETY: the block is readable for its length, and lives through the call.
        let answer =
            unsafe { libc::send(fd, block.as_ptr().cast(), block.len(), libc::MSG_DONTWAIT) };
        if answer > 0 {
            (taken, quiet) = (taken + answer as usize, 0);
        } else {
            // A delayed acknowledgement, after 40 ms, may still make room.
            thread::sleep(Duration::from_millis(10));
            quiet += 1;
        }
    }
    taken
}

#[test]
fn a_lazy_reply_to_a_peer_that_has_reset_fails() {
    let reply = pattern(4, 100);
    let Some(mut bench) = bench(1, 8, 64) else {
        return;
    };
    let theirs = asked(&mut bench, id(0));
    socket2::SockRef::from(&theirs)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(theirs);
    assert!(send_lazily(&mut bench.proactor, id(0), &reply));
    let mut failed = None;
    bench.until("a failed send", |_, event| match event {
        Event::Sent(_, outcome) => {
            failed = Some(outcome);
            true
        }
        Event::Finished(_) | Event::ReceiveFailed(..) => false,
        other => panic!("{other:?}"),
    });
    assert!(
        matches!(failed, Some(Err(libc::ECONNRESET | libc::EPIPE))),
        "{failed:?}"
    );
    bench.close_and_check(id(0), How::Fin);
}

#[test]
fn a_close_right_after_it_loses_nothing_and_tells_nothing_else() {
    let reply = pattern(5, 1000);
    let Some(mut bench) = bench(1, 8, 64) else {
        return;
    };
    for (generation, submitted) in [(0, false), (1, true)] {
        let id = ConnectionId {
            index: 0,
            generation,
        };
        let mut theirs = asked(&mut bench, id);
        assert!(send_lazily(&mut bench.proactor, id, &reply));
        if submitted {
            bench.proactor.wait(Some(0)).unwrap();
        }
        bench.close_and_check(id, How::Fin);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).unwrap();
        assert!(heard == reply, "{} bytes arrived", heard.len());
    }
}

#[test]
fn the_next_tenant_is_not_told_of_it() {
    let reply = pattern(6, 10);
    let Some(mut bench) = bench(2, 8, 64) else {
        return;
    };
    let _other = asked(&mut bench, id(1));
    let theirs = asked(&mut bench, id(0));
    assert!(send_lazily(&mut bench.proactor, id(0), &reply));
    bench.proactor.close(id(0), How::Rst);
    bench.until("Closed", |_, event| matches!(event, Event::Closed(_)));
    // Still in the turn in which the end of the first tenant's reply would be told.
    let next = id(0).next_generation();
    let (mine, _peer) = tcp_pair();
    bench.open(next, mine);
    let events = bench.events_for(Duration::from_millis(20));
    assert!(events.is_empty(), "{events:?}");
    drop(theirs);
}

#[test]
fn a_drop_right_after_it_loses_nothing() {
    let reply = pattern(7, 1000);
    let Some(mut bench) = bench(1, 8, 64) else {
        return;
    };
    let mut theirs = asked(&mut bench, id(0));
    assert!(send_lazily(&mut bench.proactor, id(0), &reply));
    drop(bench);
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).unwrap();
    assert!(heard == reply, "{} bytes arrived", heard.len());
}

#[test]
fn nothing_is_lazy_that_others_would_wait_for() {
    let long = pattern(8, 64 * 1024 + 1);
    let Some(mut bench) = bench(3, 8, 64) else {
        return;
    };
    let ends: Vec<TcpStream> = (0..3).map(|index| asked(&mut bench, id(index))).collect();
    let lazily =
        |bench: &mut Bench, index, bytes| send_lazily(&mut bench.proactor, id(index), bytes);
    assert!(!lazily(&mut bench, 0, &long), "too long");
    assert!(lazily(&mut bench, 0, &long[..10]));
    assert!(!lazily(&mut bench, 1, &long[..10]), "one a turn");
    bench.until("its end", |_, event| is_sent(&event, 10));
    // Two completions in one turn.
    (&ends[1]).write_all(b"?").unwrap();
    (&ends[2]).write_all(b"?").unwrap();
    let first = received(&mut bench);
    assert!(!lazily(&mut bench, 1, &long[..10]), "not alone in its turn");
    let second = received(&mut bench);
    assert!(!lazily(&mut bench, 2, &long[..10]), "not alone in its turn");
    bench.proactor.give_back(first);
    bench.proactor.give_back(second);
    let mut heard = [0; 10];
    (&ends[0]).read_exact(&mut heard).unwrap();
    assert!(heard == long[..10]);
    for end in &ends {
        end.set_nonblocking(true).unwrap();
        let nothing = (&*end).read(&mut heard).unwrap_err();
        assert_eq!(
            nothing.kind(),
            ErrorKind::WouldBlock,
            "a refusal sends nothing"
        );
    }
}

/// While such a reply waits for its end, its bytes stay leased: the next request must not need them.
#[test]
fn nothing_is_lazy_that_keeps_a_buffer_which_the_next_request_needs() {
    let reply = pattern(9, 10);
    let single: &[(&str, &str)] = &[("receive", "single")];
    for (buffers, options) in [(2, &[] as &[_]), (8, single)] {
        let Some(mut bench) = bench_with(1, buffers, 64, options) else {
            return;
        };
        let theirs = asked(&mut bench, id(0));
        (&theirs).write_all(b"?").unwrap();
        let lease = received(&mut bench);
        assert!(!send_lazily(&mut bench.proactor, id(0), &reply));
        bench.proactor.give_back(lease);
        assert!(send_lazily(&mut bench.proactor, id(0), &reply));
        bench.until("its end", |_, event| is_sent(&event, 10));
        bench.close_and_check(id(0), How::Fin);
    }
}
