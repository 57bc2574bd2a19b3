//! WebSockets: what the testee says to any client, by the rules of RFC 6455 as the Autobahn test suite has them in its
//! sections 1 to 7 and 9, and what load and testee make of each other.

use crate::conversation::{Conversation, Garble, calm, converse, weather};
use crate::imagined::End;
use engine::meter::ErrorKind;
use engine::session::{How, Session};
use engine::shape::{Pace, Ramp};
use engine::websocket::frame::{self, Decoder, Kind, Opcode, Piece};
use engine::websocket::handshake::Opening;
use engine::websocket::mask;
use engine::workload::{LoadSpec, ServeSpec, ServeWorkload, WebSocket, WebSocketServer};
use proptest::prelude::*;
use std::sync::Arc;

/// Bytes of a message that the testee of these tests takes.
const LIMIT_BYTES: u64 = 17 << 20;

const REQUEST: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

// ---- a client that says what it is told to ---------------------------------------------------

/// A frame as a client sends it, its key made of its length.
fn frame(is_last: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = (payload.len() as u32)
        .wrapping_mul(0x9e37_79b9)
        .to_le_bytes();
    let mut bytes = vec![0; frame::header_bytes(payload.len(), true)];
    let written = frame::put_header(&mut bytes, is_last, opcode, payload.len(), Some(key));
    bytes.extend_from_slice(payload);
    mask::apply(&mut bytes[written..], key);
    bytes
}

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    frame(true, Opcode::Text, text.as_ref())
}

fn binary(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame(true, Opcode::Binary, bytes.as_ref())
}

fn ping(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(true, Opcode::Ping, payload.as_ref())
}

/// A close frame with this payload.
fn close(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(true, Opcode::Close, payload.as_ref())
}

fn close_with(code: u16, reason: &[u8]) -> Vec<u8> {
    close([&code.to_be_bytes()[..], reason].concat())
}

/// What the testee said, messages put together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// Of a message whose end has not come, the last that was heard.
    Part(Vec<u8>),
    /// With the code, 0 for none.
    Close(u16),
}

/// What a testee says to these bytes of a client that has shaken hands, given to it in parts of these sizes. The
/// second is whether it ends the connection.
fn answers(input: &[u8], sizes: &[usize]) -> (Vec<Heard>, bool) {
    let workload = WebSocketServer {
        limit_message_bytes: LIMIT_BYTES,
    };
    let mut end = End::new(Arc::new(workload.region()));
    let mut session = workload.session();
    end.tell(&mut [], |_, out| session.opened(out));
    let all = [REQUEST, input].concat();
    let (mut rest, mut sizes) = (&all[..], sizes.iter().cycle());
    while !rest.is_empty() && end.close.is_none() {
        let (part, others) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = others;
        let mut part = part.to_vec();
        end.tell(&mut part, |bytes, out| session.received(bytes, out));
    }
    let ends = end.shutdown || end.close.is_some();
    let head_bytes = end.said.windows(4).position(|four| four == b"\r\n\r\n");
    let head_bytes = head_bytes.expect("an answer to the handshake") + 4;
    assert!(end.said.starts_with(b"HTTP/1.1 101 "));
    (heard(&end.said[head_bytes..]), ends)
}

/// Reads frames of a server. The rules that they must keep to are the decoder's.
fn heard(bytes: &[u8]) -> Vec<Heard> {
    let mut decoder = Decoder::new(false, u64::MAX);
    let (mut at, mut found, mut message) = (0, Vec::new(), Vec::new());
    while let Some(piece) = decoder.next(bytes, &mut at).expect("frames of a server") {
        match piece {
            Piece::Control(Opcode::Pong) => found.push(Heard::Pong(decoder.control().to_vec())),
            Piece::Control(Opcode::Close) => {
                let code = decoder.control().first_chunk::<2>();
                found.push(Heard::Close(
                    code.map_or(0, |code| u16::from_be_bytes(*code)),
                ));
            }
            Piece::Control(other) => panic!("{other:?}"),
            Piece::Data {
                payload,
                kind,
                ends_message,
                ..
            } => {
                message.extend_from_slice(&bytes[payload]);
                if ends_message {
                    let message = std::mem::take(&mut message);
                    found.push(match kind {
                        Kind::Text => Heard::Text(message),
                        Kind::Binary => Heard::Binary(message),
                    });
                }
            }
        }
    }
    if !message.is_empty() && !matches!(found.last(), Some(Heard::Close(_))) {
        found.push(Heard::Part(message));
    }
    found
}

