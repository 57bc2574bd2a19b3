//! Whole runs over agents that live on threads of the test instead of in processes.

use super::link::{Heard, Launcher, Link};
use super::*;
use crate::error::ExitClass;
use crate::lines::write_line;
use crate::plan::{AgentPlan, CommonRequest, PlanRequest};
use crate::protocol::FromAgent;
use report::document::{Interval, Message, Role, Round, Status, Workload, unexplained_nulls};
use report::findings::Level;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;

#[cfg(target_os = "linux")]
mod lost_agents;

/// Agents on threads, over socket pairs: the same code, without a binary.
struct Threads;

impl Launcher for Threads {
    fn launch(
        &self,
        agent: &AgentPlan,
        number: usize,
        heard: Sender<Heard>,
    ) -> Result<Link, Failure> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let read = theirs.try_clone().unwrap();
        std::thread::spawn(move || crate::agent::run(read, theirs));
        Link::of_streams(agent, number, ours.try_clone().unwrap(), ours, heard)
    }
}

#[derive(Default)]
struct Log {
    intervals: usize,
    parts: usize,
    rounds: u32,
    warnings: Vec<Message>,
    findings: Vec<(String, Finding)>,
    cancel_at_interval: Option<Cancel>,
}

impl Observer for Log {
    fn interval(&mut self, _: u32, _: &str, _: &Interval) {
        self.intervals += 1;
        if let Some(cancel) = self.cancel_at_interval.take() {
            cancel.raise();
        }
    }

    fn window_part(&mut self, _: u32, _: &Interval) {
        self.parts += 1;
    }

    fn finding(&mut self, host: &str, finding: &Finding) {
        self.findings.push((host.to_owned(), finding.clone()));
    }

    fn warning(&mut self, warning: &Message) {
        self.warnings.push(warning.clone());
    }

    fn round_ended(&mut self, _: &Round) {
        self.rounds += 1;
    }
}

fn quick(workload: Workload) -> PlanRequest {
    let common = CommonRequest {
        duration_ns: Some(300_000_000),
        warmup_ns: Some(50_000_000),
        interval_ns: Some(100_000_000),
        engine: Some("epoll".into()),
        testee_engine: Some("epoll".into()),
        placement: Some(crate::plan::PlacementKind::Unpinned),
        ..CommonRequest::default()
    };
    PlanRequest {
        common,
        ..PlanRequest::of(workload)
    }
}

fn run_in(
    launcher: &dyn Launcher,
    request: PlanRequest,
    log: &mut Log,
) -> Result<Document, RunError> {
    let cancel = log.cancel_at_interval.clone().unwrap_or_default();
    conduct_with(launcher, &Plan::new(request).unwrap(), &[], log, &cancel)
}

