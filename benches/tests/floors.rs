//! The floors are only a measure while they are right: their servers send back the same bytes,
//! their clients complete a closed loop, and both end cleanly.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use linerate_benches::child::{Process, Stop, free_port};

const LIMIT: Duration = Duration::from_secs(20);
const FLOORS: [(&str, &str); 3] = [
    ("uring", env!("CARGO_BIN_EXE_floor-uring")),
    ("epoll", env!("CARGO_BIN_EXE_floor-epoll")),
    ("blocking", env!("CARGO_BIN_EXE_floor-blocking")),
];

#[test]
fn every_floor_echoes_and_completes_its_closed_loop() {
    for (name, program) in FLOORS {
        if name == "uring" && io_uring::IoUring::new(2).is_err() {
            skipped("every_floor_echoes_and_completes_its_closed_loop: no io_uring here");
            continue;
        }
        for (connections, size_bytes) in [(1, 1), (40, 777), (3, 16_384)] {
            let port = free_port().expect("a port");
            let run = |role: &str| -> Process {
                let line = format!(
                    "{program} {role} 127.0.0.1:{port} --connections {connections} --size {size_bytes}"
                );
                let line = match role {
                    "load" => line + " --seconds 0.1 --warmup-seconds 0.05 --clock",
                    _ => line,
                };
                let words: Vec<String> = line.split(' ').map(String::from).collect();
                Process::start(&words).expect("the floor starts")
            };
            let mut server = run("serve");
            server.await_listening(port, LIMIT).expect("it listens");
            let line = run("load").finish(LIMIT).expect("the loop completes");
            let result: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
            assert!(
                result["operations_per_second"].as_f64() > Some(0.0),
                "{name}: {line}"
            );
            assert!(
                result["mean_latency_ns"].as_f64() > Some(0.0),
                "{name}: {line}"
            );
            same_bytes_come_back(name, port);
            server
                .stop(Stop::CloseStdin)
                .expect("it ends with its standard input");
        }
    }
}

#[test]
fn every_floor_churns_answers_and_closes() {
    for (name, program) in FLOORS {
        if name == "uring" && io_uring::IoUring::new(2).is_err() {
            skipped("every_floor_churns_answers_and_closes: no io_uring here");
            continue;
        }
        let port = free_port().expect("a port");
        let run = |rest: &str| -> Process {
            let line = format!("{program} {rest} --churn --connections 9 --size 777");
            let words: Vec<String> = line.split(' ').map(String::from).collect();
            Process::start(&words).expect("the floor starts")
        };
        let mut server = run(&format!("serve 127.0.0.1:{port}"));
        server.await_listening(port, LIMIT).expect("it listens");
        let line = run(&format!(
            "load 127.0.0.1:{port} --seconds 0.1 --warmup-seconds 0.05 --clock"
        ))
        .finish(LIMIT)
        .expect("the loop completes");
        let result: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert!(result["operations"].as_u64() > Some(9), "{name}: {line}");
        for message in [vec![1; 777], vec![7; 1], vec![]] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
            stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
            stream.write_all(&message).expect("write");
            if message.is_empty() {
                stream.shutdown(Shutdown::Write).expect("half-close");
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("it closes");
            assert_eq!(answer, message, "{name}");
        }
        server
            .stop(Stop::CloseStdin)
            .expect("it ends with its standard input");
    }
}

/// Uneven pieces, larger than any buffer of the floor in sum, then a half-close.
fn same_bytes_come_back(name: &str, port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let sent: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let pieces = sent.clone();
    let writing = thread::spawn(move || {
        for piece in pieces.chunks(1001) {
            writer.write_all(piece).expect("write");
        }
        writer.shutdown(Shutdown::Write).expect("half-close");
    });
    let mut received = Vec::new();
    stream
        .read_to_end(&mut received)
        .expect("read until the floor closes");
    writing.join().expect("the writer");
    assert!(
        received == sent,
        "{name}: {} bytes came back, not the same",
        received.len()
    );
}

/// Written directly, because print macros are captured in a passing test.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}