/// What is said at once, in bytes, in small parts and in large ones.
const SEGMENTATIONS: [&[usize]; 4] = [&[usize::MAX], &[1], &[7, 2, 30], &[1000]];

/// Whatever the segmentation, this is heard, and the connection ends if the last of it is a close.
fn assert_heard(name: &str, input: &[u8], expected: &[Heard]) {
    let closes = matches!(expected.last(), Some(Heard::Close(_)));
    for sizes in SEGMENTATIONS {
        if input.len() > 100_000 && sizes[0] < 1000 {
            continue;
        }
        let (found, ends) = answers(input, sizes);
        assert!(
            found == expected,
            "{name} in parts of {sizes:?}: {:?}",
            short(&found)
        );
        assert_eq!(ends, closes, "{name} in parts of {sizes:?}");
    }
}

fn short(heard: &[Heard]) -> Vec<String> {
    let all = heard.iter().map(|one| format!("{one:?}"));
    all.map(|text| text.chars().take(80).collect()).collect()
}

// ---- the rules -------------------------------------------------------------------------------

/// Section 1: frames of every size at the borders of their length's forms.
#[test]
fn messages_of_any_size_come_back() {
    for bytes in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        let message: Vec<u8> = (0..bytes).map(|index| b'a' + (index % 23) as u8).collect();
        assert_heard("text", &text(&message), &[Heard::Text(message.clone())]);
        let message: Vec<u8> = message.iter().map(|byte| byte ^ 0xff).collect();
        assert_heard(
            "binary",
            &binary(&message),
            &[Heard::Binary(message.clone())],
        );
    }
}