#[cfg(target_os = "linux")]
#[test]
fn every_workload_is_measured_and_every_null_explained() {
    for workload in [
        Workload::Rr,
        Workload::Echo,
        Workload::Stream,
        Workload::Crr,
        Workload::Cc,
    ] {
        let mut log = Log::default();
        let document = run_in(&Threads, quick(workload), &mut log).unwrap();
        assert_eq!(
            document.status,
            Status::Ok,
            "{workload:?}: {:?}",
            document.errors
        );
        assert_eq!(
            unexplained_nulls(&document),
            Vec::<String>::new(),
            "{workload:?}"
        );
        let round = &document.rounds[0];
        assert!(round.measured.totals.operations > 10, "{workload:?}");
        assert!(round.rates.operations_per_second.is_some());
        assert!(round.measured.intervals.len() >= 2, "{workload:?}");
        assert!(round.window.length_ns.abs_diff(300_000_000) < 30_000_000);
        assert_eq!(
            (round.load.len(), round.testee.len(), log.rounds),
            (1, 1, 1)
        );
        assert!(round.testee[0].window.length_ns > 250_000_000);
        assert!(log.intervals >= 2);
        assert_eq!(document.hosts.len(), 1);
        assert_eq!(ExitClass::of_document(&document), ExitClass::Done);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_stream_sends_the_testee_confirms() {
    let mut request = quick(Workload::Stream);
    request.common.connections = Some(2);
    request.common.testee_listen = Some("tcp://[::1]:0".into());
    let document = run_in(&Threads, request, &mut Log::default()).unwrap();
    let round = &document.rounds[0];
    let sent = round.load[0].measured.totals.bytes_sent as f64;
    let received = round.testee[0].measured.totals.bytes_received as f64;
    assert!(
        (received / sent - 1.0).abs() < 0.3,
        "{sent} sent, {received} received"
    );
    assert!(document.plan.target.endpoint.starts_with("tcp://[::1]:"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_count_ends_the_run_and_rounds_repeat() {
    let mut request = quick(Workload::Rr);
    (request.common.duration_ns, request.common.warmup_ns) = (None, None);
    (request.common.count, request.common.repeat) = (Some(1000), Some(2));
    let document = run_in(&Threads, request, &mut Log::default()).unwrap();
    assert_eq!(document.rounds.len(), 2);
    for round in &document.rounds {
        assert_eq!(round.measured.totals.operations, 1000);
    }
    assert!(document.summary.is_some());
}

/// Connections that a side's workers had, agent by agent.
#[cfg(target_os = "linux")]
fn connections_of(sides: &[report::document::Side]) -> Vec<u64> {
    let of =
        |side: &report::document::Side| side.workers.iter().map(|worker| worker.connections).sum();
    sides.iter().map(of).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn several_agents_a_side_are_one_measurement() {
    let mut request = quick(Workload::Rr);
    request.common.connections = Some(50);
    (request.common.load_agents, request.common.testee_agents) = (Some(3), Some(2));
    let mut log = Log::default();
    let document = run_in(&Threads, request, &mut log).unwrap();
    assert_eq!(document.status, Status::Ok, "{:?}", document.errors);
    assert_eq!(unexplained_nulls(&document), Vec::<String>::new());
    assert_eq!(
        (document.plan.load_agents, document.plan.testee_agents),
        (3, Some(2))
    );
    let round = &document.rounds[0];
    let names = |sides: &[report::document::Side]| -> Vec<String> {
        sides.iter().map(|side| side.agent.clone()).collect()
    };
    assert_eq!(names(&round.load), ["load", "load-2", "load-3"]);
    assert_eq!(names(&round.testee), ["testee", "testee-2"]);
    assert_eq!(connections_of(&round.load), [17, 17, 16]);
    // By hash over the port that they share: 50 of 50 to one of them happens once in 2^49 runs.
    let served = connections_of(&round.testee);
    assert_eq!(served.iter().sum::<u64>(), 50);
    assert!(served.iter().all(|&count| count > 0), "{served:?}");
    let operations: u64 = round
        .load
        .iter()
        .map(|side| side.measured.totals.operations)
        .sum();
    assert_eq!(round.measured.totals.operations, operations);
    assert!(
        round
            .load
            .iter()
            .all(|side| side.measured.totals.operations > 0)
    );
    let service =
        |side: &report::document::Side| side.measured.latency.service.as_ref().unwrap().count;
    let counts: u64 = round.load.iter().map(service).sum();
    assert_eq!(
        round.measured.latency.service.as_ref().unwrap().count,
        counts
    );
    assert!(round.cost.load.cpu_cores_busy.is_some() && round.cost.testee.cpu_cores_busy.is_some());
    assert_eq!(document.hosts.len(), 1);
    assert_eq!(round.hosts.len(), 1);
    assert!(
        log.intervals >= 3 * log.parts && log.parts >= 2,
        "{} {}",
        log.intervals,
        log.parts
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_count_is_dealt_out_to_agents() {
    let mut request = quick(Workload::Rr);
    (request.common.duration_ns, request.common.warmup_ns) = (None, None);
    (request.common.connections, request.common.load_agents) = (Some(4), Some(3));
    request.common.count = Some(1_000);
    let document = run_in(&Threads, request, &mut Log::default()).unwrap();
    let round = &document.rounds[0];
    let of = |side: &report::document::Side| side.measured.totals.operations;
    let operations: Vec<u64> = round.load.iter().map(of).collect();
    assert_eq!(operations, [334, 333, 333]);
    assert_eq!(round.measured.totals.operations, 1_000);
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_run_leaves_a_valid_document() {
    let mut request = quick(Workload::Rr);
    request.common.duration_ns = Some(60_000_000_000);
    request.common.repeat = Some(3);
    let mut log = Log {
        cancel_at_interval: Some(Cancel::new()),
        ..Log::default()
    };
    let document = run_in(&Threads, request, &mut log).unwrap();
    assert_eq!(document.status, Status::Interrupted);
    assert_eq!(document.rounds.len(), 1);
    let round = &document.rounds[0];
    assert!(round.ended_early && round.measured.totals.operations > 0);
    assert!(round.window.length_ns < 5_000_000_000);
    assert_eq!(unexplained_nulls(&document), Vec::<String>::new());
    assert_eq!(ExitClass::of_document(&document), ExitClass::Interrupted);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_interrupted_while_it_warms_up_has_an_empty_window() {
    struct InWarmUp(Cancel);
    impl Observer for InWarmUp {
        fn phase(&mut self, phase: Phase) {
            if phase == Phase::WarmingUp {
                self.0.raise();
            }
        }
    }
    let cancel = Cancel::new();
    let mut request = quick(Workload::Echo);
    request.common.warmup_ns = Some(30_000_000_000);
    let plan = Plan::new(request).unwrap();
    let mut observer = InWarmUp(cancel.clone());
    let document = conduct_with(&Threads, &plan, &[], &mut observer, &cancel).unwrap();
    assert_eq!(document.status, Status::Interrupted);
    assert_eq!(document.rounds[0].window.length_ns, 0);
    assert_eq!(unexplained_nulls(&document), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[test]
fn findings_are_told_and_recorded_once_each() {
    let busy = Finding {
        code: "neighbours".to_owned(),
        level: Level::Problem,
        seen: "others use half of the CPUs".to_owned(),
        effect: Some("they take CPU".to_owned()),
        cure: None,
    };
    let calm = Finding {
        level: Level::Note,
        code: "steal".to_owned(),
        ..busy.clone()
    };
    let mut request = quick(Workload::Rr);
    request.common.repeat = Some(2);
    let plan = Plan::new(request).unwrap();
    let (mut log, seen) = (Log::default(), [busy.clone(), calm]);
    let document = conduct_with(&Threads, &plan, &seen, &mut log, &Cancel::new()).unwrap();
    assert_eq!(log.findings[0], ("local".to_owned(), busy));
    // What else this machine has to say comes from its description, of which there is one.
    let codes: Vec<&str> = log
        .findings
        .iter()
        .map(|(_, each)| each.code.as_str())
        .collect();
    let mut unique = codes.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(
        (unique.len(), codes.contains(&"steal")),
        (codes.len(), false)
    );
    let text = "host local, before measuring: others use half of the CPUs: they take CPU";
    assert_eq!(document.warnings[0].text, text);
    assert_eq!(log.warnings[0], document.warnings[0]);
    let told = document.warnings.iter();
    assert_eq!(told.filter(|each| each.code == "neighbours").count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn two_wishes_to_end_leave_no_round() {
    struct Impatient(Cancel);
    impl Observer for Impatient {
        fn interval(&mut self, _: u32, _: &str, _: &Interval) {
            self.0.raise();
            self.0.raise();
        }
    }
    let cancel = Cancel::new();
    let mut request = quick(Workload::Rr);
    request.common.duration_ns = Some(60_000_000_000);
    let plan = Plan::new(request).unwrap();
    let mut observer = Impatient(cancel.clone());
    let error = conduct_with(&Threads, &plan, &[], &mut observer, &cancel).unwrap_err();
    assert_eq!(error.exit_class().code(), 130);
    let document = error.document.unwrap();
    assert_eq!(
        (document.status, document.rounds.len()),
        (Status::Interrupted, 0)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_foreign_target_leaves_its_side_unknown_with_the_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            });
        }
    });
    let mut request = quick(Workload::Stream);
    request.common.target = Some(format!("tcp://127.0.0.1:{port}"));
    request.common.testee_engine = None;
    let mut log = Log::default();
    let document = run_in(&Threads, request, &mut log).unwrap();
    let round = &document.rounds[0];
    assert!(round.testee.is_empty() && round.cost.testee.cpu_ns_per_operation.is_none());
    assert_eq!(round.rates.confirmation.words(), "sender side, unconfirmed");
    assert_eq!(unexplained_nulls(&document), Vec::<String>::new());
    assert!(
        log.warnings
            .iter()
            .any(|warning| warning.code == "sender_unconfirmed")
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_is_recorded_with_the_address_that_was_used() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let mut request = quick(Workload::Echo);
    request.common.target = Some(format!("tcp://localhost:{port}"));
    request.common.testee_engine = None;
    (request.common.connections, request.common.load_agents) = (Some(4), Some(2));
    let document = run_in(&Threads, request, &mut Log::default()).unwrap();
    let target = &document.plan.target;
    assert_eq!(target.endpoint, format!("tcp://localhost:{port}"));
    assert_eq!(target.address, Some(format!("tcp://127.0.0.1:{port}")));
    assert!(target.loopback);
    assert_eq!(connections_of(&document.rounds[0].load), [2, 2]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_target_that_refuses_is_the_peers_failure() {
    let mut request = quick(Workload::Rr);
    // Bound and not listening, so that nobody else gets the port meanwhile.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    request.common.target = Some(format!("tcp://127.0.0.1:{port}"));
    request.common.testee_engine = None;
    let error = run_in(&Threads, request, &mut Log::default()).unwrap_err();
    assert_eq!(error.exit_class().code(), 4);
    assert!(error.to_string().contains("check the address"), "{error}");
    let document = error.document.unwrap();
    assert_eq!(document.status, Status::Failed);
    assert_eq!(unexplained_nulls(&document), Vec::<String>::new());
}

/// The testee's agent answers as scripted and then hangs up.
struct Scripted(&'static [&'static str]);

impl Launcher for Scripted {
    fn launch(
        &self,
        agent: &AgentPlan,
        number: usize,
        heard: Sender<Heard>,
    ) -> Result<Link, Failure> {
        if agent.role == Role::Load {
            return Threads.launch(agent, number, heard);
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let answers = self.0;
        std::thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            for answer in answers {
                if lines.next().is_none() || writeln!(theirs, "{answer}").is_err() {
                    return;
                }
            }
        });
        Link::of_streams(agent, number, ours.try_clone().unwrap(), ours, heard)
    }
}

fn failure_of(script: &'static [&'static str]) -> String {
    let error = run_in(&Scripted(script), quick(Workload::Rr), &mut Log::default()).unwrap_err();
    assert_eq!(error.exit_class(), ExitClass::Peer, "{error}");
    error.to_string()
}

#[test]
fn agents_that_break_the_protocol_end_the_run_with_one_clear_error() {
    let hello = "{\"say\":\"hello\",\"protocol\":7,\"version\":\"0.1.0\",\"git_commit\":null,\
                 \"build_target\":null,\"boot_id\":null,\"network_namespace\":null}";
    let older = "{\"say\":\"hello\",\"protocol\":7,\"version\":\"0.0.1\",\"git_commit\":null,\
                 \"build_target\":null,\"boot_id\":null,\"network_namespace\":null}";
    let scripts: [(&'static [&'static str], &str); 5] = [
        (&[], "the testee agent closed its output"),
        (Box::leak(Box::new([older])), "same version"),
        (Box::leak(Box::new([hello])), "before the round was over"),
        (Box::leak(Box::new([hello, "what?"])), "no message"),
        (
            Box::leak(Box::new([hello, "{\"say\":\"over\"}"])),
            "'prepared' was expected",
        ),
    ];
    for (script, part) in scripts {
        let error = failure_of(script);
        assert!(error.contains(part), "{error}");
    }
}

/// What an agent answers to these lines, until it hangs up.
fn conversation(lines: &[&str]) -> (Vec<FromAgent>, ExitClass) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let read = theirs.try_clone().unwrap();
    let agent = std::thread::spawn(move || crate::agent::run(read, theirs));
    for line in lines {
        let _ = writeln!(ours, "{line}");
    }
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let said = BufReader::new(ours)
        .lines()
        .map_while(Result::ok)
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    (said, agent.join().unwrap())
}

#[test]
fn an_agent_refuses_what_it_does_not_know() {
    let hello = format!(
        "{{\"say\":\"hello\",\"protocol\":{},\"version\":\"{}\"}}",
        crate::protocol::PROTOCOL,
        crate::build_info::VERSION
    );
    let failed = |said: &[FromAgent]| match said.last() {
        Some(FromAgent::Failed(failure)) => failure.text.clone(),
        other => panic!("{other:?}"),
    };
    let (said, class) = conversation(&["ls -l"]);
    assert_eq!(class, ExitClass::Peer);
    assert!(failed(&said).contains("no message"), "{said:?}");
    let (said, _) = conversation(&["{\"say\":\"hello\",\"protocol\":99,\"version\":\"9\"}"]);
    assert!(
        matches!(said[0], FromAgent::Hello(_)),
        "it says first what it is"
    );
    assert!(failed(&said).contains("same version"));
    let (said, _) = conversation(&[&hello, "{\"say\":\"go\",\"at_ns\":5}"]);
    assert!(failed(&said).contains("expected 'plan'"), "{said:?}");
    let (said, _) = conversation(&[&hello, "{\"say\":\"dance\"}"]);
    assert!(failed(&said).contains("dance"), "{said:?}");
}

#[test]
fn an_agent_whose_input_ends_goes() {
    let (said, class) = conversation(&[]);
    assert!(said.is_empty());
    assert_eq!(class, ExitClass::Interrupted);
}

#[cfg(target_os = "linux")]
#[test]
fn a_testee_whose_input_ends_removes_its_socket() {
    // Often: its workers are told to end too, which is no failure of theirs.
    for _ in 0..30 {
        end_input_of_testee();
    }
}

#[cfg(target_os = "linux")]
fn end_input_of_testee() {
    let path = std::env::temp_dir().join(format!("linerate-testee-{}.sock", std::process::id()));
    let mut request = quick(Workload::Rr);
    request.common.testee_listen = Some(format!("unix://{}", path.display()));
    let plan = Plan::new(request).unwrap();
    let task = crate::protocol::Task {
        agent: plan.agents().remove(0),
        plan,
        endpoints: Vec::new(),
        engine: None,
        poisson_seed: 0,
        cpus: crate::protocol::CpuWish::Unpinned,
        describe_host: false,
        profile: None,
        event_record: None,
    };
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let read = theirs.try_clone().unwrap();
    let agent = std::thread::spawn(move || crate::agent::run(read, theirs));
    let hello = crate::protocol::ToAgent::Hello {
        protocol: crate::protocol::PROTOCOL,
        version: crate::build_info::VERSION.into(),
    };
    write_line(&mut ours, &hello).unwrap();
    write_line(&mut ours, &crate::protocol::ToAgent::Plan(Box::new(task))).unwrap();
    let mut lines = BufReader::new(ours.try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("hello"));
    assert!(lines.next().unwrap().unwrap().contains("prepared"));
    assert!(path.exists());
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(agent.join().unwrap(), ExitClass::Interrupted);
    assert!(!path.exists(), "the socket was removed");
}
