//! Ranks: processes that something else starts, and that join a run over TCP.

use super::documents::{RESULT, number, validate};
use linerate_tests::binary::{Call, linerate, within};
use linerate_tests::network::{Network, address};
use linerate_tests::process::piped;
use linerate_tests::{Directory, eventually};
use serde_json::Value;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(40);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const QUICK: [&str; 12] = [
    "--format",
    "json",
    "--duration",
    "600ms",
    "--warmup",
    "100ms",
    "--interval",
    "200ms",
    "--engine",
    "epoll",
    "--join-timeout",
    "20s",
];

/// `linerate ARGUMENTS` with the token and more in its environment.
fn with_token(arguments: &[&str], more: &[(&str, &str)]) -> Call {
    let mut command = piped(linerate());
    command.args(arguments).env("LINERATE_TOKEN", TOKEN);
    command.envs(more.iter().copied());
    Call::of(command)
}

/// A run of `ranks` ranks against its own testee, and where they join.
fn conductor(ranks: &str, more: &[&str]) -> (Call, String) {
    let line = [
        "run",
        "rr",
        "--testee-listen",
        "tcp://127.0.0.1:0",
        "--testee-engine",
        "epoll",
        "--ranks",
        ranks,
        "--join",
        "tcp://127.0.0.1:0",
    ];
    let mut call = with_token(&[&line[..], more].concat(), &[]);
    let place = place_of(&mut call);
    (call, place)
}

/// Where the ranks of a run join.
fn place_of(call: &mut Call) -> String {
    let said = call.hears("ranks may join at");
    let place = said.split("ranks may join at ").nth(1);
    let place = place.and_then(|rest| rest.split_whitespace().next());
    place.expect("a place").trim_end_matches(':').to_owned()
}

fn rank(place: &str, number: &str) -> Call {
    with_token(&["agent", "--join", place, "--rank", number], &[])
}

fn rounds(document: &Value) -> &[Value] {
    document["rounds"].as_array().expect("rounds")
}

#[test]
fn ranks_that_launchers_number_make_one_result_over_several_rounds() {
    within(60, || {
        let more = ["--connections", "6", "--repeat", "2"];
        let (mut call, place) = conductor("3", &[&QUICK[..], &more].concat());
        let join = ["agent", "--join", &place];
        let mut ranks = [
            with_token(
                &join,
                &[("OMPI_COMM_WORLD_RANK", "0"), ("SLURM_PROCID", "2")],
            ),
            with_token(&join, &[("SLURM_PROCID", "1")]),
            with_token(&join, &[("JOB_COMPLETION_INDEX", "2")]),
        ];
        let finished = call.finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        for rank in 0..3 {
            let joined = format!("rank {rank} has joined from 127.0.0.1");
            assert!(finished.stderr.contains(&joined), "{}", finished.stderr);
        }
        let document = finished.json();
        validate(&document, RESULT);
        assert_eq!(number(&document, "/plan/ranks"), 3.0);
        let hosts = document["hosts"].as_array().expect("hosts");
        for rank in 0..3 {
            let id = format!("rank-{rank}");
            let host = hosts.iter().find(|host| host["id"] == id.as_str());
            assert_eq!(host.expect("the host")["joined_from"], "127.0.0.1");
        }
        assert_eq!(rounds(&document).len(), 2);
        for round in rounds(&document) {
            let of_loads = &round["by_host"].as_array().expect("rows")[..3];
            assert!(
                of_loads.iter().all(|row| number(row, "/operations") > 0.0),
                "{of_loads:#?}"
            );
            assert_eq!(number(round, "/measured/connections/succeeded"), 6.0);
        }
        for rank in &mut ranks {
            let finished = rank.finish(Duration::from_secs(10));
            assert_eq!(finished.code(), 0, "{}", finished.stderr);
            assert!(
                finished.stderr.contains("the run is over, after 2 rounds"),
                "{}",
                finished.stderr
            );
        }
    });
}

#[test]
fn ranks_on_other_hosts_join_with_a_token_in_a_file() {
    let Some(network) = Network::for_test("ranks_on_hosts", 3) else {
        return;
    };
    within(60, move || {
        let directory = Directory::new();
        let file = directory.path().join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
        let file = file.display().to_string();
        let listen = format!("tcp://{}:0", address(2));
        let place = format!("tcp://{}:9470", address(2));
        // They may be there before the conductor.
        let mut ranks = [0, 1].map(|index: usize| {
            let rank = index.to_string();
            network.hosts[index].linerate(&[
                "agent",
                "--join",
                &place,
                "--rank",
                &rank,
                "--token-file",
                &file,
            ])
        });
        let line = [
            "run",
            "ws",
            "--clients",
            "4",
            "--ranks",
            "2",
            "--join",
            "tcp://0.0.0.0:9470",
            "--token-file",
            &file,
            "--testee-listen",
            &listen,
            "--testee-engine",
            "epoll",
        ];
        let finished = network.hosts[2]
            .linerate(&[&line[..], &QUICK].concat())
            .finish(PATIENCE);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        let hosts = document["hosts"].as_array().expect("hosts");
        for index in [0, 1] {
            let id = format!("rank-{index}");
            let host = hosts.iter().find(|host| host["id"] == id.as_str());
            assert_eq!(host.expect("the host")["joined_from"], address(index));
        }
        assert_eq!(number(&document, "/rounds/0/measured/clients/opened"), 4.0);
        for rank in &mut ranks {
            assert_eq!(rank.finish(Duration::from_secs(10)).code(), 0);
        }
    });
}