/// Section 2: pings are answered with what they say, in their order; pongs are not answered.
#[test]
fn pings_are_answered() {
    let pong = |bytes: &[u8]| Heard::Pong(bytes.to_vec());
    assert_heard("2.1", &ping(b""), &[pong(b"")]);
    assert_heard("2.2", &ping(b"Hello, world!"), &[pong(b"Hello, world!")]);
    let odd = [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    assert_heard("2.3", &ping(odd), &[pong(&odd)]);
    assert_heard("2.4", &ping([0xfe; 125]), &[pong(&[0xfe; 125])]);
    assert_heard("2.5", &ping([0xfe; 126]), &[Heard::Close(1002)]);
    let unasked = |payload: &[u8]| frame(true, Opcode::Pong, payload);
    assert_heard("2.7", &unasked(b""), &[]);
    let input = [unasked(b"unsolicited"), ping(b"ping payload")].concat();
    assert_heard("2.9", &input, &[pong(b"ping payload")]);
    let ten: Vec<Vec<u8>> = (0..10_u8).map(|number| vec![b'0' + number]).collect();
    let input: Vec<u8> = ten.iter().flat_map(ping).collect();
    let expected: Vec<Heard> = ten.into_iter().map(Heard::Pong).collect();
    assert_heard("2.10", &input, &expected);
}

/// Sections 3 and 4: reserved bits and opcodes fail the connection, after what came before them.
#[test]
fn what_is_reserved_fails_the_connection() {
    let hello = || Heard::Text(b"Hello".to_vec());
    let mut first_bytes: Vec<u8> = (1..8).map(|rsv| 0x81 | rsv << 4).collect();
    first_bytes.extend([3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|opcode| 0x80 | opcode));
    for first in first_bytes {
        let mut bad = text(b"Hello");
        bad[0] = first;
        assert_heard("alone", &bad, &[Heard::Close(1002)]);
        let input = [text(b"Hello"), bad, ping(b"")].concat();
        assert_heard("behind a message", &input, &[hello(), Heard::Close(1002)]);
    }
    let mut unmasked = text(b"Hello");
    unmasked[1] &= 0x7f;
    assert_heard("not masked", &unmasked, &[Heard::Close(1002)]);
}

/// Section 5: messages in fragments, and what may stand between these.
#[test]
fn fragments_become_a_message() {
    let first = |payload: &str| frame(false, Opcode::Text, payload.as_bytes());
    let more = |payload: &str| frame(false, Opcode::Continuation, payload.as_bytes());
    let last = |payload: &str| frame(true, Opcode::Continuation, payload.as_bytes());
    let said = |text: &str| Heard::Text(text.as_bytes().to_vec());
    let pong = |text: &str| Heard::Pong(text.as_bytes().to_vec());
    let broken = || Heard::Close(1002);
    type Case = (&'static str, Vec<Vec<u8>>, Vec<Heard>);
    let cases: Vec<Case> = vec![
        (
            "5.1",
            vec![frame(false, Opcode::Ping, b"a"), last("b")],
            vec![broken()],
        ),
        (
            "5.2",
            vec![frame(false, Opcode::Pong, b"a"), last("b")],
            vec![broken()],
        ),
        (
            "5.3",
            vec![first("fragment1"), last("fragment2")],
            vec![said("fragment1fragment2")],
        ),
        (
            "5.6",
            vec![first("fragment1"), ping(b"ping"), last("fragment2")],
            vec![pong("ping"), said("fragment1fragment2")],
        ),
        (
            "5.9",
            vec![last("non-continuation"), text(b"Hello")],
            vec![broken()],
        ),
        (
            "5.12",
            vec![more("non-continuation"), text(b"Hello")],
            vec![broken()],
        ),
        (
            "5.15",
            vec![
                first("fragment1"),
                last("fragment2"),
                more("fragment3"),
                text(b"f4"),
            ],
            vec![said("fragment1fragment2"), broken()],
        ),
        (
            "5.18",
            vec![first("fragment1"), text(b"fragment2")],
            vec![broken()],
        ),
        (
            "5.19",
            vec![
                first("fragment1"),
                more("fragment2"),
                ping(b"ping1"),
                more("fragment3"),
                more("fragment4"),
                ping(b"ping2"),
                last("fragment5"),
            ],
            vec![
                pong("ping1"),
                pong("ping2"),
                said("fragment1fragment2fragment3fragment4fragment5"),
            ],
        ),
        ("6.1.1", vec![text(b"")], vec![said("")]),
        ("6.1.2", vec![first(""), more(""), last("")], vec![said("")]),
        (
            "6.1.3",
            vec![first(""), more("middle"), last("")],
            vec![said("middle")],
        ),
    ];
    for (name, frames, expected) in cases {
        assert_heard(name, &frames.concat(), &expected);
    }
}

/// Section 6: text is UTF-8, also over the borders of fragments, and what is not fails before its end has come.
#[test]
fn text_is_utf8_and_fails_early() {
    let good = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!";
    assert_heard("6.2.1", &text(good), &[Heard::Text(good.into())]);
    let in_bytes: Vec<u8> = good
        .bytes()
        .enumerate()
        .flat_map(|(at, byte)| {
            let opcode = if at == 0 {
                Opcode::Text
            } else {
                Opcode::Continuation
            };
            frame(at + 1 == good.len(), opcode, &[byte])
        })
        .collect();
    assert_heard("6.2.4", &in_bytes, &[Heard::Text(good.into())]);
    let valid: [&[u8]; 8] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
        b"\x00",
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xef\xbf\xbf",
    ];
    for bytes in valid {
        assert_heard("valid", &text(bytes), &[Heard::Text(bytes.to_vec())]);
    }
    let invalid: [&[u8]; 16] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xfe",
        b"\xff",
        b"\xce\xba\xe1\xbd",
    ];
    for bytes in invalid {
        let (found, ends) = answers(&text(bytes), &[usize::MAX]);
        assert_eq!(
            (&found[..], ends),
            (&[Heard::Close(1007)][..], true),
            "{bytes:x?}"
        );
        // In parts what was right may have gone back already, as the beginning of a message.
        for sizes in SEGMENTATIONS {
            let (found, ends) = answers(&text(bytes), sizes);
            assert_eq!(
                (found.last(), ends),
                (Some(&Heard::Close(1007)), true),
                "{bytes:x?}"
            );
        }
    }
    // 6.4: the frame's end does not come, and need not.
    let hopeless = text(
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64",
    );
    for cut in [hopeless.len() - 8, hopeless.len() - 1] {
        let (found, ends) = answers(&hopeless[..cut], &[1]);
        assert_eq!(
            (found.last(), ends),
            (Some(&Heard::Close(1007)), true),
            "{cut} bytes"
        );
    }
    // What is bytes need not be text.
    assert_heard(
        "binary",
        &binary(b"\xff\xfe"),
        &[Heard::Binary(b"\xff\xfe".to_vec())],
    );
}

