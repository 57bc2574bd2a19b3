//! What a connection costs in memory.

use crate::conversation::echo_spec;
use engine::load::LoadWorkload;
use engine::session::How;
use engine::shape::Pace;
use engine::websocket::frame::Kind;
use engine::workload::{
    Closer, Direction, LoadSpec, LoadVisitor, ServeSpec, ServeVisitor, ServeWorkload,
};

struct SizeOfServe;

impl ServeVisitor for SizeOfServe {
    type Output = usize;
    fn visit<W: ServeWorkload>(self, _: W) -> usize {
        size_of::<W::Session>()
    }
}

struct SizeOfLoad;

impl LoadVisitor for SizeOfLoad {
    type Output = usize;
    fn visit<W: LoadWorkload>(self, _: W) -> usize {
        size_of::<W::Slot>() + size_of::<W::Session>()
    }
}

#[test]
fn a_connection_costs_at_most_512_bytes_of_session_and_slot() {
    let loads = [
        echo_spec(1, 1),
        LoadSpec::Stream {
            direction: Direction::Both,
            message_bytes: 1,
            bitrate_bits_per_second: None,
        },
        LoadSpec::Transaction {
            exchange: None,
            pace: Pace::Closed,
            closer: Closer::Client,
            how: How::Fin,
        },
        crate::web_socket::load(64, 64, Kind::Binary, 1, true),
    ];
    for spec in loads {
        let bytes = spec.dispatch(SizeOfLoad);
        assert!(bytes <= 512, "{bytes} bytes for {spec:?}");
    }
    let rr = ServeSpec::Rr {
        request_bytes: 1,
        response_bytes: 1,
        close_after: None,
        how: How::Fin,
    };
    let roles = [
        ServeSpec::Echo,
        ServeSpec::Discard,
        ServeSpec::Source { message_bytes: 1 },
        rr,
        ServeSpec::WebSocket {
            limit_message_bytes: 1,
        },
    ];
    for spec in roles {
        let bytes = spec.dispatch(SizeOfServe);
        assert!(bytes <= 512, "{bytes} bytes for {spec:?}");
    }
}
