//! What netperf does with `-N` (no control connection), call by call, from its source and from
//! strace: `classic netperf` 2.7 as a client that knows nothing of its peer. netperf itself is not
//! in Debian main, so a Python client makes the same calls.

use super::python;
use engine::driver::Driver;
use engine::workload::ServeSpec;
use linerate_tests::process::{Finished, Kept, needs};
use linerate_tests::testee::Testee;
use linerate_tests::{Family, eventually};
use std::time::Duration;

linerate_tests::for_every_engine!(
    tcp_rr_against_echo,
    tcp_crr_against_echo,
    tcp_cc_against_echo,
    tcp_stream_against_discard,
    tcp_stream_against_echo,
);

/// Blocking sockets; SO_REUSEADDR always; the buffers' sizes only read; the client speaks first.
const NETPERF: &str = r#"
import random, signal, socket, sys, time

test, port, amount, burst = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
peer = ("127.0.0.1", port)
FILL = (b"netperf\0" * 2048)

def data_socket():
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s

def disconnect(s):
    s.shutdown(socket.SHUT_WR)
    return s.recv(1)

def tcp_rr():
    s = data_socket()
    s.connect(peer)
    for _ in range(burst):
        assert s.send(FILL[:1]) == 1
    for _ in range(int(amount)):
        assert s.send(FILL[:1]) == 1
        assert s.recv(1) == b"n", "not what was sent"
    for _ in range(burst):
        assert s.recv(1) == b"n"
    assert disconnect(s) == b"", "a byte too many"
    s.close()

def tcp_crr():
    # Ports rise by one from a random start; one that is in use is skipped.
    local, done = random.randint(5000, 60000), 0
    while done < int(amount):
        local = local + 1 if local < 65000 else 5000
        if local == port:
            continue
        s = data_socket()
        try:
            s.bind(("0.0.0.0", local))
            s.connect(peer)
        except OSError:
            s.close()
            continue
        if test == "TCP_CRR":
            assert s.send(FILL[:1]) == 1
            assert s.recv(1) == b"n"
        # netperf exits with "disconnect_data_socket failed" if anything but 0 comes here.
        assert disconnect(s) == b"", "a byte too many"
        s.close()
        done += 1

class Alarm(Exception):
    pass

def ring(number, frame):
    raise Alarm

def tcp_stream():
    s = data_socket()
    s.connect(peer)
    buffers, sent, calls = [FILL[:16384], FILL[:16384]], 0, 0
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, amount)
    begun = time.monotonic()
    try:
        while True:
            sent += s.send(buffers[calls % 2])
            calls += 1
    except Alarm:
        pass
    took = time.monotonic() - begun
    signal.setitimer(signal.ITIMER_REAL, 0)
    last = disconnect(s)
    s.close()
    print(sent, len(last), took)

{"TCP_RR": tcp_rr, "TCP_CRR": tcp_crr, "TCP_CC": tcp_crr, "TCP_STREAM": tcp_stream}[test]()
"#;

fn netperf(testee: &Testee, test: &str, amount: &str, burst: &str) -> Option<Finished> {
    if !needs("netperf", "python3") {
        return None;
    }
    let port = testee.address.as_socket().expect("TCP").port().to_string();
    let client = Kept::start(&mut python(NETPERF, &[test, &port, amount, burst]));
    let finished = client.finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{test}: {}", finished.stderr);
    Some(finished)
}

fn all_closed(testee: &Testee, connections: u64) {
    let closed = || testee.total(|counters| &counters.closed);
    assert!(
        eventually(Duration::from_secs(5), || closed() == connections),
        "{} of {connections} closed",
        closed()
    );
}

fn tcp_rr_against_echo(driver: &'static dyn Driver) {
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    for burst in ["0", "15"] {
        if netperf(&testee, "TCP_RR", "2000", burst).is_none() {
            return;
        }
    }
    all_closed(&testee, 2);
    assert_eq!(testee.total(|counters| &counters.bytes_sent), 4_015);
    assert_eq!(testee.total(|counters| &counters.failed), 0);
}

fn tcp_crr_against_echo(driver: &'static dyn Driver) {
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    if netperf(&testee, "TCP_CRR", "500", "0").is_some() {
        all_closed(&testee, 500);
        assert_eq!(testee.total(|counters| &counters.bytes_sent), 500);
    }
}

fn tcp_cc_against_echo(driver: &'static dyn Driver) {
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    if netperf(&testee, "TCP_CC", "500", "0").is_some() {
        all_closed(&testee, 500);
        assert_eq!(testee.total(|counters| &counters.bytes_sent), 0);
    }
}

/// The bytes that netperf says it sent, and the bytes it got at the end.
fn stream(finished: &Finished) -> (u64, u64) {
    let mut fields = finished.stdout.split_whitespace();
    let mut number = || {
        fields
            .next()
            .and_then(|field| field.parse().ok())
            .expect("a number")
    };
    (number(), number())
}

fn tcp_stream_against_discard(driver: &'static dyn Driver) {
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Discard);
    let Some(finished) = netperf(&testee, "TCP_STREAM", "0.5", "0") else {
        return;
    };
    let (sent, heard) = stream(&finished);
    all_closed(&testee, 1);
    let received = testee.total(|counters| &counters.bytes_received);
    // The send that the alarm interrupted is dropped from netperf's count.
    assert!(
        (sent..=sent + 16_384).contains(&received),
        "{sent} sent, {received} received"
    );
    assert!(sent > 1_000_000 && heard == 0, "{sent} sent, {heard} heard");
}

/// netperf never reads: both directions fill up, and the testee must neither grow nor fail.
fn tcp_stream_against_echo(driver: &'static dyn Driver) {
    let testee = Testee::start(driver, Family::Tcp4, ServeSpec::Echo);
    let Some(finished) = netperf(&testee, "TCP_STREAM", "1", "0") else {
        return;
    };
    let (sent, heard) = stream(&finished);
    assert!(
        sent < 64 << 20,
        "{sent} bytes were taken from a peer that never reads"
    );
    assert_eq!(heard, 1, "the echo was there to be read");
    assert!(
        testee.total(|counters| &counters.peer_not_reading) >= 1,
        "and it is counted"
    );
    all_closed(&testee, 1);
    netperf(&testee, "TCP_RR", "100", "0").expect("it serves on");
}
