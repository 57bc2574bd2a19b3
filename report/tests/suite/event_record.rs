//! The event record: what was written comes back, in time; what is damaged is told; and the aggregates are the seed's.

use proptest::prelude::*;
use report::document::ErrorKind;
use report::event_record::{
    ChunkHeader, Event, Exit, FileHeader, Form, OpenError, Placed, Recording, Statistics, What,
    aggregates_json, aggregates_text, chunk_into, file_header_bytes, write_event, write_heading,
};
use serde_json::Value;
use std::io::Cursor;

const HEADER: FileHeader = FileHeader {
    boot_id: [7; 16],
    unix_ns: 1_795_224_600_000_000_000,
    monotonic_ns: 1_000,
};

/// A chunk as a test writes it.
#[derive(Clone, Debug)]
struct Chunk {
    agent: u16,
    worker: u16,
    dropped: u64,
    events: Vec<Event>,
}

impl Chunk {
    fn of(worker: u16, events: &[(u64, u32, What)]) -> Self {
        let event = |&(at_ns, client, what)| Event {
            at_ns,
            client,
            what,
        };
        Self {
            agent: 0,
            worker,
            dropped: 0,
            events: events.iter().map(event).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = ChunkHeader {
            dropped: self.dropped,
            ..ChunkHeader::of(HEADER.unix_ns, 1, self.agent, self.worker)
        };
        chunk_into(&mut bytes, &header, &self.events);
        bytes
    }
}

fn file(chunks: &[Chunk]) -> Vec<u8> {
    let parts = chunks.iter().map(Chunk::bytes);
    std::iter::once(file_header_bytes(&HEADER))
        .chain(parts)
        .flatten()
        .collect()
}

fn open(bytes: &[u8]) -> Result<Recording<Cursor<&[u8]>>, OpenError> {
    Recording::open(Cursor::new(bytes))
}

fn in_time(recording: &mut Recording<Cursor<&[u8]>>) -> Vec<Placed> {
    let mut told = Vec::new();
    let each = recording.each_in_time(|placed| {
        told.push(*placed);
        Ok(())
    });
    each.expect("memory can be read");
    told
}

fn crash(reason: ErrorKind, errno: i32) -> What {
    What::Exit(Exit::Crash { reason, errno })
}

fn anything() -> impl Strategy<Value = What> {
    prop_oneof![
        Just(What::Start),
        Just(What::Open),
        any::<u64>().prop_map(What::Sent),
        any::<u64>().prop_map(What::Received),
        Just(What::Exit(Exit::Normal)),
        Just(What::Exit(Exit::ConnectTimeout)),
        Just(What::Exit(Exit::Unfinished)),
        any::<i32>().prop_map(|errno| crash(ErrorKind::Reset, errno)),
    ]
}

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    // Few instants, so that many are equal.
    let event = (1_000u64..1_050, 0u32..4, anything());
    let chunk = (
        0u16..2,
        0u16..3,
        0u64..5,
        prop::collection::vec(event, 0..6),
    )
        .prop_map(|(agent, worker, dropped, events)| Chunk {
            agent,
            dropped,
            ..Chunk::of(worker, &events)
        });
    prop::collection::vec(chunk, 0..6)
}