#[test]
fn who_has_another_token_is_refused_and_who_is_missing_is_named() {
    within(60, || {
        let more = ["--connections", "2", "--join-timeout", "8s"];
        let (mut call, place) = conductor("2", &more);
        let mut waiting = rank(&place, "0");
        let mut stranger = piped(linerate());
        stranger
            .args(["agent", "--join", &place, "--rank", "1"])
            .env("LINERATE_TOKEN", "another token, long enough");
        let stranger = Call::of(stranger).finish(PATIENCE);
        stranger.assert_refused(4, &["rank 1", "its token is another"]);
        let finished = call.finish(PATIENCE);
        assert_eq!(finished.code(), 4, "{}", finished.stderr);
        for part in [
            "refused who came from 127.0.0.1: its token is another",
            "rank 1 of 2 had not joined",
            "after 8 s",
        ] {
            assert!(finished.stderr.contains(part), "{}", finished.stderr);
        }
        let waiting = waiting.finish(Duration::from_secs(10));
        assert_eq!(waiting.code(), 4, "{}", waiting.stderr);
        assert!(
            waiting.stderr.contains("ended before a round of it began"),
            "{}",
            waiting.stderr
        );
    });
}

#[test]
fn a_rank_that_is_killed_leaves_a_partial_result_that_says_who_it_was() {
    within(60, || {
        let long = [
            "--duration",
            "30s",
            "--format",
            "json",
            "--connections",
            "4",
        ];
        let (mut call, place) = conductor("2", &long);
        let (mut first, mut second) = (rank(&place, "0"), rank(&place, "1"));
        call.hears("/s");
        let agent = second.agents(1)[0];
        // SAFETY: kill takes two integers; the process is the agent of a rank of this very test.
        unsafe { libc::kill(agent, libc::SIGKILL) };
        let finished = call.finish(PATIENCE);
        finished.assert_refused(
            1,
            &[
                "the load-2 agent on host rank-1",
                "joined from 127.0.0.1",
                "partial",
            ],
        );
        let document = finished.json();
        assert_eq!(document["status"], "partial");
        assert_eq!(document["rounds"][0]["lost"][0]["agent"], "load-2");
        assert!(number(&document, "/rounds/0/measured/totals/operations") > 0.0);
        let killed = second.finish(Duration::from_secs(10));
        assert_eq!(killed.code(), 4, "{}", killed.stderr);
        // What it measured went into the result.
        let other = first.finish(Duration::from_secs(10));
        assert_eq!(other.code(), 0, "{}", other.stderr);
    });
}

#[test]
fn ranks_end_with_their_conductor_and_with_their_signal() {
    within(60, || {
        let long = [
            "--duration",
            "30s",
            "--format",
            "json",
            "--connections",
            "4",
        ];
        let (mut call, place) = conductor("2", &long);
        let mut ranks = [rank(&place, "0"), rank(&place, "1")];
        call.hears("/s");
        // A batch system that wants a node back.
        ranks[1].kept().signal(libc::SIGTERM);
        assert_eq!(ranks[1].finish(Duration::from_secs(10)).code(), 130);
        let finished = call.finish(PATIENCE);
        finished.assert_refused(1, &["the load-2 agent on host rank-1", "partial"]);
        assert_eq!(ranks[0].finish(Duration::from_secs(10)).code(), 0);

        let (mut call, place) = conductor("2", &long);
        let mut ranks = [rank(&place, "0"), rank(&place, "1")];
        call.hears("/s");
        call.kept().signal(libc::SIGKILL);
        for rank in &mut ranks {
            let finished = rank.finish(Duration::from_secs(20));
            assert_eq!(finished.code(), 130, "{}", finished.stderr);
        }
        assert!(
            eventually(Duration::from_secs(10), || call.processes().is_empty()),
            "{:?}",
            call.processes()
        );
    });
}

#[test]
fn a_rank_waits_for_a_conductor_as_long_as_it_is_told() {
    within(60, || {
        let line = ["agent", "--join", "tcp://127.0.0.1:1", "--rank", "0"];
        let line = [&line[..], &["--join-timeout", "500ms"]].concat();
        let began = Instant::now();
        let finished = with_token(&line, &[]).finish(PATIENCE);
        assert!(began.elapsed() >= Duration::from_millis(250));
        assert_eq!(finished.code(), 4, "{}", finished.stderr);
        for part in [
            "refused (os error 111); trying for 500 ms",
            "tcp://127.0.0.1:1 as rank 0",
            "--ranks N",
        ] {
            assert!(finished.stderr.contains(part), "{}", finished.stderr);
        }
    });
}

#[test]
fn arms_are_compared_over_ranks() {
    within(120, || {
        let line = [
            "compare",
            "rr",
            "--engines",
            "epoll,blocking",
            "--vary",
            "load",
            "--testee-listen",
            "tcp://127.0.0.1:0",
            "--connections",
            "2",
            "--duration",
            "100ms",
            "--warmup",
            "10ms",
            "--interval",
            "50ms",
            "--rounds",
            "7",
            "--pause",
            "1ms",
            "--ranks",
            "2",
            "--join",
            "tcp://127.0.0.1:0",
            "--format",
            "json",
        ];
        let mut call = with_token(&line, &[]);
        let place = place_of(&mut call);
        let mut ranks = [rank(&place, "0"), rank(&place, "1")];
        let finished = call.finish(Duration::from_secs(90));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(finished.json()["status"], "ok");
        for rank in &mut ranks {
            let finished = rank.finish(Duration::from_secs(10));
            assert_eq!(finished.code(), 0, "{}", finished.stderr);
            // Two arms and a control, seven rounds and one that is discarded.
            assert!(
                finished.stderr.contains("after 24 rounds"),
                "{}",
                finished.stderr
            );
        }
    });
}
