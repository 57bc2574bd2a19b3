//! What a load and a testee make of each other, however their bytes are cut and interleaved.

use crate::conversation::{Conversation, Garble, calm, converse, echo_spec, weather};
use engine::meter::ErrorKind;
use engine::session::How;
use engine::shape::Pace;
use engine::workload::{Closer, Direction, LoadSpec, ServeSpec};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_echo_counts_the_same_in_any_weather(
        bytes in prop_oneof![1u32..200, 1u32..80_000],
        depth in 1u32..9,
        operations in 1u64..12,
        weather in weather(),
    ) {
        let spec = echo_spec(bytes, depth);
        let outcome = converse(&spec, ServeSpec::Echo, weather, operations);
        prop_assert_eq!(outcome.recorded.operations, operations);
        prop_assert_eq!(outcome.recorded.service.len(), operations);
        prop_assert_eq!(outcome.recorded.errors_total(), 0);
        prop_assert_eq!(outcome.load_said.len() as u64, operations * u64::from(bytes));
        prop_assert!(outcome.load_said == outcome.testee_said, "an echo is what was said");
        let reference = converse(&spec, ServeSpec::Echo, calm(), operations);
        prop_assert!(outcome.load_said == reference.load_said, "the same in any weather");
    }

    #[test]
    fn requests_and_responses_of_any_size_match(
        request_bytes in prop_oneof![1u32..50, 1u32..90_000],
        response_bytes in prop_oneof![1u32..50, 1u32..90_000],
        depth in 1u32..5,
        operations in 1u64..12,
        weather in weather(),
    ) {
        let spec = LoadSpec::RequestResponse {
            request_bytes, response_bytes, depth, pace: Pace::Closed, verify: false, echo: false,
        };
        let role = ServeSpec::Rr { request_bytes, response_bytes, close_after: None, how: How::Fin };
        let outcome = converse(&spec, role.clone(), weather, operations);
        prop_assert_eq!(outcome.recorded.operations, operations);
        prop_assert_eq!(outcome.recorded.errors_total(), 0);
        prop_assert_eq!(outcome.testee_said.len() as u64, operations * u64::from(response_bytes));
        let reference = converse(&spec, role, calm(), operations);
        prop_assert!(outcome.load_said == reference.load_said);
        prop_assert!(outcome.testee_said == reference.testee_said, "the answers differ with the weather");
    }

    #[test]
    fn transactions_end_once_whoever_closes(
        exchange in prop::option::of((1u32..3_000, 1u32..3_000)),
        server_closes in any::<bool>(),
        how in prop_oneof![Just(How::Fin), Just(How::Rst)],
        operations in 1u64..6,
        weather in weather(),
    ) {
        // The sans-IO testee's RST overtakes its answer, as a real one may: only cc can be judged.
        let how = if server_closes && exchange.is_some() { How::Fin } else { how };
        let closer = if server_closes { Closer::Server } else { Closer::Client };
        let spec = LoadSpec::Transaction { exchange, pace: Pace::Closed, closer, how };
        let (request_bytes, response_bytes) = exchange.unwrap_or((1, 1));
        let close_after = server_closes.then_some(u32::from(exchange.is_some()));
        let role = ServeSpec::Rr { request_bytes, response_bytes, close_after, how };
        let outcome = converse(&spec, role, weather, operations);
        prop_assert_eq!(outcome.recorded.errors_total(), 0, "{:?}", outcome.recorded.error_texts);
        prop_assert_eq!(outcome.recorded.operations, u64::from(outcome.connections));
        prop_assert_eq!(outcome.recorded.total.len(), u64::from(outcome.connections));
        let exchanges = if exchange.is_some() { u64::from(outcome.connections) } else { 0 };
        prop_assert_eq!(outcome.recorded.service.len(), exchanges);
    }

    #[test]
    fn streams_move_whole_messages(
        direction in prop_oneof![Just(Direction::Send), Just(Direction::Receive), Just(Direction::Both)],
        message_bytes in 1u32..70_000,
        operations in 1u64..20,
        weather in weather(),
    ) {
        let spec = LoadSpec::Stream { direction, message_bytes, bitrate_bits_per_second: None };
        let role = match direction {
            Direction::Send => ServeSpec::Discard,
            Direction::Receive => ServeSpec::Source { message_bytes },
            Direction::Both => ServeSpec::Duplex { message_bytes },
        };
        let outcome = converse(&spec, role, weather, operations);
        prop_assert_eq!(outcome.recorded.errors_total(), 0);
        let sends = direction != Direction::Receive;
        let said = if sends { operations * u64::from(message_bytes) } else { 0 };
        prop_assert_eq!(outcome.load_said.len() as u64, said);
        if sends {
            prop_assert_eq!(outcome.recorded.operations, operations);
        }
        prop_assert_eq!(direction == Direction::Send, outcome.testee_said.is_empty());
    }

    #[test]
    fn a_spoiled_echo_is_never_a_success(
        bytes in 1u32..5_000,
        depth in 1u32..5,
        position in any::<prop::sample::Index>(),
        kind in 0u8..4,
        weather in weather(),
    ) {
        let operations = 8;
        // The last message is left alone, so that a dropped byte always leaves something to compare.
        let position = position.index((operations as usize - 1) * bytes as usize);
        let garble = match kind {
            0 => Garble::Flip(position),
            1 => Garble::Swap(position),
            2 => Garble::Drop(position),
            _ => Garble::Double(position),
        };
        let outcome = echo_spec(bytes, depth).dispatch(Conversation {
            serve: ServeSpec::Echo, weather, operations, garble,
        });
        let recorded = outcome.recorded;
        prop_assert!(
            recorded.operations * u64::from(bytes) <= position as u64 + u64::from(bytes),
            "{} operations of {bytes} bytes succeeded, the byte at {position} was spoiled ({garble:?})",
            recorded.operations
        );
        if !matches!(garble, Garble::Drop(_)) {
            let found = recorded.errors[ErrorKind::Mismatch as usize]
                + recorded.errors[ErrorKind::Long as usize];
            prop_assert!(found >= 1, "{garble:?} went unnoticed");
        }
    }
}