/// What reading in time gives: sorted by instant, those of the same in the order of the file.
fn expected(chunks: &[Chunk]) -> Vec<Placed> {
    let mut all: Vec<Placed> = Vec::new();
    for chunk in chunks {
        all.extend(chunk.events.iter().map(|event| Placed {
            event: *event,
            round: 1,
            agent: chunk.agent,
            worker: chunk.worker,
        }));
    }
    all.sort_by_key(|placed| placed.event.at_ns);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_comes_back_in_time(chunks in chunks()) {
        let bytes = file(&chunks);
        let mut recording = open(&bytes).unwrap();
        prop_assert!(recording.flaws().are_none());
        prop_assert_eq!(recording.header(), &HEADER);
        prop_assert_eq!(in_time(&mut recording), expected(&chunks));
    }

    #[test]
    fn any_prefix_gives_what_it_has_and_says_where_it_ends(chunks in chunks()) {
        let bytes = file(&chunks);
        let mut ends = vec![64];
        ends.extend(chunks.iter().scan(64, |at, chunk| {
            *at += chunk.bytes().len();
            Some(*at)
        }));
        for length in 0..=bytes.len() {
            let opened = open(&bytes[..length]);
            if length < 64 {
                prop_assert!(matches!(opened, Err(OpenError::Other | OpenError::Damaged)));
                continue;
            }
            let mut recording = opened.unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            // Of the chunk that is cut, the records that are there.
            let rest = length.saturating_sub(ends[whole] + 72) / 32;
            let mut readable = chunks[..whole].to_vec();
            if let Some(cut) = chunks.get(whole) {
                let mut cut = cut.clone();
                cut.events.truncate(rest);
                readable.push(cut);
            }
            prop_assert_eq!(in_time(&mut recording), expected(&readable));
            let flaws = recording.flaws();
            prop_assert_eq!(flaws.are_none(), ends.contains(&length));
            if let Some(flaw) = flaws.listed().first() {
                prop_assert_eq!(flaw.to, length as u64);
                prop_assert!(flaw.why.starts_with("the file ends in"), "{}", flaw);
            }
        }
    }

    #[test]
    fn a_byte_that_changed_is_told_and_nothing_is_made_up(
        chunks in chunks(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let mut bytes = file(&chunks);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        match open(&bytes) {
            Err(_) => prop_assert!(at < 64),
            Ok(mut recording) => {
                let flaws = recording.flaws().clone();
                let is_inside = |from, to| (from..to).contains(&(at as u64));
                prop_assert!(flaws.listed().iter().any(|flaw| is_inside(flaw.from, flaw.to)), "{flaws:?}");
                let told = in_time(&mut recording);
                let written = expected(&chunks);
                prop_assert!(told.iter().all(|placed| written.contains(placed)));
                // One chunk is lost, and no other.
                let lost = written.len() - told.len();
                prop_assert!(lost <= 5, "{lost}");
                recording.aggregates().unwrap();
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(
        chunks in chunks(),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = file(&chunks);
        let at = 64 + at.index(bytes.len() - 63);
        bytes.splice(at..at, noise.iter().copied());
        let mut recording = open(&bytes).unwrap();
        prop_assert_eq!(recording.flaws().are_none(), noise.is_empty());
        let told = in_time(&mut recording);
        prop_assert!(told.len() as u64 == recording.events_count());
        prop_assert!(open(&noise).is_err());
    }
}

#[test]
fn what_is_no_record_is_refused_with_the_reason() {
    let said = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
    assert!(said(b"").contains("no event record"));
    assert!(said(b"{\"schema\":1}").contains("linerate run --event-record FILE"));
    assert!(said(b"lrevents").contains("bytes 0 to 64"));
    let mut newer = file_header_bytes(&HEADER);
    newer[8] = 2;
    assert!(said(&newer).contains("format 2"));
    let mut damaged = file_header_bytes(&HEADER);
    damaged[40] ^= 1;
    assert!(said(&damaged).contains("damaged"));
}

#[test]
fn chunks_of_another_run_are_left_out() {
    let other = ChunkHeader::of(1, 1, 0, 0);
    let mut bytes = file_header_bytes(&HEADER);
    let mut chunk = Vec::new();
    chunk_into(&mut chunk, &other, &[]);
    bytes.extend(chunk);
    bytes.extend(Chunk::of(0, &[(1_000, 0, What::Start)]).bytes());
    let recording = open(&bytes).unwrap();
    assert_eq!(recording.events_count(), 1);
    assert_eq!(recording.flaws().listed()[0].why, "a chunk of another run");
}

/// A disk was full for a moment: one agent's write was cut short, another wrote on.
#[test]
fn a_write_that_was_cut_short_costs_its_own_chunk() {
    let chunk = |at_ns| Chunk::of(0, &[(at_ns, 1, What::Start), (at_ns + 1, 1, What::Open)]);
    let mut bytes = file(&[chunk(1_000)]);
    let cut = chunk(2_000).bytes();
    bytes.extend(&cut[..cut.len() - 40]);
    let from = bytes.len() as u64 - (cut.len() as u64 - 40);
    let to = bytes.len() as u64;
    bytes.extend(chunk(3_000).bytes());
    let mut recording = open(&bytes).unwrap();
    assert_eq!(in_time(&mut recording).len(), 4);
    let flaw = &recording.flaws().listed()[0];
    assert_eq!((flaw.from, flaw.to), (from, to), "{flaw}");
}

/// Headers alone, each of which promises half a MiB.
#[test]
fn a_file_of_promises_is_given_up_before_it_is_read_for_ever() {
    let event = (1_000, 0, What::Start);
    let chunk = Chunk::of(0, &[event; 1 << 14]).bytes();
    let mut bytes = file(&[]);
    (0..20_000).for_each(|_| bytes.extend(&chunk[..72]));
    let recording = open(&bytes).unwrap();
    assert_eq!(recording.events_count(), 0);
    let flaws = recording.flaws();
    assert_eq!(flaws.bytes(), bytes.len() as u64 - 64, "{flaws:?}");
    assert!(flaws.listed().len() < 3, "one damage: {flaws:?}");
}

#[test]
fn clocks_of_agents_are_brought_to_the_conductors() {
    let mut bytes = file(&[Chunk::of(0, &[(5_000, 0, What::Start)])]);
    let ahead = ChunkHeader {
        clock_offset_ns: 10_000,
        ..ChunkHeader::of(HEADER.unix_ns, 1, 1, 0)
    };
    let mut chunk = Vec::new();
    let event = Event {
        at_ns: 14_000,
        client: 1,
        what: What::Start,
    };
    chunk_into(&mut chunk, &ahead, &[event]);
    bytes.extend(chunk);
    let told = in_time(&mut open(&bytes).unwrap());
    let of: Vec<_> = told
        .iter()
        .map(|placed| (placed.agent, placed.event.at_ns))
        .collect();
    assert_eq!(of, [(1, 4_000), (0, 5_000)]);
}

/// Two clients talk, one cannot connect, one is lost with a message in flight, one comes again, one never ends.
fn story() -> Vec<Chunk> {
    const MS: u64 = 1_000_000;
    let first = Chunk::of(
        0,
        &[
            (0, 0, What::Start),
            (2 * MS, 0, What::Open),
            (3 * MS, 0, What::Sent(0)),
            (4 * MS, 0, What::Sent(1)),
            (5 * MS, 0, What::Received(1)),
            (7 * MS, 0, What::Received(0)),
            (9 * MS, 0, What::Exit(Exit::Normal)),
            (10 * MS, 0, What::Start),
            (14 * MS, 0, What::Open),
            (15 * MS, 0, What::Sent(0)),
            (16 * MS, 0, crash(ErrorKind::Reset, 104)),
        ],
    );
    let mut other = Chunk::of(
        1,
        &[
            (MS, 1, What::Start),
            (2_001 * MS, 1, What::Exit(Exit::ConnectTimeout)),
            (MS, 2, What::Start),
            (4 * MS, 2, What::Open),
            (5 * MS, 2, What::Sent(0)),
            (6 * MS, 2, What::Received(0)),
            (20 * MS, 2, What::Exit(Exit::Unfinished)),
            (MS, 3, What::Start),
            (30 * MS, 4, What::Received(9)),
            (30 * MS, 4, What::Open),
        ],
    );
    other.dropped = 3;
    vec![first, other]
}

#[test]
fn aggregates_are_those_of_the_seed() {
    let bytes = file(&story());
    let sums = open(&bytes).unwrap().aggregates().unwrap();
    assert_eq!((sums.clients, sums.handshakes), (5, 4));
    assert_eq!((sums.messages_sent, sums.messages_recv), (4, 4));
    assert_eq!((sums.connection_timeouts, sums.crashes), (1, 1));
    assert_eq!(sums.crash_reasons.iter().next(), Some((&"reset", &1)));
    assert_eq!((sums.normal_exits, sums.unfinished), (1, 1));
    assert_eq!((sums.open_at_the_end, sums.unanswered), (1, 1));
    let without = (sums.handshakes_without_start, sums.answers_without_message);
    assert_eq!(without, (1, 1));
    assert_eq!((sums.events, sums.dropped, sums.rounds), (21, 3, 1));
    // Handshakes of 2, 4 and 3 ms; answers after 1, 4 and 1 ms.
    let handshakes = &sums.handshake_time_ms;
    assert_eq!(
        (handshakes.min, handshakes.arithmetic_mean, handshakes.max),
        (Some(2.0), Some(3.0), Some(4.0))
    );
    assert_eq!(handshakes.variance, Some(1.0));
    let latency = &sums.message_latency_ms;
    assert_eq!((latency.samples, latency.median), (3, Some(1.0)));
    assert_eq!(latency.arithmetic_mean, Some(2.0));
}

#[test]
fn people_and_programs_read_the_same_of_it() {
    let bytes = file(&story());
    let mut recording = open(&bytes).unwrap();
    let header = *recording.header();
    let written = |form, recording: &mut Recording<_>| {
        let mut out = Vec::new();
        write_heading(form, &header, &mut out).unwrap();
        let each = recording.each_in_time(|placed| write_event(form, &header, placed, &mut out));
        each.unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = written(Form::Text, &mut recording);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("# seconds since 2026-11-21T01:30:00.000Z"));
    assert_eq!(lines.len(), 22);
    assert!(lines.contains(&"0.015999000 1 0/0 0 exit crash reset errno 104"));
    assert!(lines.contains(&"2.000999000 1 0/1 1 exit connect_timeout"));
    let json = written(Form::Ndjson, &mut recording);
    let objects: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects.len(), 21);
    let sent = objects.iter().find(|event| event["event"] == "sent");
    let expected = serde_json::json!({
        "at_ns": 2_999_000, "at_unix_ns": 1_795_224_600_002_999_000u64, "round": 1, "agent": 0, "worker": 0,
        "client": 0, "event": "sent", "sequence": 0
    });
    assert_eq!(sent, Some(&expected));
    let crash = objects.iter().find(|event| event["ending"] == "crash");
    assert_eq!(crash.map(|event| &event["reason"]), Some(&"reset".into()));
    let sums = recording.aggregates().unwrap();
    let object: Value = serde_json::from_str(&aggregates_json(&sums).unwrap()).unwrap();
    assert_eq!(object["schema"], "linerate.event-stats/1");
    assert_eq!(object["message_latency_ms"]["percentile"]["99.9"], 4.0);
    let text = aggregates_text(&header, &sums);
    for line in [
        "clients                                5",
        "connection_timeouts                    1",
        "  crash reset                          1",
        "arithmetic_mean                  3.000000             2.000000",
        "percentile 99.9                  4.000000             4.000000",
        "message_latency: up to (ms), samples",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
}

#[test]
fn statistics_are_those_of_scipy() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/event_statistics.json"
    );
    let data: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = data.as_array().unwrap();
    assert!(cases.len() >= 5);
    for case in cases {
        let samples = case["samples_ns"].as_array().unwrap().iter();
        let found = Statistics::of(samples.map(|ns| ns.as_u64().unwrap()).collect());
        let found = serde_json::to_value(found).unwrap();
        for name in [
            "min",
            "max",
            "arithmetic_mean",
            "geometric_mean",
            "harmonic_mean",
            "median",
            "variance",
            "standard_deviation",
            "skewness",
            "kurtosis",
        ] {
            assert_close(&found[name], &case[name], name);
        }
        for (percent, value) in case["percentile"].as_object().unwrap() {
            assert_close(&found["percentile"][percent], value, percent);
        }
        let (bins, expected) = (&found["histogram"], case["histogram"].as_array().unwrap());
        assert_eq!(bins.as_array().unwrap().len(), expected.len());
        for (bin, expected) in bins.as_array().unwrap().iter().zip(expected) {
            assert_close(&bin["up_to"], &expected[0], "up_to");
            assert_eq!(bin["count"], expected[1]);
        }
    }
}

#[track_caller]
fn assert_close(found: &Value, expected: &Value, name: &str) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    let close = (found - expected).abs() <= 1e-9 * expected.abs().max(1e-12);
    assert!(close, "{name}: {found}, expected {expected}");
}
