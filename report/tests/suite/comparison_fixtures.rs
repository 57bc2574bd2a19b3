//! Fixture comparisons: made-up runs with seeded noise, in the shape that the runner gives them.

use report::comparison::*;
use report::document::*;
use report::histogram;
use report::statistics::SplitMix64;

use crate::fixtures;

pub fn all() -> Vec<(&'static str, Comparison)> {
    vec![
        ("compare_rr", rr_two_cells()),
        ("compare_stream_interrupted", stream_interrupted()),
    ]
}

/// What an arm is like, without noise.
#[derive(Clone, Copy)]
pub struct Truth {
    pub engine: &'static str,
    pub role: ArmRole,
    pub rate: f64,
    pub p99_ns: f64,
    pub testee_cpu_ns: f64,
    pub load_busy: f64,
}

fn method() -> Method {
    Method {
        rounds_planned: 8,
        warmup_ns: 1_000_000_000,
        duration_ns: Some(2_000_000_000),
        ..Method::new(42, Vary::Testee)
    }
}

fn finite(value: f64) -> Option<Finite> {
    // As if measured: whole numbers, so that the fixture does not change with the last bit of ln().
    Finite::new(value.round())
}

fn run(
    arm: u32,
    started_at_unix_ns: u64,
    truth: &Truth,
    noise: f64,
    random: &mut SplitMix64,
) -> ArmRun {
    let mut jitter = || 1.0 + 0.01 * (random.next_unit() - 0.5);
    let rate = truth.rate * noise * jitter();
    let p99 = truth.p99_ns * jitter() * jitter() / noise;
    let series = (0..20).filter_map(|_| finite(rate * jitter())).collect();
    let side = |cpu_ns: f64, busy: f64| RunSide {
        cpu_ns_per_operation: finite(cpu_ns),
        cpu_ns_per_kib: finite(cpu_ns * 8.0),
        cpu_cores_busy: Finite::new(busy),
        busy_fraction: Finite::new(busy),
        syscalls_per_operation: Some(Finite::from(2)),
        unknown: Vec::new(),
    };
    ArmRun {
        arm,
        started_at_unix_ns,
        window_length_ns: 2_000_000_000,
        operations: (rate * 2.0) as u64,
        rate_per_second: finite(rate),
        throughput_bits_per_second: finite(rate * 128.0),
        latency: Some(RunLatency {
            count: (rate * 2.0) as u64,
            mean_ns: (p99 / 2.0) as u64,
            p50_ns: (p99 / 2.2) as u64,
            p99_ns: p99 as u64,
            p99_9_ns: (p99 * 2.0 * jitter()) as u64,
            max_ns: (p99 * 30.0 * jitter()) as u64,
        }),
        load: side(3_000.0 * jitter(), truth.load_busy),
        testee: Some(side(truth.testee_cpu_ns * jitter(), 0.7)),
        hosts: vec![HostUse {
            host: "local".to_owned(),
            busy_fraction: Finite::new(0.5),
            softirq_fraction: Finite::new(0.0625),
            steal_fraction: Finite::new(0.0),
        }],
        series: RateSeries {
            slice_ns: 100_000_000,
            unit: "1/s".to_owned(),
            values: series,
        },
        ..ArmRun::default()
    }
}

fn arm(truth: &Truth, plan: &Plan) -> Arm {
    let mut recorded = histogram::new();
    for step in 0..1000u64 {
        let value_ns = truth.p99_ns as u64 / 3 + step * truth.p99_ns as u64 / 1400;
        recorded.record_n(value_ns, 1 + 20 / (step + 1)).unwrap();
    }
    let engine = |name: &str| EngineUse {
        requested: name.to_owned(),
        used: name.to_owned(),
        reason: "asked for by name".to_owned(),
        ..EngineUse::default()
    };
    let again = match truth.role {
        ArmRole::Control => " (again)",
        _ => "",
    };
    Arm {
        label: format!("{}{again}", truth.engine),
        role: truth.role,
        plan: plan.clone(),
        load_engine: engine("epoll"),
        testee_engine: Some(engine(truth.engine)),
        profiles: Vec::new(),
        command: format!(
            "linerate run {} --connections {} --engine epoll --testee-engine {} --duration 2s --warmup 1s",
            plan.workload.name(),
            plan.connections,
            truth.engine
        ),
        latency_kind: Some("service".to_owned()),
        latency: LatencySummary::from_histogram(&recorded).unwrap(),
    }
}

