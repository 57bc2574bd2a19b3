use super::*;
use crate::plan::{ListenerRequest, RoleName, ServeRequest};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;

struct Told(Sender<Vec<ListenerState>>);

impl ServeObserver for Told {
    fn listening(&mut self, listeners: &[ListenerState]) {
        self.0.send(listeners.to_vec()).unwrap();
    }
}

/// Serves on a thread; gives where, how to end it, and what came of it.
fn start(
    request: ServeRequest,
) -> (
    Vec<ListenerState>,
    Cancel,
    std::thread::JoinHandle<Result<ServeTotals, Failure>>,
) {
    let (sender, told) = channel();
    let cancel = Cancel::new();
    let own = cancel.clone();
    let plan = ServePlan::new(request).unwrap();
    let thread = std::thread::spawn(move || serve(&plan, &mut Told(sender), &own));
    (told.recv().unwrap(), cancel, thread)
}

fn request(listeners: Vec<ListenerRequest>) -> ServeRequest {
    let with_engine = |listener| ListenerRequest {
        engine: Some("epoll".into()),
        ..listener
    };
    ServeRequest {
        listeners: listeners.into_iter().map(with_engine).collect(),
        max_connections: Some(64),
        drain_ns: Some(100_000_000),
        ..ServeRequest::default()
    }
}

fn answer(mut stream: impl Read + Write, question: &[u8]) -> Vec<u8> {
    stream.write_all(question).unwrap();
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

fn port(state: &ListenerState) -> u16 {
    state.endpoint.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn two_listeners_serve_until_told_and_count() {
    let path = std::env::temp_dir().join(format!("linerate-serve-{}.sock", std::process::id()));
    let unix = format!("unix://{}", path.display());
    let mut tcp = ListenerRequest::new("tcp://127.0.0.1:0", RoleName::Echo);
    (tcp.id, tcp.threads) = (Some("front".into()), Some(2));
    let (states, cancel, thread) = start(request(vec![
        tcp,
        ListenerRequest::new(&unix, RoleName::Rr),
    ]));
    assert_eq!(
        (states[0].id.as_str(), states[0].accept),
        ("front", "reuseport")
    );
    assert_eq!((states[1].accept, states[1].role), ("shared", "rr"));
    let client = TcpStream::connect(("127.0.0.1", port(&states[0]))).unwrap();
    assert_eq!(answer(&client, b"hello"), b"hello");
    client.shutdown(Shutdown::Both).unwrap();
    answer(UnixStream::connect(&path).unwrap(), b"x");
    cancel.raise();
    let totals = thread.join().unwrap().unwrap();
    assert!(!path.exists(), "the socket is removed");
    let (name, counts) = &totals.listeners[0];
    assert_eq!((name.as_str(), counts.accepted), ("front", 1));
    assert_eq!((counts.bytes_received, counts.bytes_sent), (5, 5));
    assert_eq!(totals.listeners[1].1.accepted, 1);
}

#[cfg(target_os = "linux")]
#[test]
fn connections_are_handed_on_in_turn() {
    let mut listener = ListenerRequest::new("tcp://127.0.0.1:0", RoleName::Echo);
    (listener.threads, listener.accept) = (Some(3), Some("handoff".into()));
    let (states, cancel, thread) = start(request(vec![listener]));
    assert_eq!(states[0].accept, "handoff");
    for _ in 0..7 {
        let client = TcpStream::connect(("127.0.0.1", port(&states[0]))).unwrap();
        assert_eq!(answer(&client, b"abc"), b"abc");
    }
    cancel.raise();
    let totals = thread.join().unwrap().unwrap();
    assert_eq!(totals.listeners[0].1.bytes_sent, 21);
}

#[cfg(target_os = "linux")]
#[test]
fn one_off_ends_with_the_first_connection() {
    let one_off = ServeRequest {
        one_off: true,
        ..request(vec![ListenerRequest::new(
            "tcp://127.0.0.1:0",
            RoleName::Echo,
        )])
    };
    let (states, _, thread) = start(one_off);
    let client = TcpStream::connect(("127.0.0.1", port(&states[0]))).unwrap();
    answer(&client, b"only");
    drop(client);
    assert_eq!(thread.join().unwrap().unwrap().listeners[0].1.closed, 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_outlives_the_drain_is_cut_off() {
    let (states, cancel, thread) = start(request(vec![ListenerRequest::new(
        "tcp://127.0.0.1:0",
        RoleName::Echo,
    )]));
    let client = TcpStream::connect(("127.0.0.1", port(&states[0]))).unwrap();
    answer(&client, b"stay");
    let asked = Instant::now();
    cancel.raise();
    let totals = thread.join().unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(totals.listeners[0].1.closed, 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_in_use_is_said_at_once_and_leaves_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    let path = std::env::temp_dir().join(format!("linerate-left-{}.sock", std::process::id()));
    let unix = format!("unix://{}", path.display());
    let plan = ServePlan::new(request(vec![
        ListenerRequest::new(&unix, RoleName::Echo),
        ListenerRequest::new(&endpoint, RoleName::Echo),
    ]))
    .unwrap();
    struct Silent;
    impl ServeObserver for Silent {}
    let asked = Instant::now();
    let failure = serve(&plan, &mut Silent, &Cancel::new()).unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(failure.class.code(), 3);
    assert!(failure.text.contains(&endpoint) && failure.text.contains("another port"));
    assert!(!path.exists(), "the first listener's socket is removed");
}
