//! Ranks that join, and those who may not.

use super::super::join::greet;
use super::super::token::Proof;
use super::*;
use std::io::{Read, Write};

fn token() -> Token {
    Token::new(b"0123456789abcdef", "here").unwrap()
}

fn listener(ranks: u32, timeout: Duration) -> RankListener {
    let place = "tcp://127.0.0.1:0".parse().unwrap();
    RankListener::open(&place, token(), ranks, timeout).unwrap()
}

fn knock(listener: &RankListener) -> TcpStream {
    TcpStream::connect(listener.place().trim_start_matches("tcp://")).unwrap()
}

fn join(listener: &RankListener, rank: u32) -> Result<TcpStream, String> {
    let stream = knock(listener);
    greet(&stream, rank, PROCESS, &token())
        .map(|()| stream)
        .map_err(|error| error.to_string())
}

const PROCESS: Nonce = [9; 16];

fn gather(listener: &RankListener, ranks: u32) -> (Result<(), Failure>, Vec<String>) {
    let mut told = Vec::new();
    let gathered = listener.gather(
        ranks,
        &mut |news| told.push(news.to_owned()),
        &Cancel::new(),
    );
    (gathered, told)
}

#[test]
fn ranks_that_know_the_token_are_gathered_and_begin_a_round() {
    let listener = listener(2, Duration::from_secs(20));
    let streams = [join(&listener, 1).unwrap(), join(&listener, 0).unwrap()];
    let (gathered, told) = gather(&listener, 2);
    gathered.unwrap();
    let joined = |rank| format!("rank {rank} has joined from 127.0.0.1");
    for rank in [0, 1] {
        assert!(
            told.iter().any(|news| news.starts_with(&joined(rank))),
            "{told:?}"
        );
    }
    let mut started = listener.start(1).unwrap();
    started.stream.write_all(b"for the agent").unwrap();
    let mut lines = TimedLines::new(&streams[0], Duration::from_secs(5));
    assert_eq!(lines.hear::<FromListener>().unwrap(), FromListener::Round);
    let mut said = [0; 13];
    (&streams[0]).read_exact(&mut said).unwrap();
    assert_eq!(&said, b"for the agent");
    drop(started);
    // Its agent has ended, and it does not come back; the other hears that there is no further round.
    let [first, second] = streams;
    drop(first);
    let closing = std::thread::spawn(move || drop(listener));
    let mut lines = TimedLines::new(&second, Duration::from_secs(5));
    assert_eq!(lines.hear::<FromListener>().unwrap(), FromListener::Over);
    closing.join().unwrap();
}

#[test]
fn after_the_last_round_a_rank_that_joins_again_is_let_go() {
    let listener = listener(1, Duration::from_secs(20));
    let first = join(&listener, 0).unwrap();
    gather(&listener, 1).0.unwrap();
    drop(listener.start(0).unwrap());
    drop(first);
    let place = listener.place().trim_start_matches("tcp://").to_owned();
    let shared = Arc::clone(&listener.shared);
    let closing = std::thread::spawn(move || drop(listener));
    while !shared.state().is_closing {
        std::thread::sleep(Duration::from_millis(1));
    }
    let again = TcpStream::connect(place).unwrap();
    greet(&again, 0, PROCESS, &token()).unwrap();
    let mut lines = TimedLines::new(&again, Duration::from_secs(5));
    assert_eq!(lines.hear::<FromListener>().unwrap(), FromListener::Over);
    closing.join().unwrap();
}

#[test]
fn a_stranger_and_a_rank_that_cannot_be_are_refused_and_told() {
    let listener = listener(2, Duration::from_secs(2));
    let _first = join(&listener, 0).unwrap();
    let twice = join(&listener, 0).unwrap_err();
    assert!(
        twice.contains("rank 0 has joined already, from 127.0.0.1"),
        "{twice}"
    );
    let beyond = join(&listener, 2).unwrap_err();
    assert!(beyond.contains("--ranks 2 they are 0 to 1"), "{beyond}");
    let other = Token::new(b"another token of 16", "here").unwrap();
    let stranger = greet(&knock(&listener), 1, PROCESS, &other)
        .unwrap_err()
        .to_string();
    assert!(stranger.contains("token"), "{stranger}");
    knock(&listener)
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .unwrap();
    let (gathered, told) = gather(&listener, 2);
    let text = gathered.unwrap_err().text;
    assert!(
        text.starts_with("rank 1 of 2 had not joined at tcp://127.0.0.1:"),
        "{text}"
    );
    assert!(
        told.iter()
            .any(|news| news.contains("no message of linerate")),
        "{told:?}"
    );
    assert!(told.iter().any(|news| news.contains("already")), "{told:?}");
}

