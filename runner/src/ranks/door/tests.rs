//! Ranks that join, and those who may not.

use super::super::join::greet;
use super::super::token::Proof;
use super::*;
use std::io::{Read, Write};

fn token() -> Token {
    Token::new(b"0123456789abcdef", "here").unwrap()
}

fn door(ranks: u32, patience: Duration) -> Door {
    let place = "tcp://127.0.0.1:0".parse().unwrap();
    Door::open(&place, token(), ranks, patience).unwrap()
}

fn knock(door: &Door) -> TcpStream {
    TcpStream::connect(door.place().trim_start_matches("tcp://")).unwrap()
}

fn join(door: &Door, rank: u32) -> Result<TcpStream, String> {
    let stream = knock(door);
    greet(&stream, rank, PROCESS, &token())
        .map(|()| stream)
        .map_err(|error| error.to_string())
}

const PROCESS: Nonce = [9; 16];

fn gather(door: &Door, ranks: u32) -> (Result<(), Failure>, Vec<String>) {
    let mut told = Vec::new();
    let gathered = door.gather(
        ranks,
        &mut |news| told.push(news.to_owned()),
        &Cancel::new(),
    );
    (gathered, told)
}

#[test]
fn ranks_that_know_the_token_are_gathered_and_begin_a_round() {
    let door = door(2, Duration::from_secs(20));
    let streams = [join(&door, 1).unwrap(), join(&door, 0).unwrap()];
    let (gathered, told) = gather(&door, 2);
    gathered.unwrap();
    let joined = |rank| format!("rank {rank} has joined from 127.0.0.1");
    for rank in [0, 1] {
        assert!(
            told.iter().any(|news| news.starts_with(&joined(rank))),
            "{told:?}"
        );
    }
    let mut started = door.start(1).unwrap();
    started.stream.write_all(b"for the agent").unwrap();
    let mut greeting = Greeting::new(&streams[0], Duration::from_secs(5));
    assert_eq!(greeting.hear::<FromDoor>().unwrap(), FromDoor::Round);
    let mut said = [0; 13];
    (&streams[0]).read_exact(&mut said).unwrap();
    assert_eq!(&said, b"for the agent");
    drop(started);
    // Its agent has ended, and it does not come back; the other hears that there is no further round.
    let [first, second] = streams;
    drop(first);
    let closing = std::thread::spawn(move || drop(door));
    let mut greeting = Greeting::new(&second, Duration::from_secs(5));
    assert_eq!(greeting.hear::<FromDoor>().unwrap(), FromDoor::Over);
    closing.join().unwrap();
}

#[test]
fn after_the_last_round_a_rank_that_joins_again_is_let_go() {
    let door = door(1, Duration::from_secs(20));
    let first = join(&door, 0).unwrap();
    gather(&door, 1).0.unwrap();
    drop(door.start(0).unwrap());
    drop(first);
    let place = door.place().trim_start_matches("tcp://").to_owned();
    let hall = Arc::clone(&door.hall);
    let closing = std::thread::spawn(move || drop(door));
    while !hall.room().is_closing {
        std::thread::sleep(Duration::from_millis(1));
    }
    let again = TcpStream::connect(place).unwrap();
    greet(&again, 0, PROCESS, &token()).unwrap();
    let mut greeting = Greeting::new(&again, Duration::from_secs(5));
    assert_eq!(greeting.hear::<FromDoor>().unwrap(), FromDoor::Over);
    closing.join().unwrap();
}

#[test]
fn a_stranger_and_a_rank_that_cannot_be_are_refused_and_told() {
    let door = door(2, Duration::from_secs(2));
    let _first = join(&door, 0).unwrap();
    let twice = join(&door, 0).unwrap_err();
    assert!(
        twice.contains("rank 0 has joined already, from 127.0.0.1"),
        "{twice}"
    );
    let beyond = join(&door, 2).unwrap_err();
    assert!(beyond.contains("--ranks 2 they are 0 to 1"), "{beyond}");
    let other = Token::new(b"another token of 16", "here").unwrap();
    let stranger = greet(&knock(&door), 1, PROCESS, &other)
        .unwrap_err()
        .to_string();
    assert!(stranger.contains("token"), "{stranger}");
    knock(&door).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let (gathered, told) = gather(&door, 2);
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
fn knock_as(door: &Door, version: &str, proof: impl Fn(&Meeting) -> Proof) -> FromDoor {
    let stream = knock(door);
    let mut greeting = Greeting::new(&stream, Duration::from_secs(5));
    let (rank, process, of_rank) = (0, PROCESS, [7; 16]);
    let join = FromRank::Join {
        rank,
        process,
        nonce: of_rank,
    };
    greeting.say(&join).unwrap();
    let FromDoor::Challenge {
        nonce: of_conductor,
    } = greeting.hear().unwrap()
    else {
        panic!("no challenge");
    };
    let meeting = Meeting {
        rank,
        process,
        of_rank,
        of_conductor,
    };
    let (proof, version) = (proof(&meeting), version.to_owned());
    greeting.say(&FromRank::Proof { proof, version }).unwrap();
    greeting.hear().unwrap()
}

#[test]
fn only_a_proof_of_a_rank_of_this_version_lets_one_in() {
    let door = door(1, Duration::from_secs(1));
    let proofs: [fn(&Meeting) -> Proof; 2] = [
        |meeting| token().proof(Prover::Conductor, meeting),
        |_| [0; 32],
    ];
    for proof in proofs {
        let FromDoor::Refused { why } = knock_as(&door, VERSION, proof) else {
            panic!("let in");
        };
        assert!(why.contains("token"), "{why}");
    }
    let proven = |meeting: &Meeting| token().proof(Prover::Rank, meeting);
    let FromDoor::Refused { why } = knock_as(&door, "0.0.1", proven) else {
        panic!("let in");
    };
    assert!(
        why.contains("linerate 0.0.1") && why.contains("same version"),
        "{why}"
    );
    let (gathered, told) = gather(&door, 1);
    assert!(gathered.is_err());
    assert_eq!(
        told.iter()
            .filter(|news| news.contains("its token"))
            .count(),
        2,
        "{told:?}"
    );
    let welcome = knock_as(&door, VERSION, proven);
    assert!(matches!(welcome, FromDoor::Welcome { .. }), "{welcome:?}");
}

#[test]
fn a_rank_that_leaves_is_missing_and_may_come_again() {
    let door = door(1, Duration::from_secs(20));
    drop(join(&door, 0).unwrap());
    while door.hall.room().waiting.values().any(Waiting::is_there) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _again = join(&door, 0).unwrap();
    gather(&door, 1).0.unwrap();
}

#[test]
fn the_rank_of_an_agent_in_a_round_is_nobody_elses() {
    let door = door(1, Duration::from_secs(20));
    let first = join(&door, 0).unwrap();
    gather(&door, 1).0.unwrap();
    let Started { stream, stay, .. } = door.start(0).unwrap();
    let other = greet(&knock(&door), 0, [1; 16], &token()).unwrap_err();
    assert!(
        other.to_string().contains("rank 0 is in a round"),
        "{other}"
    );
    // Its round is over, and it does not come back: somebody else may.
    drop((first, stream, stay));
    greet(&knock(&door), 0, [1; 16], &token()).unwrap();
}

#[test]
fn those_who_say_nothing_do_not_keep_ranks_out() {
    let door = door(1, Duration::from_secs(20));
    let silent: Vec<TcpStream> = (0..2 * STRANGERS_MAX).map(|_| knock(&door)).collect();
    let _rank = join(&door, 0).unwrap();
    gather(&door, 1).0.unwrap();
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
