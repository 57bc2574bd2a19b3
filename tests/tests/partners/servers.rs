//! Our load against servers that we did not write.

use super::python;
use engine::driver::Driver;
use engine::session::How;
use engine::shape::Pace;
use engine::workload::{Closer, Direction};
use linerate_tests::load::{Plan, echo, stream, transaction, with};
use linerate_tests::process::{Kept, first_line, needs, piped};
use linerate_tests::{Directory, eventually};
use socket2::SockAddr;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

linerate_tests::for_every_engine!(
    socat_over_tcp,
    socat_over_a_unix_socket,
    ncat_with_cat,
    python_asyncio_echo,
    python_asyncio_sink,
);

/// Echo of several sizes, at some depth, and whole transactions.
fn load_it(driver: &'static dyn Driver, address: &SockAddr, connections: u32) {
    let small = with(echo(100), 4, Pace::Closed);
    for (spec, count) in [(small, 400), (echo(30_000), 100)] {
        let loaded = Plan::new(driver, address, spec)
            .connections(connections)
            .count(count)
            .run();
        loaded.assert_clean();
        assert_eq!(loaded.recorded.operations, count);
    }
    let spec = transaction(Some((10, 10)), Closer::Client, How::Fin);
    let loaded = Plan::new(driver, address, spec)
        .connections(2)
        .count(20)
        .run();
    loaded.assert_clean();
    assert_eq!(loaded.recorded.operations, 20);
}

fn loopback(port: u16) -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

/// Starts a socat that tells on its standard error where it listens.
fn socat(listen: &str) -> (Kept, String) {
    let mut command = piped("socat");
    command.args(["-d", "-d", listen, "PIPE"]);
    let mut server = Kept::start(&mut command);
    let stderr = BufReader::new(server.child.stderr.take().expect("a pipe"));
    let mut lines = stderr.lines();
    let line = lines
        .by_ref()
        .map(|line| line.expect("text"))
        .find(|line| line.contains("listening on"))
        .expect("it listens");
    // It goes on writing: somebody must read.
    std::thread::spawn(move || lines.for_each(drop));
    (server, line)
}

fn socat_over_tcp(driver: &'static dyn Driver) {
    if !needs("socat_over_tcp", "socat") {
        return;
    }
    let (_server, line) = socat("TCP4-LISTEN:0,bind=127.0.0.1,fork,backlog=64");
    let port = line
        .rsplit(':')
        .next()
        .and_then(|port| port.trim().parse().ok());
    load_it(driver, &loopback(port.expect("a port")), 5);
}

fn socat_over_a_unix_socket(driver: &'static dyn Driver) {
    if !needs("socat_over_a_unix_socket", "socat") {
        return;
    }
    let directory = Directory::new();
    let path = directory.path().join("s");
    let (_server, _) = socat(&format!("UNIX-LISTEN:{},fork,backlog=64", path.display()));
    load_it(driver, &SockAddr::unix(&path).expect("a short path"), 5);
}

fn ncat_with_cat(driver: &'static dyn Driver) {
    if !needs("ncat_with_cat", "ncat") {
        return;
    }
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let mut command = piped("ncat");
    command.args([
        "-l",
        "-k",
        "-e",
        "/bin/cat",
        "127.0.0.1",
        &address.port().to_string(),
    ]);
    let _server = Kept::start(&mut command);
    let listens = || TcpStream::connect(address).is_ok();
    assert!(
        eventually(Duration::from_secs(10), listens),
        "ncat does not listen"
    );
    let loaded = Plan::new(driver, &address.into(), echo(1_000))
        .connections(3)
        .count(60)
        .run();
    loaded.assert_clean();
    assert_eq!(loaded.recorded.operations, 60);
}

const ASYNCIO_SERVER: &str = r#"
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(65536):
        if sys.argv[1] == "echo":
            writer.write(data)
            await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()
asyncio.run(main())
"#;

fn asyncio(role: &str) -> (Kept, SockAddr) {
    let mut command: Command = python(ASYNCIO_SERVER, &[role]);
    command.stderr(std::process::Stdio::null());
    let mut server = Kept::start(&mut command);
    let port = first_line(&mut server.lines()).parse().expect("a port");
    (server, loopback(port))
}

fn python_asyncio_echo(driver: &'static dyn Driver) {
    if !needs("python_asyncio_echo", "python3") {
        return;
    }
    let (_server, address) = asyncio("echo");
    load_it(driver, &address, 20);
    let loaded = Plan::new(driver, &address, echo(300_000))
        .connections(2)
        .count(20)
        .run();
    loaded.assert_clean();
}

fn python_asyncio_sink(driver: &'static dyn Driver) {
    if !needs("python_asyncio_sink", "python3") {
        return;
    }
    let (_server, address) = asyncio("sink");
    let plan = Plan::new(driver, &address, stream(Direction::Send, 65_536)).connections(2);
    let loaded = plan.duration_ms(200).run();
    loaded.assert_clean();
    assert!(
        loaded.recorded.bytes_sent > 1_000_000,
        "{}",
        loaded.recorded.bytes_sent
    );
}