/// Says what a rank would, with another version and proof.
fn knock_as(
    listener: &RankListener,
    version: &str,
    proof: impl Fn(&Handshake) -> Proof,
) -> FromListener {
    let stream = knock(listener);
    let mut lines = TimedLines::new(&stream, Duration::from_secs(5));
    let (rank, process, of_rank) = (0, PROCESS, [7; 16]);
    let join = FromRank::Join {
        rank,
        process,
        nonce: of_rank,
    };
    lines.say(&join).unwrap();
    let FromListener::Challenge {
        nonce: of_conductor,
    } = lines.hear().unwrap()
    else {
        panic!("no challenge");
    };
    let handshake = Handshake {
        rank,
        process,
        of_rank,
        of_conductor,
    };
    let (proof, version) = (proof(&handshake), version.to_owned());
    lines.say(&FromRank::Proof { proof, version }).unwrap();
    lines.hear().unwrap()
}

#[test]
fn only_a_proof_of_a_rank_of_this_version_lets_one_in() {
    let listener = listener(1, Duration::from_secs(1));
    let proofs: [fn(&Handshake) -> Proof; 2] = [
        |handshake| token().proof(Prover::Conductor, handshake),
        |_| [0; 32],
    ];
    for proof in proofs {
        let FromListener::Refused { why } = knock_as(&listener, VERSION, proof) else {
            panic!("let in");
        };
        assert!(why.contains("token"), "{why}");
    }
    let proven = |handshake: &Handshake| token().proof(Prover::Rank, handshake);
    let FromListener::Refused { why } = knock_as(&listener, "0.0.1", proven) else {
        panic!("let in");
    };
    assert!(
        why.contains("linerate 0.0.1") && why.contains("same version"),
        "{why}"
    );
    let (gathered, told) = gather(&listener, 1);
    assert!(gathered.is_err());
    assert_eq!(
        told.iter()
            .filter(|news| news.contains("its token"))
            .count(),
        2,
        "{told:?}"
    );
    let welcome = knock_as(&listener, VERSION, proven);
    assert!(
        matches!(welcome, FromListener::Welcome { .. }),
        "{welcome:?}"
    );
}

#[test]
fn a_rank_that_leaves_is_missing_and_may_come_again() {
    let listener = listener(1, Duration::from_secs(20));
    drop(join(&listener, 0).unwrap());
    while listener
        .shared
        .state()
        .waiting
        .values()
        .any(Waiting::is_there)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _again = join(&listener, 0).unwrap();
    gather(&listener, 1).0.unwrap();
}

#[test]
fn the_rank_of_an_agent_in_a_round_is_nobody_elses() {
    let listener = listener(1, Duration::from_secs(20));
    let first = join(&listener, 0).unwrap();
    gather(&listener, 1).0.unwrap();
    let Started { stream, stay, .. } = listener.start(0).unwrap();
    let other = greet(&knock(&listener), 0, [1; 16], &token()).unwrap_err();
    assert!(
        other.to_string().contains("rank 0 is in a round"),
        "{other}"
    );
    // Its round is over, and it does not come back: somebody else may.
    drop((first, stream, stay));
    greet(&knock(&listener), 0, [1; 16], &token()).unwrap();
}

#[test]
fn those_who_say_nothing_do_not_keep_ranks_out() {
    let listener = listener(1, Duration::from_secs(20));
    let silent: Vec<TcpStream> = (0..2 * STRANGERS_MAX).map(|_| knock(&listener)).collect();
    let _rank = join(&listener, 0).unwrap();
    gather(&listener, 1).0.unwrap();
    drop(silent);
}

#[test]
fn who_is_missing_is_named() {
    assert_eq!(names(&[3]), "rank 3");
    assert_eq!(names(&[0, 2, 5]), "ranks 0, 2 and 5");
    let many: Vec<u32> = (0..20).collect();
    assert!(
        names(&many).ends_with("14, 15 and 4 more"),
        "{}",
        names(&many)
    );
}
