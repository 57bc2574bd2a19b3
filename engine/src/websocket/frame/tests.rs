use super::*;
use proptest::prelude::*;

/// A frame as a client (with a key) or a server sends it.
fn frame(is_last: bool, opcode: Opcode, payload: &[u8], key: Option<Key>) -> Vec<u8> {
    let mut bytes = vec![0; header_bytes(payload.len(), key.is_some())];
    let written = put_header(&mut bytes, is_last, opcode, payload.len(), key);
    assert_eq!(written, bytes.len());
    bytes.extend_from_slice(payload);
    if let Some(key) = key {
        mask::apply(&mut bytes[written..], key);
    }
    bytes
}

/// What was read, with payloads unmasked and the parts of a message put together.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Read {
    Message(Kind, Vec<u8>),
    Control(Opcode, Vec<u8>),
    Violation(u16),
}

/// Reads `bytes` in parts of these sizes, again and again.
fn read(from_client: bool, limit_bytes: u64, bytes: &[u8], sizes: &[usize]) -> Vec<Read> {
    let mut decoder = Decoder::new(from_client, limit_bytes);
    let (mut found, mut message) = (Vec::new(), Vec::new());
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (part, others) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = others;
        let mut at = 0;
        loop {
            match decoder.next(part, &mut at) {
                Ok(None) => break,
                Ok(Some(Piece::Control(opcode))) => {
                    found.push(Read::Control(opcode, decoder.control().to_vec()));
                }
                Ok(Some(Piece::Data {
                    payload,
                    key,
                    kind,
                    ends_message,
                })) => {
                    let mut bytes = part[payload].to_vec();
                    mask::apply(&mut bytes, key);
                    message.extend_from_slice(&bytes);
                    if ends_message {
                        found.push(Read::Message(kind, std::mem::take(&mut message)));
                    }
                }
                Err(violation) => {
                    found.push(Read::Violation(violation.code));
                    return found;
                }
            }
        }
        assert_eq!(at, part.len(), "everything is read");
    }
    found
}

fn opcodes() -> impl Strategy<Value = Opcode> {
    prop_oneof![Just(Opcode::Text), Just(Opcode::Binary)]
}

proptest! {
    #[test]
    fn whatever_was_sent_is_read_in_any_segmentation(
        messages in proptest::collection::vec(
            (opcodes(), proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..4), any::<bool>()),
            0..6,
        ),
        long in proptest::option::of(65_530_usize..65_545),
        key in proptest::option::of(any::<[u8; 4]>()),
        sizes in proptest::collection::vec(1_usize..200, 1..8),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (opcode, fragments, pings) in &messages {
            for (number, payload) in fragments.iter().enumerate() {
                let opcode = if number == 0 { *opcode } else { Opcode::Continuation };
                let is_last = number + 1 == fragments.len();
                bytes.extend(frame(is_last, opcode, payload, key));
                if *pings && !is_last {
                    bytes.extend(frame(true, Opcode::Ping, &payload[..payload.len().min(125)], key));
                    let ping = payload[..payload.len().min(125)].to_vec();
                    expected.push(Read::Control(Opcode::Ping, ping));
                }
            }
            let kind = if *opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
            expected.push(Read::Message(kind, fragments.concat()));
        }
        if let Some(length) = long {
            let payload = vec![7; length];
            bytes.extend(frame(true, Opcode::Binary, &payload, key));
            expected.push(Read::Message(Kind::Binary, payload));
        }
        prop_assert_eq!(read(key.is_some(), u64::MAX, &bytes, &sizes), expected.clone());
        prop_assert_eq!(read(key.is_some(), u64::MAX, &bytes, &[usize::MAX]), expected);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_and_alike_in_any_segmentation(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        sizes in proptest::collection::vec(1_usize..20, 1..8),
        from_client: bool,
    ) {
        let whole = read(from_client, 1 << 20, &bytes, &[usize::MAX]);
        prop_assert_eq!(read(from_client, 1 << 20, &bytes, &sizes), whole);
    }
}

const KEY: Option<Key> = Some([1, 2, 3, 4]);

/// Sections 5.2 to 5.5 of the RFC, and 3 to 5 of the Autobahn test suite: what a peer may not send.
#[test]
fn what_the_protocol_forbids_is_told() {
    let ping = |bytes: usize| frame(true, Opcode::Ping, &vec![0; bytes], KEY);
    let with_first = |first: u8| {
        let mut bytes = frame(true, Opcode::Text, b"x", KEY);
        bytes[0] = first;
        bytes
    };
    let mut forbidden: Vec<(&str, Vec<u8>, u16)> = vec![
        ("not masked", frame(true, Opcode::Text, b"x", None), 1002),
        ("a long ping", ping(126), 1002),
        (
            "a ping in fragments",
            frame(false, Opcode::Ping, b"", KEY),
            1002,
        ),
        (
            "a continuation of nothing",
            frame(true, Opcode::Continuation, b"x", KEY),
            1002,
        ),
        (
            "a message in a message",
            [
                frame(false, Opcode::Text, b"x", KEY),
                frame(true, Opcode::Text, b"y", KEY),
            ]
            .concat(),
            1002,
        ),
        (
            "16 bits for 125",
            vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0],
            1002,
        ),
        (
            "64 bits for 65535",
            vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
            1002,
        ),
        (
            "a length beyond 2^63",
            vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            1002,
        ),
        (
            "a message too big",
            frame(true, Opcode::Binary, &[0; 1001], KEY),
            1009,
        ),
        (
            "a message too big in fragments",
            [
                frame(false, Opcode::Binary, &[0; 600], KEY),
                frame(true, Opcode::Continuation, &[0; 401], KEY),
            ]
            .concat(),
            1009,
        ),
    ];
    for rsv in 1..8 {
        forbidden.push(("reserved bits", with_first(0x81 | rsv << 4), 1002));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        forbidden.push(("a reserved opcode", with_first(0x80 | opcode), 1002));
    }
    for (name, bytes, code) in forbidden {
        for size in [1, 3, usize::MAX] {
            let found = read(true, 1000, &bytes, &[size]);
            assert_eq!(found.last(), Some(&Read::Violation(code)), "{name}");
        }
    }
    let masked = frame(true, Opcode::Text, b"x", KEY);
    assert_eq!(read(false, 1000, &masked, &[9]), [Read::Violation(1002)]);
    let fits = frame(true, Opcode::Binary, &[0; 1000], KEY);
    assert_eq!(
        read(true, 1000, &fits, &[99]),
        [Read::Message(Kind::Binary, vec![0; 1000])]
    );
}