/// Section 7: who says goodbye is answered with what they said, and heard no more.
#[test]
fn goodbyes_are_answered() {
    let after = [close_with(1000, b""), ping(b"x"), text(b"y")].concat();
    assert_heard("7.1.5", &after, &[Heard::Close(1000)]);
    assert_heard("7.3.1", &close(b""), &[Heard::Close(0)]);
    assert_heard("7.3.2", &close(b"a"), &[Heard::Close(1002)]);
    assert_heard(
        "7.3.4",
        &close_with(1000, b"Hello World!"),
        &[Heard::Close(1000)],
    );
    assert_heard(
        "7.3.5",
        &close_with(1000, &[b'*'; 123]),
        &[Heard::Close(1000)],
    );
    assert_heard(
        "7.3.6",
        &close_with(1000, &[b'*'; 124]),
        &[Heard::Close(1002)],
    );
    assert_heard(
        "7.5.1",
        &close_with(1000, b"\xce\xba\xed\xa0\x80"),
        &[Heard::Close(1007)],
    );
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        assert_heard("7.7", &close_with(code, b""), &[Heard::Close(code)]);
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        assert_heard(
            "7.9 and 7.13",
            &close_with(code, b""),
            &[Heard::Close(1002)],
        );
    }
    let unfinished = [
        frame(false, Opcode::Text, b"fragment1"),
        close_with(1000, b""),
    ]
    .concat();
    let (found, ends) = answers(&unfinished, &[usize::MAX]);
    assert_eq!((found, ends), (vec![Heard::Close(1000)], true), "7.1.4");
}

