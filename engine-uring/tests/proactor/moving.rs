//! Bytes: all of them, in order, to whom they belong.

use crate::support::{Bench, bench, byte_at, id, pattern, send, send_unconfirmed, tcp_pair};
use engine::proactor::{ConnectionId, Event, Lease, Proactor, Sending};
use engine::session::How;
use engine_uring::uring::UringProactor;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Echoes from the receive buffers, one send per connection at a time.
struct Echo {
    leases: Vec<VecDeque<Lease>>,
    sending: Vec<bool>,
    finished: Vec<bool>,
    closed: usize,
}

impl Echo {
    fn new(connections: usize) -> Self {
        Self {
            leases: (0..connections).map(|_| VecDeque::new()).collect(),
            sending: vec![false; connections],
            finished: vec![false; connections],
            closed: 0,
        }
    }

    fn handle(&mut self, proactor: &mut UringProactor, event: Event) {
        let id = match event {
            Event::Received(id, lease) => {
                self.leases[id.index as usize].push_back(lease);
                id
            }
            Event::Sent(id, outcome) => {
                let lease = self.leases[id.index as usize].pop_front().unwrap();
                assert_eq!(outcome, Ok(lease.len as usize));
                proactor.give_back(lease);
                self.sending[id.index as usize] = false;
                id
            }
            Event::Finished(id) => {
                self.finished[id.index as usize] = true;
                id
            }
            Event::Closed(_) => {
                self.closed += 1;
                return;
            }
            other => panic!("{other:?}"),
        };
        self.go_on(proactor, id);
    }

    fn go_on(&mut self, proactor: &mut UringProactor, id: ConnectionId) {
        let at = id.index as usize;
        if self.sending[at] {
            return;
        }
        if let Some(lease) = self.leases[at].front() {
            let bytes = proactor.bytes(lease);
            let bytes: &[u8] = detached(bytes);
            send(proactor, id, &[bytes]);
            self.sending[at] = true;
        } else if self.finished[at] {
            proactor.close(id, Default::default());
        }
    }
}

/// Leased bytes without the borrow of the proactor, as the worker loop sends them.
fn detached(bytes: &[u8]) -> &'static [u8] {
    // SAFETY: the lease is given back only after the send of these bytes ended.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) }
}

fn client(stream: TcpStream, number: u32, total: usize) {
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        for chunk in pattern(number, total).chunks(7001) {
            writer.write_all(chunk).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut echoed = Vec::new();
    (&stream).read_to_end(&mut echoed).unwrap();
    sender.join().unwrap();
    assert!(
        echoed == pattern(number, total),
        "connection {number}: {} of {total} bytes, or wrong ones",
        echoed.len()
    );
}

fn echo_through(bench: &mut Bench, connections: u32, total: usize) {
    let buffers = bench.proactor.buffers_free();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    bench
        .proactor
        .accept_many(std::os::fd::AsRawFd::as_raw_fd(&listener));
    let clients: Vec<_> = (0..connections)
        .map(|number| {
            thread::spawn(move || client(TcpStream::connect(address).unwrap(), number, total))
        })
        .collect();
    let (mut echo, mut accepted) = (Echo::new(connections as usize), 0);
    bench.until("the end of all echoes", |proactor, event| {
        if let Event::Accepted(socket) = event {
            let id = id(accepted);
            accepted += 1;
            proactor.open(id, socket).unwrap();
            proactor.receive_many(id);
        } else {
            echo.handle(proactor, event);
        }
        echo.closed == connections as usize
    });
    // FIN may go out in the call that follows.
    bench.proactor.wait(Some(0)).unwrap();
    for client in clients {
        client.join().unwrap();
    }
    bench.proactor.accept_stop();
    assert_eq!(
        bench.proactor.buffers_free(),
        buffers,
        "every lease came back"
    );
    no_kernel_worker_threads();
}

/// io-wq's threads are children of the process, named `iou-wrk-<thread>`.
fn no_kernel_worker_threads() {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A test thread may end between the two reads.
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        assert!(
            !name.starts_with("iou-wrk"),
            "an operation was handed to io-wq: {name}"
        );
    }
}

#[test]
fn eight_connections_get_their_own_bytes_back() {
    let Some(mut bench) = bench(8, 32, 4096) else {
        return;
    };
    echo_through(&mut bench, 8, 300_000);
    let counters = bench.proactor.counters();
    assert!(
        counters.system_calls > 0 && counters.waits > 0 && counters.events > 0,
        "{counters:?}"
    );
    assert_eq!(counters.completion_overflows, 0);
}

#[test]
fn one_buffer_serves_five_connections() {
    let Some(mut bench) = bench(5, 1, 512) else {
        return;
    };
    echo_through(&mut bench, 5, 40_000);
    let counters = bench.proactor.counters();
    assert!(
        counters.no_buffers > 0 && counters.rearms > 0,
        "{counters:?}"
    );
}