/// A cell of `rounds` counted rounds and a discarded one before them.
pub fn cell(connections: u64, rounds: u32, truths: &[Truth], seed: u64) -> Cell {
    let plan = Plan {
        connections,
        duration_ns: Some(2_000_000_000),
        ..fixtures::plan(Workload::Rr)
    };
    let mut random = SplitMix64::new(seed);
    let mut round = |number: u32| {
        let mut order: Vec<u32> = (0..truths.len() as u32).collect();
        random.shuffle(&mut order);
        // The machine has slower and faster minutes, which all arms of a round share.
        let minute = 1.0 + 0.04 * (random.next_unit() - 0.5);
        let started = 1_795_224_600_000_000_000 + u64::from(number) * 15_000_000_000;
        let runs = (0..).zip(truths).map(|(number, truth)| {
            let place = order.iter().position(|arm| *arm == number).unwrap() as u64;
            run(
                number,
                started + place * 3_500_000_000,
                truth,
                minute,
                &mut random,
            )
        });
        CellRound {
            number,
            discarded: number == 0,
            started_at_unix_ns: started,
            runs: runs.collect(),
            order: order.clone(),
            remarks: Vec::new(),
        }
    };
    Cell {
        label: format!("rr, {connections} connections"),
        workload: Workload::Rr,
        connections,
        primary_metrics: Metric::primary(Workload::Rr, Vary::Testee),
        rounds: (0..=rounds).map(&mut round).collect(),
        arms: truths.iter().map(|truth| arm(truth, &plan)).collect(),
        stopped: StopReason::Rounds,
        analysis: None,
    }
}

fn comparison(command: &str, cells: Vec<Cell>) -> Comparison {
    let command = command.split(' ').map(str::to_owned).collect();
    let mut comparison = Comparison::new("0.1.0", command, method());
    comparison.set_started(1_795_224_600_000_000_000);
    comparison.set_build(Some("4a8ccae"), Some("x86_64-unknown-linux-gnu"));
    comparison.status = Status::Ok;
    comparison.hosts = vec![fixtures::host()];
    comparison.cells = cells;
    analyse_all(&mut comparison);
    comparison
}

pub const URING: Truth = Truth {
    engine: "uring",
    role: ArmRole::Baseline,
    rate: 93_400.0,
    p99_ns: 31_000.0,
    testee_cpu_ns: 5_200.0,
    load_busy: 0.81,
};

/// Needs 17 % more CPU and is 6 % slower.
pub const EPOLL: Truth = Truth {
    engine: "epoll",
    role: ArmRole::Arm,
    rate: 88_100.0,
    testee_cpu_ns: 6_100.0,
    ..URING
};

pub fn again(truth: Truth) -> Truth {
    Truth {
        role: ArmRole::Control,
        ..truth
    }
}

fn rr_two_cells() -> Comparison {
    let blocking = Truth {
        engine: "blocking",
        p99_ns: 28_000.0,
        ..EPOLL
    };
    let few = [URING, again(URING), EPOLL, blocking];
    let many = few.map(|truth| Truth {
        rate: 210_000.0,
        p99_ns: truth.p99_ns * 6.0,
        load_busy: 0.97,
        ..truth
    });
    comparison(
        "linerate compare rr --engines uring,epoll,blocking --connections 4,16",
        vec![cell(4, 8, &few, 1), cell(16, 8, &many, 2)],
    )
}

/// Ended by somebody in the second round, with an arm that could not run.
fn stream_interrupted() -> Comparison {
    let plan = Plan {
        direction: Some(Direction::Send),
        ..fixtures::plan(Workload::Stream)
    };
    let tokio = Truth {
        engine: "tokio-uring",
        role: ArmRole::Arm,
        ..URING
    };
    let mut cell = cell(1, 2, &[URING, again(URING), tokio], 3);
    cell.label = "stream (send), 1 connection".to_owned();
    cell.workload = Workload::Stream;
    cell.primary_metrics = Metric::primary(Workload::Stream, Vary::Testee);
    cell.stopped = StopReason::Interrupted;
    for arm in &mut cell.arms {
        arm.plan = plan.clone();
        (arm.latency, arm.latency_kind) = (None, None);
    }
    for round in &mut cell.rounds {
        for run in &mut round.runs {
            run.latency = None;
            run.series.unit = "bit/s".to_owned();
        }
        let started = round.runs[2].started_at_unix_ns;
        round.runs[2] = ArmRun::failed(
            2,
            started,
            Message::new("engine_unavailable", "tokio-uring: io_uring_setup: EPERM"),
        );
    }
    cell.rounds[2].discarded = true;
    cell.rounds[2].runs.truncate(1);
    let mut comparison = comparison(
        "linerate compare stream --engines uring,tokio-uring",
        vec![cell],
    );
    comparison.status = Status::Interrupted;
    comparison
}
