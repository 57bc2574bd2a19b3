//! What is decided without a connection.

use super::*;
use engine::control::Control;
use engine::driver::ServeLimits;
use engine::socket::SocketOptions;
use engine::workload::{EchoServer, ServeSpec};
use std::task::{Context, Waker};

fn house(control: &Arc<Control>) -> House<EchoServer> {
    let job = ServeJob {
        worker: 0,
        control: Arc::clone(control),
        wake: control.seat().expect("a seat"),
        published: Arc::default(),
        spec: ServeSpec::Echo,
        listener: None,
        handoff: None,
        socket: SocketOptions::default(),
        limits: ServeLimits {
            connections: 1,
            idle_timeout_ns: None,
            one_off: false,
            drain_ns: 0,
        },
        expected_connections: None,
        expected_message_bytes: None,
        engine_options: Vec::new(),
    };
    House::new(job, EchoServer, None)
}

/// Another worker that has the same listener has shut it down, and here the order is not followed
/// yet: an accept fails at once, and so would all that follow within the same poll.
#[test]
fn nothing_is_accepted_once_there_is_an_order_to_stop() {
    let control = Arc::new(Control::default());
    let house = house(&control);
    let may_accept = || pin!(house.may_accept()).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(may_accept(), Poll::Ready(true));
    control.order_all(Order::Stop);
    house.accept_failed(&io::Error::from_raw_os_error(libc::EINVAL));
    assert_eq!(house.stop_at_ns.get(), None, "not followed");
    assert_eq!(may_accept(), Poll::Ready(false));
}
