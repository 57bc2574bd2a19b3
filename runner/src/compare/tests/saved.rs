//! What decides, and two saved results.

use super::*;
use crate::plan::{RrRequest, ShapeRequest};

/// The shape of a request of `rr`.
fn rr(request: &mut PlanRequest) -> &mut RrRequest {
    match &mut request.shape {
        ShapeRequest::Rr(shape) => shape,
        other => panic!("{other:?}"),
    }
}

fn by_testee() -> SavedMethod {
    SavedMethod {
        vary: Vary::Testee,
        metrics: Vec::new(),
        allow_different: false,
    }
}

#[test]
fn saved_results_are_compared_with_a_warning() {
    let plan = Plan::new(arm("epoll").request).unwrap();
    let run = |label: &str, rounds: usize| {
        let mut document = Playhouse::default().document(&plan);
        let round = document.rounds[0].clone();
        document.rounds = vec![round; rounds];
        SavedRun {
            label: label.to_owned(),
            document,
        }
    };
    let comparison = saved(&run("old.json", 8), &run("new.json", 9), &by_testee()).unwrap();
    let cell = &comparison.cells[0];
    assert_eq!(
        (cell.rounds.len(), cell.baseline(), cell.control()),
        (9, Some(0), None)
    );
    let runs = |arm: u32| {
        let runs = cell.rounds.iter().flat_map(|round| &round.runs);
        runs.filter(|run| run.arm == arm).count()
    };
    assert_eq!(
        (runs(0), runs(1)),
        (8, 9),
        "none is dropped for want of a partner"
    );
    let codes = |comparison: &Comparison| -> Vec<String> {
        let warnings = comparison.warnings.iter();
        warnings.map(|warning| warning.code.clone()).collect()
    };
    assert_eq!(codes(&comparison), ["not_interleaved"]);
    let mut elsewhere = run("new.json", 9);
    elsewhere.document.hosts[0].governor = Some("performance".into());
    let comparison_elsewhere = saved(&run("old.json", 8), &elsewhere, &by_testee()).unwrap();
    assert_eq!(
        codes(&comparison_elsewhere),
        ["not_interleaved", "other_machine"]
    );
    let text = &comparison_elsewhere.warnings[1].text;
    assert!(
        text.contains("governor schedutil and performance"),
        "{text}"
    );
    assert_eq!(unexplained_nulls(&comparison.cells), Vec::<String>::new());
    let metrics = [
        Metric::Rate,
        Metric::LatencyP99,
        Metric::TesteeCpuPerOperation,
    ];
    assert_eq!(cell.primary_metrics, metrics);
    assert!(!comparison.method.interleaved);
    let error = saved(&run("old.json", 0), &run("new.json", 9), &by_testee()).unwrap_err();
    assert!(
        error.to_string().contains("old.json has no complete round"),
        "{error}"
    );
    let mut other = run("new.json", 8);
    other.document.plan.workload = Workload::Echo;
    assert!(saved(&run("old.json", 8), &other, &by_testee()).is_err());
}

#[test]
fn declared_metrics_are_the_questions() {
    let declare = |names: &[&str]| {
        let mut request = request(&["epoll", "blocking"], 1);
        request.metrics = names.iter().map(|name| name.parse().unwrap()).collect();
        request
    };
    let experiment = Experiment::new(declare(&["cpu_per_op"])).unwrap();
    let cpu = Metric::TesteeCpuPerOperation;
    assert_eq!(experiment.cells[0].primary_metrics, [cpu]);
    assert_eq!(experiment.method.declared_metrics, [cpu]);
    assert_eq!(
        experiment.method.rounds_minimum, 6,
        "one comparison and not three"
    );
    let twice = Experiment::new(declare(&["p99", "cpu_per_op", "testee_cpu_per_op"])).unwrap();
    assert_eq!(twice.cells[0].primary_metrics, [Metric::LatencyP99, cpu]);

    let mut foreign = declare(&["cpu_per_op"]);
    for arm in &mut foreign.cells[0].arms {
        arm.request.common.testee_engine = None;
        arm.request.common.target = Some("tcp://127.0.0.1:9".into());
    }
    let error = Experiment::new(foreign).unwrap_err().to_string();
    assert!(
        error.contains("--metric does not go with a target"),
        "{error}"
    );
    let mut stream = declare(&["p99"]);
    for arm in &mut stream.cells[0].arms {
        let common = arm.request.common.clone();
        arm.request = PlanRequest {
            common,
            ..PlanRequest::of(Workload::Stream)
        };
    }
    let error = Experiment::new(stream).unwrap_err().to_string();
    assert!(error.contains("p99 of stream"), "{error}");
}

#[test]
fn results_of_different_work_are_compared_only_if_that_is_asked_for() {
    let run = |label: &str, change: fn(&mut PlanRequest)| {
        let mut request = arm("epoll").request;
        change(&mut request);
        let plan = Plan::new(request).unwrap();
        SavedRun {
            label: label.to_owned(),
            document: Playhouse::default().document(&plan),
        }
    };
    let old = run("old.json", |_| {});
    let eight = run("new.json", |request| request.common.connections = Some(8));
    let error = saved(&old, &eight, &by_testee()).unwrap_err().to_string();
    assert!(
        error
            .starts_with("old.json and new.json are not of the same work: --connections 1 and 8; ")
            && error.contains("--allow-different"),
        "{error}"
    );
    let method = SavedMethod {
        allow_different: true,
        ..by_testee()
    };
    let comparison = saved(&old, &eight, &method).unwrap();
    assert_eq!(
        comparison.warnings[0].text,
        "the results are not of the same work: --connections 1 and 8"
    );
    let headline = report::comparison::words::headline(&comparison);
    assert!(
        headline.starts_with("The results are not of the same work: --connections 1 and 8. "),
        "{headline}"
    );
    // Another way of doing the same work is what results are compared for: it is said.
    let other_way = run("new.json", |request| {
        request.common.testee_engine = Some("blocking".into());
        request.common.duration_ns = Some(2_000_000_000);
    });
    let comparison = saved(&old, &other_way, &by_testee()).unwrap();
    assert_eq!(
        comparison.warnings[0].text,
        "what differs between the plans: --testee-engine epoll and blocking, length 1 s and 2 s"
    );
    let paced = |label: &str, change: fn(&mut PlanRequest)| {
        let mut request = arm("epoll").request;
        rr(&mut request).pace.rate_per_second = Some(1000.0);
        change(&mut request);
        SavedRun {
            label: label.to_owned(),
            document: Playhouse::default().document(&Plan::new(request).unwrap()),
        }
    };
    let (own, shared) = (
        paced("own.json", |_| {}),
        paced("shared.json", |request| {
            rr(request).pace.queue = Some(report::document::Queue::Shared);
        }),
    );
    let comparison = saved(&own, &shared, &by_testee()).unwrap();
    assert_eq!(
        comparison.warnings[0].text,
        "what differs between the plans: --queue own and shared"
    );
    for (change, named) in [
        (
            (|request| rr(request).exchange.request_bytes = Some(64)) as fn(&mut PlanRequest),
            "sizes --request 1",
        ),
        (
            |request| rr(request).pace.rate_per_second = Some(1000.0),
            "--rate none (closed loop) and 1.00 k/s",
        ),
        (|request| rr(request).depth = Some(4), "--depth 1 and 4"),
    ] {
        let other = run("new.json", change);
        let error = saved(&old, &other, &by_testee()).unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
}
