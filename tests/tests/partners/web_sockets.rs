//! Python's `websockets`, on both sides.

use engine::driver::Driver;
use engine::meter::ErrorKind;
use engine::shape::{Pace, Ramp};
use engine::websocket::frame::Kind;
use engine::websocket::handshake::Opening;
use engine::workload::{LoadSpec, ServeSpec, WebSocket};
use linerate_tests::Family;
use linerate_tests::load::Plan;
use linerate_tests::process::{Kept, first_line, python_with};
use linerate_tests::testee::Testee;
use socket2::SockAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

linerate_tests::for_every_engine!(
    python_websockets_echo_our_messages,
    python_websockets_clients_get_their_messages_back,
);

/// What Debian calls it.
const PACKAGE: &str = "python3-websockets";

const SERVER: &str = r#"
import asyncio, websockets
async def echo(socket):
    async for message in socket:
        await socket.ping()
        await socket.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat"]) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"#;

fn python_websockets_echo_our_messages(driver: &'static dyn Driver) {
    let test = "python_websockets_echo_our_messages";
    let Some(mut python) = python_with(test, "websockets", PACKAGE) else {
        return;
    };
    let mut server = Kept::start(python.args(["-c", SERVER]));
    let port: u16 = first_line(&mut server.lines()).parse().expect("a port");
    let address: SockAddr = SocketAddr::from(([127, 0, 0, 1], port)).into();
    for (message_bytes, frame_bytes, kind, subprotocol) in [
        (64, 64, Kind::Text, Some("chat")),
        (126, 126, Kind::Binary, None),
        (65_536, 65_536, Kind::Binary, None),
        (1_000_000, 300_000, Kind::Text, None),
    ] {
        let spec = LoadSpec::WebSocket {
            client: WebSocket {
                opening: Arc::new(Opening {
                    host: format!("127.0.0.1:{port}"),
                    path: "/any?thing".into(),
                    origin: Some("http://a".into()),
                    subprotocols: subprotocol.into_iter().map(str::to_owned).collect(),
                    fields: vec![("X-Test".into(), "1".into())],
                }),
                message_bytes,
                frame_bytes,
                kind,
                depth: 2,
                pace: Pace::Closed,
                verify: true,
            },
            ramp: Ramp::AtOnce,
        };
        let loaded = Plan::new(driver, &address, spec)
            .connections(4)
            .count(40)
            .run();
        loaded.assert_clean();
        assert_eq!(loaded.recorded.operations, 40);
        assert_eq!(loaded.recorded.handshake.len(), 4);
        assert_eq!(loaded.recorded.lost[ErrorKind::ClosedEarly as usize], 0);
    }
}

const CLIENTS: &str = r#"
import asyncio, os, sys, websockets
uri = "ws://127.0.0.1:%s/chat" % sys.argv[1]
async def one(number):
    async with websockets.connect(uri, max_size=None, subprotocols=["a", "b"], origin="http://x") as socket:
        assert socket.subprotocol == "a", socket.subprotocol
        for size in (0, 1, 125, 126, 127, 65535, 65536, 200000):
            text = ("\u03ba\u00e4" * size)[:size]
            await socket.send(text)
            assert await socket.recv() == text
            data = os.urandom(size)
            await socket.send(data)
            assert await socket.recv() == data
        await socket.send(["frag", "", "men", "ts \U0001f600"])
        assert await socket.recv() == "fragments \U0001f600"
        messages = ["%d-%d" % (number, count) for count in range(200)]
        for message in messages:
            await socket.send(message)
        assert [await socket.recv() for _ in messages] == messages
        await asyncio.wait_for(await socket.ping(b"x" * 125), 10)
    assert socket.close_code == 1000, socket.close_code
async def fails(code, *frame):
    socket = await websockets.connect(uri, compression=None)
    await socket.write_frame(*frame)
    try:
        await socket.recv()
        assert False, "it was taken"
    except websockets.ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == code, (code, closed)
async def main():
    await asyncio.gather(*(one(number) for number in range(20)))
    await fails(1007, True, 1, b"\xff")
    await fails(1002, True, 0, b"x")
    data = b"x" * 200
    import http.client
    plain = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
    plain.request("GET", "/")
    assert plain.getresponse().status == 426
asyncio.run(main())
"#;

fn python_websockets_clients_get_their_messages_back(driver: &'static dyn Driver) {
    let test = "python_websockets_clients_get_their_messages_back";
    let Some(mut python) = python_with(test, "websockets", PACKAGE) else {
        return;
    };
    let spec = ServeSpec::WebSocket {
        limit_message_bytes: 1 << 20,
    };
    let testee = Testee::start(driver, Family::Tcp4, spec);
    let client = Kept::start(python.args(["-c", CLIENTS, &super::port(&testee)]));
    let finished = client.finish(Duration::from_secs(60));
    assert!(finished.status.success(), "{}", finished.stderr);
}
