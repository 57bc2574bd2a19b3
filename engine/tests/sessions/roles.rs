//! A role alone, its input cut anywhere.

use crate::imagined::End;
use engine::session::{How, Session};
use engine::workload::{ServeSpec, ServeVisitor, ServeWorkload};
use proptest::prelude::*;
use std::sync::Arc;

/// Everything a role says to `input` cut at `cuts`, and whether it closed after the peer's FIN.
struct Monologue {
    input: Vec<u8>,
    cuts: Vec<usize>,
    /// Also tell the session between deliveries that its output is out, or only at the end.
    prompt_sent: bool,
    budget: usize,
}

impl ServeVisitor for Monologue {
    type Output = (Vec<u8>, Option<How>);

    fn visit<W: ServeWorkload>(self, workload: W) -> Self::Output {
        let mut end = End::new(Arc::new(workload.region()));
        end.budget = self.budget;
        let mut session = workload.session();
        end.tell(&mut [], |_, out| session.opened(out));
        for segment in segments(&self.input, &self.cuts) {
            let mut bytes = segment.to_vec();
            end.tell(&mut bytes, |bytes, out| {
                session.received(bytes, out);
            });
            while self.prompt_sent && end.take_sent() {
                tell_sent(&mut session, &mut end);
            }
        }
        while end.take_sent() {
            tell_sent(&mut session, &mut end);
        }
        end.tell(&mut [], |_, out| session.peer_finished(out));
        (end.said, end.close)
    }
}

/// A session that says that it does not wait for this has nothing to say to it.
fn tell_sent<S: Session>(session: &mut S, end: &mut End) {
    let waits = session.awaits_sent();
    let before = (end.said.len(), end.close);
    end.tell(&mut [], |_, out| session.sent(out));
    assert!(
        waits || (end.said.len(), end.close) == before,
        "it went on though it had said that it does not wait"
    );
}

fn segments<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

fn roles() -> impl Strategy<Value = ServeSpec> {
    let how = prop_oneof![Just(How::Fin), Just(How::Rst)];
    prop_oneof![
        Just(ServeSpec::Echo),
        Just(ServeSpec::Discard),
        (1u32..70_000).prop_map(|message_bytes| ServeSpec::Source { message_bytes }),
        (1u32..70_000).prop_map(|message_bytes| ServeSpec::Duplex { message_bytes }),
        (1u32..3_000, 1u32..3_000, prop::option::of(1u32..9), how).prop_map(
            |(request_bytes, response_bytes, close_after, how)| ServeSpec::Rr {
                request_bytes,
                response_bytes,
                close_after,
                how,
            }
        ),
    ]
}

/// What a role owes to so many bytes; `None` for the roles that talk as long as somebody reads.
fn owed_bytes(spec: &ServeSpec, input: usize) -> Option<usize> {
    match *spec {
        ServeSpec::Echo => Some(input),
        ServeSpec::Discard => Some(0),
        ServeSpec::WebSocket { .. } => unreachable!("its input is its own: see web_socket.rs"),
        ServeSpec::Source { .. } | ServeSpec::Duplex { .. } => None,
        ServeSpec::Rr {
            request_bytes,
            response_bytes,
            close_after,
            ..
        } => {
            let whole = input / request_bytes as usize;
            let answered = close_after.map_or(whole, |limit| whole.min(limit as usize));
            Some(answered * response_bytes as usize)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_role_says_the_same_however_its_input_is_cut(
        spec in roles(),
        length in 0usize..20_000,
        cuts in prop::collection::vec(any::<usize>(), 0..40),
        prompt_sent in any::<bool>(),
    ) {
        let input: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
        let talk = |cuts: Vec<usize>, prompt_sent| {
            spec.dispatch(Monologue { input: input.clone(), cuts, prompt_sent, budget: 300_000 })
        };
        let (whole, closed) = talk(vec![], true);
        let (cut, cut_closed) = talk(cuts, prompt_sent);
        let common = whole.len().min(cut.len());
        prop_assert!(whole[..common] == cut[..common], "the bytes differ with the segmentation");
        match owed_bytes(&spec, length) {
            Some(owed) => prop_assert_eq!((whole.len(), cut.len()), (owed, owed)),
            None => prop_assert!(common > 0),
        }
        prop_assert!(closed.is_some() && cut_closed.is_some(), "a FIN is answered by a close");
        if spec == ServeSpec::Echo {
            prop_assert_eq!(cut, input);
        }
    }

    #[test]
    fn one_byte_segments_are_segments(spec in roles(), length in 0usize..4_000) {
        let input = vec![7u8; length];
        let talk = |cuts| {
            spec.dispatch(Monologue { input: input.clone(), cuts, prompt_sent: true, budget: 100_000 })
        };
        let (whole, _) = talk(vec![]);
        let (cut, _) = talk((0..=length).collect());
        let common = whole.len().min(cut.len());
        prop_assert!(whole[..common] == cut[..common]);
        if let Some(owed) = owed_bytes(&spec, length) {
            prop_assert_eq!(cut.len(), owed);
        }
    }
}

/// Feeds a role whose output never leaves: [`Session::sent`] is never called.
struct NobodyReads {
    input_bytes: usize,
}

impl ServeVisitor for NobodyReads {
    type Output = usize;

    fn visit<W: ServeWorkload>(self, workload: W) -> usize {
        let mut end = End::new(Arc::new(workload.region()));
        let mut session = workload.session();
        end.tell(&mut [], |_, out| session.opened(out));
        let mut block = vec![1u8; 64 * 1024];
        for _ in 0..self.input_bytes / block.len() {
            end.tell(&mut block, |bytes, out| {
                session.received(bytes, out);
            });
        }
        end.said.len()
    }
}

#[test]
fn a_peer_that_asks_and_never_reads_is_owed_a_number_and_not_memory() {
    let spec = ServeSpec::Rr {
        request_bytes: 1,
        response_bytes: 1_000_000,
        close_after: None,
        how: How::Fin,
    };
    let queued = spec.dispatch(NobodyReads {
        input_bytes: 16 << 20,
    });
    assert!(
        queued <= 512 * 1024,
        "{queued} bytes were queued for a peer that never reads"
    );
    let source = ServeSpec::Duplex {
        message_bytes: 64 * 1024,
    };
    let queued = source.dispatch(NobodyReads {
        input_bytes: 16 << 20,
    });
    assert!(
        queued <= 64 * 1024,
        "{queued} bytes were queued by a source nobody reads"
    );
}
