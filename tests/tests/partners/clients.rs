//! socat, ncat and Python as clients of the testee.

use super::{port, python};
use engine::driver::Driver;
use engine::session::How;
use engine::workload::ServeSpec;
use linerate_tests::process::{Kept, needs, piped};
use linerate_tests::testee::Testee;
use linerate_tests::{Family, noise};
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

linerate_tests::for_every_engine!(
    socat_gets_its_bytes_back,
    ncat_gets_its_bytes_back,
    python_asyncio_clients_get_their_bytes_back,
    python_asks_and_is_answered,
);

/// Pours `bytes` into a program and collects what comes out of it.
fn through(mut command: Command, bytes: Vec<u8>) -> Vec<u8> {
    let mut client = Kept::start(&mut command);
    let mut stdin = client.child.stdin.take().expect("a pipe");
    let mut stdout = client.child.stdout.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let mut heard = Vec::new();
    stdout.read_to_end(&mut heard).expect("readable");
    writer.join().expect("the writer").expect("written");
    let status = client.wait(Duration::from_secs(10));
    assert!(status.success(), "{command:?}: {status}");
    heard
}

fn socat_gets_its_bytes_back(driver: &'static dyn Driver) {
    if !needs("socat_gets_its_bytes_back", "socat") {
        return;
    }
    let bytes = noise(1_000_000, 1);
    for family in [Family::Tcp4, Family::Unix] {
        let testee = Testee::start(driver, family, ServeSpec::Echo);
        let target = match family {
            Family::Unix => {
                let path = testee
                    .address
                    .as_pathname()
                    .expect("a path")
                    .display()
                    .to_string();
                format!("UNIX-CONNECT:{path}")
            }
            _ => format!("TCP:127.0.0.1:{}", port(&testee)),
        };
        let mut command = piped("socat");
        command.args(["-t", "10", "-", &target]);
        assert!(through(command, bytes.clone()) == bytes, "the echo differs");
    }
}

fn ncat_gets_its_bytes_back(driver: &'static dyn Driver) {
    if !needs("ncat_gets_its_bytes_back", "ncat") {
        return;
    }
    let bytes = noise(1_000_000, 2);
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    let mut command = piped("ncat");
    command.args(["127.0.0.1", &port(&testee)]);
    assert!(through(command, bytes.clone()) == bytes, "the echo differs");
}

const ASYNCIO_CLIENTS: &str = r#"
import asyncio, os, sys
async def one(number):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    for round in range(20):
        message = os.urandom(1 + (number * 977 + round * 4099) % 50000)
        writer.write(message)
        assert await reader.readexactly(len(message)) == message, "the echo differs"
    writer.write_eof()
    assert await reader.read() == b"", "more than was sent"
    writer.close()
async def main():
    await asyncio.gather(*(one(number) for number in range(50)))
asyncio.run(main())
"#;

fn python_asyncio_clients_get_their_bytes_back(driver: &'static dyn Driver) {
    if !needs("python_asyncio_clients_get_their_bytes_back", "python3") {
        return;
    }
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    let client = Kept::start(&mut python(ASYNCIO_CLIENTS, &[&port(&testee)]));
    let finished = client.finish(Duration::from_secs(40));
    assert!(finished.status.success(), "{}", finished.stderr);
}

const ASKER: &str = r#"
import socket, sys
family = socket.AF_UNIX if sys.argv[1] == "unix" else socket.AF_INET6
peer = socket.socket(family, socket.SOCK_STREAM)
peer.settimeout(10)
peer.connect(sys.argv[2] if sys.argv[1] == "unix" else ("::1", int(sys.argv[2])))
for round in range(100):
    request = bytes(100)
    for cut in (1, 7, 92):
        assert peer.send(request[:cut]) == cut
    answer = b""
    while len(answer) < 250:
        piece = peer.recv(4096)
        assert piece, "closed early"
        answer += piece
    assert len(answer) == 250, len(answer)
peer.shutdown(socket.SHUT_WR)
assert peer.recv(1) == b"", "something more came"
"#;

fn python_asks_and_is_answered(driver: &'static dyn Driver) {
    if !needs("python_asks_and_is_answered", "python3") {
        return;
    }
    let spec = ServeSpec::Rr {
        request_bytes: 100,
        response_bytes: 250,
        close_after: None,
        how: How::Fin,
    };
    for family in [Family::Tcp6, Family::Unix] {
        if !linerate_tests::families().contains(&family) {
            continue;
        }
        let testee = Testee::start(driver, family, spec.clone());
        let client = match family {
            Family::Unix => {
                let path = testee
                    .address
                    .as_pathname()
                    .expect("a path")
                    .display()
                    .to_string();
                python(ASKER, &["unix", &path]).spawn()
            }
            _ => python(ASKER, &["tcp", &port(&testee)]).spawn(),
        };
        let client = Kept {
            child: client.expect("python3 starts"),
        };
        let finished = client.finish(Duration::from_secs(30));
        assert!(finished.status.success(), "{}", finished.stderr);
    }
}