#[test]
fn two_buffers_serve_many_connections_without_spinning() {
    let Some(mut bench) = bench(24, 2, 1024) else {
        return;
    };
    echo_through(&mut bench, 24, 20_000);
    // All buffers out: nothing is armed, so waiting must sleep.
    let pairs: Vec<_> = (0..4).map(|_| tcp_pair()).collect();
    let mut ours = Vec::new();
    for (index, (mine, mut theirs)) in (0..).zip(pairs) {
        theirs.write_all(&[7; 5000]).unwrap();
        bench.open(
            ConnectionId {
                index,
                generation: 1,
            },
            mine,
        );
        ours.push(theirs);
    }
    let events = bench.events_for(Duration::from_millis(50));
    assert_eq!(bench.proactor.buffers_free(), 0);
    let before = bench.proactor.counters().system_calls;
    assert!(bench.events_for(Duration::from_millis(200)).is_empty());
    let calls = bench.proactor.counters().system_calls - before;
    assert!(
        calls <= 2,
        "{calls} system calls while nothing could be received"
    );
    let mut received = 0;
    for event in events {
        take(&mut bench.proactor, event, &mut received);
    }
    bench.until("the rest", |proactor, event| {
        take(proactor, event, &mut received);
        received == 4 * 5000
    });
}

fn take(proactor: &mut UringProactor, event: Event, received: &mut usize) {
    let Event::Received(_, lease) = event else {
        panic!("{event:?}")
    };
    *received += lease.len as usize;
    proactor.give_back(lease);
}

#[test]
fn a_gathered_send_beyond_the_socket_buffer_arrives_whole_at_a_slow_reader() {
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, theirs) = tcp_pair();
    socket2::SockRef::from(&mine)
        .set_send_buffer_size(16 * 1024)
        .unwrap();
    bench.open(id(0), mine);
    let lens = [
        1usize, 3_000_000, 3, 4_000_000, 65_536, 17, 2_999_999, 250_000,
    ];
    let bytes = pattern(9, lens.iter().sum());
    let mut rest = &bytes[..];
    let pieces = lens.map(|len| {
        let (piece, after) = rest.split_at(len);
        rest = after;
        piece
    });
    let expected = bytes.clone();
    let reader = thread::spawn(move || {
        let mut chunk = vec![0u8; 50_000];
        let mut at = 0;
        while at < expected.len() {
            let len = (&theirs).read(&mut chunk).unwrap();
            assert!(
                len > 0 && chunk[..len] == expected[at..at + len],
                "wrong bytes after {at}"
            );
            at += len;
            // Slow enough that the sender waits for room some hundred times.
            thread::sleep(Duration::from_micros(200));
        }
        theirs
    });
    send(&mut bench.proactor, id(0), &pieces);
    bench.until("Sent", |_, event| match event {
        Event::Sent(_, outcome) => outcome == Ok(bytes.len()),
        other => panic!("{other:?}"),
    });
    no_kernel_worker_threads();
    let theirs = reader.join().unwrap();
    no_kernel_worker_threads();
    // A send after a gathered one, and one byte at a time, work as well.
    for position in 0..100 {
        let byte = [byte_at(1, position)];
        send(&mut bench.proactor, id(0), &[&byte]);
        bench.until("Sent", |_, event| matches!(event, Event::Sent(_, Ok(1))));
    }
    let mut small = [0u8; 100];
    (&theirs).read_exact(&mut small).unwrap();
    assert_eq!(small.to_vec(), pattern(1, 100));
}

#[test]
fn a_pause_stops_bytes_and_a_resume_loses_none() {
    let Some(mut bench) = bench(1, 8, 1000) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    bench.open(id(0), mine);
    let (mut at, mut rounds) = (0, 0);
    while rounds < 20 {
        bench.proactor.receive_pause(id(0));
        if rounds % 3 == 0 {
            // Before the cancellation's completion was read.
            bench.proactor.receive_resume(id(0));
            bench.proactor.receive_pause(id(0));
        }
        // What was under way may still arrive, then silence.
        collect(
            bench.events_for(Duration::from_millis(5)),
            &mut bench.proactor,
            &mut at,
        );
        let sent = (rounds + 1) * 2500;
        theirs.write_all(&pattern(3, sent)[sent - 2500..]).unwrap();
        let before = at;
        collect(
            bench.events_for(Duration::from_millis(10)),
            &mut bench.proactor,
            &mut at,
        );
        assert_eq!(at, before, "bytes arrived in a pause");
        bench.proactor.receive_resume(id(0));
        bench.until("the bytes sent in the pause", |proactor, event| {
            collect(vec![event], proactor, &mut at);
            at == sent
        });
        rounds += 1;
    }
    drop(theirs);
    bench.proactor.receive_pause(id(0));
    bench.proactor.receive_resume(id(0));
    bench.until("Finished", |_, event| matches!(event, Event::Finished(_)));
}