/// Section 9: large messages, whole, in fragments and in small parts; and those beyond the limit.
#[test]
fn large_messages_come_back_up_to_the_limit() {
    let message: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
    assert_heard("9.2", &binary(&message), &[Heard::Binary(message.clone())]);
    for fragment_bytes in [64, 4096, 65_536] {
        let last = message.len().div_ceil(fragment_bytes) - 1;
        let input: Vec<u8> = message
            .chunks(fragment_bytes)
            .enumerate()
            .flat_map(|(number, chunk)| {
                let opcode = if number == 0 {
                    Opcode::Binary
                } else {
                    Opcode::Continuation
                };
                frame(number == last, opcode, chunk)
            })
            .collect();
        assert_heard("9.4", &input, &[Heard::Binary(message.clone())]);
    }
    let sixteen = vec![7; 16 << 20];
    let (found, _) = answers(&binary(&sixteen), &[65_536]);
    assert!(found == [Heard::Binary(sixteen)], "9.2.6");
    let mut header = [0; frame::HEADER_MAX];
    let beyond = LIMIT_BYTES as usize + 1;
    frame::put_header(&mut header, true, Opcode::Binary, beyond, Some([1; 4]));
    assert_heard("too big", &header, &[Heard::Close(1009)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_conversation_comes_back_in_its_order(
        messages in prop::collection::vec(
            (any::<bool>(), any::<String>(), 0_usize..40_000, prop::collection::vec(0.0_f64..1.0, 0..4), any::<bool>()),
            0..8,
        ),
        sizes in prop::collection::vec(prop_oneof![1_usize..20, 1_usize..40_000], 1..12),
    ) {
        let (mut input, mut expected) = (Vec::new(), Vec::new());
        for (is_text, words, padding, cuts, pings) in messages {
            let mut bytes = words.into_bytes();
            bytes.extend(std::iter::repeat_n(b'.', padding));
            let mut at: Vec<usize> = cuts.iter().map(|cut| (cut * bytes.len() as f64) as usize).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            for (number, pair) in at.windows(2).enumerate() {
                let opcode = match (number, is_text) {
                    (0, true) => Opcode::Text,
                    (0, false) => Opcode::Binary,
                    _ => Opcode::Continuation,
                };
                let is_last = number + 2 == at.len();
                input.extend(frame(is_last, opcode, &bytes[pair[0]..pair[1]]));
                if pings && !is_last {
                    input.extend(ping(b"still there?"));
                    expected.push(Heard::Pong(b"still there?".to_vec()));
                }
            }
            expected.push(if is_text { Heard::Text(bytes) } else { Heard::Binary(bytes) });
        }
        input.extend(close_with(1000, b""));
        expected.push(Heard::Close(1000));
        let (found, ends) = answers(&input, &sizes);
        prop_assert!(found == expected, "{:?}", short(&found));
        prop_assert!(ends);
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic_and_within_the_rules(
        input in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(1_usize..50, 1..8),
    ) {
        // `heard` judges what is said.
        answers(&input, &sizes);
    }

    #[test]
    fn what_has_come_of_a_message_goes_back_before_its_end(
        bytes in prop::collection::vec(any::<u8>(), 2..300),
        sizes in prop::collection::vec(1_usize..50, 1..8),
    ) {
        let whole = binary(&bytes);
        let (found, ends) = answers(&whole[..whole.len() - 1], &sizes);
        prop_assert!(found == [Heard::Part(bytes[..bytes.len() - 1].to_vec())], "{:?}", short(&found));
        prop_assert!(!ends);
    }
}

// ---- a load and a testee ---------------------------------------------------------------------

pub fn load(
    message_bytes: u32,
    frame_bytes: u32,
    kind: Kind,
    depth: u32,
    verify: bool,
) -> LoadSpec {
    LoadSpec::WebSocket {
        client: WebSocket {
            opening: Arc::new(Opening {
                host: "h".into(),
                path: "/".into(),
                subprotocols: vec!["chat".into()],
                ..Opening::default()
            }),
            message_bytes,
            frame_bytes,
            kind,
            depth,
            pace: Pace::Closed,
            verify,
        },
        ramp: Ramp::AtOnce,
    }
}

const SERVE: ServeSpec = ServeSpec::WebSocket {
    limit_message_bytes: 1 << 20,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_count_the_same_in_any_weather(
        message_bytes in prop_oneof![8_u32..200, 8_u32..80_000],
        frame_bytes in prop_oneof![1_u32..200, 1_u32..100_000],
        is_text in any::<bool>(),
        depth in 1_u32..9,
        verify in any::<bool>(),
        operations in 1_u64..12,
        weather in weather(),
    ) {
        let kind = if is_text { Kind::Text } else { Kind::Binary };
        let frame_bytes = frame_bytes.max(message_bytes / 50);
        let spec = load(message_bytes, frame_bytes, kind, depth, verify);
        let outcome = converse(&spec, SERVE, weather, operations);
        let recorded = outcome.recorded;
        prop_assert_eq!(recorded.errors_total(), 0, "{:?}", recorded.error_texts);
        prop_assert_eq!((recorded.operations, recorded.service.len()), (operations, operations));
        prop_assert_eq!(recorded.handshake.len(), 1);
        let clients = recorded.clients.expect("clients");
        prop_assert_eq!((clients.count, clients.answers), (1, operations));
    }

    #[test]
    fn a_spoiled_message_is_never_a_success(
        message_bytes in 8_u32..3_000,
        depth in 1_u32..5,
        position in any::<prop::sample::Index>(),
        kind in 0_u8..4,
        weather in weather(),
    ) {
        let operations = 8;
        // Behind the answer to the handshake; the last message is left alone.
        let answer_bytes = 159;
        let of_frame = message_bytes as usize + frame::header_bytes(message_bytes as usize, false);
        let at = position.index((operations as usize - 1) * of_frame);
        let position = answer_bytes + at;
        let garble = match kind {
            0 => Garble::Flip(position),
            1 => Garble::Swap(position),
            2 => Garble::Drop(position),
            _ => Garble::Double(position),
        };
        let outcome = load(message_bytes, message_bytes, Kind::Binary, depth, true).dispatch(Conversation {
            serve: SERVE, weather, operations, garble,
        });
        let recorded = outcome.recorded;
        prop_assert_eq!(recorded.handshake.len(), 1, "{:?}", recorded.error_texts);
        let lost = recorded.lost.iter().sum::<u64>();
        prop_assert!(
            recorded.errors_total() + lost + recorded.unfinished.count > 0,
            "{garble:?} went unnoticed: {} operations", recorded.operations
        );
        prop_assert!(recorded.operations < operations);
    }
}

#[test]
fn a_server_that_is_none_is_told_in_words() {
    let spec = load(64, 64, Kind::Binary, 1, true);
    let outcome = converse(&spec, ServeSpec::Echo, calm(), 1);
    let recorded = outcome.recorded;
    assert_eq!(recorded.operations, 0);
    assert_eq!(recorded.unopened[ErrorKind::Protocol as usize], 1);
    let (_, text) = &recorded.error_texts[0];
    assert!(text.contains("is it a WebSocket server?"), "{text}");
}

#[test]
fn a_request_that_is_no_upgrade_is_refused_and_the_connection_ends() {
    let workload = WebSocketServer {
        limit_message_bytes: 1,
    };
    let mut end = End::new(Arc::new(workload.region()));
    let mut session = workload.session();
    let mut request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    end.tell(&mut request, |bytes, out| session.received(bytes, out));
    assert!(
        end.said.starts_with(b"HTTP/1.1 426 "),
        "{:?}",
        String::from_utf8_lossy(&end.said)
    );
    assert!(
        end.shutdown && end.close.is_none(),
        "the client may read it"
    );
    end.tell(&mut [], |_, out| session.timer(out));
    assert_eq!(end.close, Some(How::Fin), "and must end its side");
    let mut late = End::new(Arc::new(workload.region()));
    let mut session = workload.session();
    late.tell(&mut [], |_, out| session.opened(out));
    late.tell(&mut [], |_, out| session.timer(out));
    assert!(
        late.said.starts_with(b"HTTP/1.1 408 "),
        "nobody waits for ever"
    );
}