fn collect(events: Vec<Event>, proactor: &mut UringProactor, at: &mut usize) {
    for event in events {
        let Event::Received(_, lease) = event else {
            panic!("{event:?}")
        };
        let bytes = proactor.bytes(&lease);
        assert!(
            bytes
                .iter()
                .enumerate()
                .all(|(offset, &byte)| byte == byte_at(3, *at + offset)),
            "wrong byte after {at}"
        );
        *at += bytes.len();
        proactor.give_back(lease);
    }
}

#[test]
fn a_half_close_is_seen_and_the_other_half_still_sends() {
    let Some(mut bench) = bench(2, 4, 1024) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    bench.open(id(0), mine);
    theirs.shutdown(Shutdown::Write).unwrap();
    bench.until("Finished", |_, event| matches!(event, Event::Finished(_)));
    send(&mut bench.proactor, id(0), &[b"late reply"]);
    bench.until("Sent", |_, event| matches!(event, Event::Sent(_, Ok(10))));
    bench.proactor.shutdown_write(id(0));
    let mut reply = String::new();
    theirs.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "late reply");
    no_kernel_worker_threads();
}

#[test]
fn an_unconfirmed_send_is_silent_and_takes_one_call_with_its_answer() {
    let request = pattern(4, 1000);
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, theirs) = tcp_pair();
    bench.open(id(0), mine);
    let peer = thread::spawn(move || {
        let mut bytes = [0; 1000];
        for _ in 0..50 {
            (&theirs).read_exact(&mut bytes).unwrap();
            assert!(bytes[..] == pattern(4, 1000));
            (&theirs).write_all(b"yes").unwrap();
        }
    });
    assert!(bench.events_for(Duration::from_millis(5)).is_empty());
    let before = bench.proactor.counters().system_calls;
    for _ in 0..50 {
        let sending = send_unconfirmed(&mut bench.proactor, id(0), &request);
        assert!(matches!(sending, Sending::Done(Ok(1000))));
        bench.until("the answer", |proactor, event| {
            let Event::Received(_, lease) = event else {
                panic!("{event:?}")
            };
            proactor.give_back(lease);
            true
        });
    }
    let calls = bench.proactor.counters().system_calls - before;
    assert!(calls <= 60, "{calls} system calls for 50 requests");
    peer.join().unwrap();
}

#[test]
fn an_unconfirmed_send_that_does_not_fit_arrives_whole_all_the_same() {
    let request = pattern(4, 64 * 1024);
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    for (generation, delay_ms) in [(0, 0), (1, 20)] {
        let id = ConnectionId {
            index: 0,
            generation,
        };
        let (mine, mut theirs) = tcp_pair();
        socket2::SockRef::from(&mine)
            .set_send_buffer_size(1)
            .unwrap(); // the kernel's least
        bench.open(id, mine);
        let expected = request.clone();
        let peer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(delay_ms));
            let mut bytes = vec![0; expected.len()];
            theirs.read_exact(&mut bytes).unwrap();
            assert!(bytes == expected);
            theirs.write_all(b"yes").unwrap();
            theirs
        });
        let sending = send_unconfirmed(&mut bench.proactor, id, &request);
        assert!(matches!(sending, Sending::Done(Ok(65_536))));
        bench.until("the answer", |proactor, event| {
            let Event::Received(_, lease) = event else {
                panic!("{event:?}")
            };
            proactor.give_back(lease);
            true
        });
        drop(peer.join().unwrap());
        bench.close_after_finish(id);
    }
    assert!(
        bench.proactor.counters().short_sends >= 2,
        "{:?}",
        bench.proactor.counters()
    );
    no_kernel_worker_threads();
}

#[test]
fn unconfirmed_sends_report_failures_and_fin_does_not_overtake_them() {
    let request = pattern(4, 500);
    let Some(mut bench) = bench(1, 4, 1024) else {
        return;
    };
    let (mine, mut theirs) = tcp_pair();
    bench.open(id(0), mine);
    assert!(matches!(
        send_unconfirmed(&mut bench.proactor, id(0), &request),
        Sending::Done(Ok(500))
    ));
    bench.proactor.shutdown_write(id(0));
    assert!(bench.events_for(Duration::from_millis(5)).is_empty());
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).unwrap();
    assert!(received == request);
    assert!(matches!(
        send_unconfirmed(&mut bench.proactor, id(0), &request),
        Sending::Done(Ok(500))
    ));
    bench.until("EPIPE", |_, event| {
        matches!(event, Event::Sent(_, Err(libc::EPIPE)))
    });
    bench.close_and_check(id(0), How::Fin);
}
