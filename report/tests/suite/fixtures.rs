//! Fixture documents, built the way the runner builds them: sides first, the rest assembled.

use std::collections::BTreeMap;

use report::assemble::{self, RoundParts};
use report::document::*;
use report::histogram;

pub const NAMES: [&str; 9] = [
    "rr_one_round",
    "rr_five_rounds",
    "stream_foreign_target",
    "echo_open_loop_with_errors",
    "crr_interrupted",
    "failed_before_it_began",
    "rr_under_a_profile",
    "connect_with_losses",
    "ws_ten_thousand_clients",
];

pub fn all() -> Vec<(&'static str, Document)> {
    NAMES
        .into_iter()
        .zip([
            rr_one_round(),
            rr_five_rounds(),
            stream_foreign_target(),
            echo_open_loop_with_errors(),
            crr_interrupted(),
            failed_before_it_began(),
            rr_under_a_profile(),
            connect_with_losses(),
            ws_ten_thousand_clients(),
        ])
        .collect()
}

/// The document as a program would read it.
pub fn tree(document: &Document) -> serde_json::Value {
    serde_json::from_str(&report::json::render(document).unwrap()).unwrap()
}

const SECOND_NS: u64 = 1_000_000_000;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn map<V: Clone>(entries: &[(&str, V)]) -> BTreeMap<String, V> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub fn plan(workload: Workload) -> Plan {
    Plan {
        workload,
        direction: None,
        target: Target {
            endpoint: "tcp://127.0.0.1:40001".to_owned(),
            address: None,
            transport: "tcp".to_owned(),
            loopback: true,
            own_testee: true,
            testee_via: None,
            more_testee_via: Vec::new(),
            addresses: Vec::new(),
        },
        load_agents: 1,
        load_via: Vec::new(),
        ranks: None,
        connections: 1,
        threads: 1,
        testee_threads: Some(1),
        testee_agents: Some(1),
        engine: EngineRequest {
            load: "auto".to_owned(),
            testee: Some("auto".to_owned()),
        },
        duration_ns: Some(10 * SECOND_NS),
        count: None,
        warmup_ns: SECOND_NS,
        interval_ns: SECOND_NS,
        repeat: 1,
        pace: Pace::Closed,
        dialing: None,
        web_socket: None,
        queue: None,
        bitrate_bits_per_second: None,
        pacing_rate_bits_per_second: None,
        depth: 1,
        sizes: Sizes {
            request_bytes: Some(1),
            response_bytes: Some(1),
            message_bytes: None,
        },
        timeout_ns: 5 * SECOND_NS,
        connect_timeout_ns: 5 * SECOND_NS,
        verify: false,
        closer: None,
        close: None,
        socket_options: texts(&[("nodelay", "on")]),
        sources: Vec::new(),
        placement: PlacementRequest {
            load: "different physical cores".to_owned(),
            testee: Some("different physical cores".to_owned()),
        },
    }
}

fn window() -> Window {
    Window {
        start_offset_ns: SECOND_NS,
        length_ns: 10_000_400_000,
        warmup_ns: SECOND_NS,
        nominal_ns: Some(10 * SECOND_NS),
    }
}

/// A distribution with a body around `typical_ns` and a tail of a hundred times that.
fn distribution(count: u64, typical_ns: u64) -> Option<LatencySummary> {
    let mut recorded = histogram::new();
    for step in 0..100 {
        let value_ns = typical_ns + typical_ns * step / 200;
        recorded.record_n(value_ns, count / 100).unwrap();
    }
    recorded.record_n(typical_ns * 20, count / 2000).unwrap();
    recorded.record(typical_ns * 100).unwrap();
    LatencySummary::from_histogram(&recorded).unwrap()
}

fn side(role: Role, engine: &str, cpu: u32, operations: u64, bytes: [u64; 2]) -> Side {
    let load = role == Role::Load;
    Side {
        agent: role.name().to_owned(),
        role,
        host: "local".to_owned(),
        pid: None,
        window: window(),
        engine: EngineUse {
            requested: "auto".to_owned(),
            used: engine.to_owned(),
            reason: "io_uring works here and has every feature that the engine needs".to_owned(),
            other: load.then(|| match engine {
                "uring" => "epoll".to_owned(),
                _ => "blocking".to_owned(),
            }),
            features: texts(&[("DEFER_TASKRUN", "granted"), ("buffers", "256 x 4096 B")]),
            options: vec![EngineOption {
                name: "spin".to_owned(),
                requested: None,
                granted: Some("0us".to_owned()),
            }],
        },
        threads: 1,
        thread_per_connection: false,
        busiest_thread_share: None,
        workers: vec![Worker {
            cpu_requested: Some(cpu),
            cpus_granted: vec![cpu],
            connections: 1,
            cpu_ns: None,
        }],
        accept_strategy: (!load).then_some(AcceptStrategy::Reuseport),
        process: ProcessCost {
            cpu_ns: Some(if load { 8_712_000_000 } else { 8_101_000_000 }),
            user_tick_sampled_ns: Some(1_910_000_000),
            system_tick_sampled_ns: Some(6_790_000_000),
            voluntary_context_switches: Some(operations),
            involuntary_context_switches: Some(11),
            syscalls: Some(operations + 37),
            max_rss_bytes: Some(9_437_184),
            rss_before_bytes: None,
            unknown: Vec::new(),
        },
        engine_counters: map(&[("enobufs", 0), ("cq_overflow", 0), ("short_sends", 0)]),
        measured: Measurement {
            totals: Totals {
                operations,
                bytes_sent: bytes[0],
                bytes_received: bytes[1],
                connections_opened: 1,
            },
            latency: Latencies {
                service: load.then(|| distribution(operations, 9_000)).flatten(),
                ..Latencies::default()
            },
            intervals: if load {
                intervals(operations, bytes)
            } else {
                Vec::new()
            },
            ..Measurement::default()
        },
        tcp_info: Some(TcpInfo {
            connections_sampled: 1,
            rtt_us: Some(Spread {
                min: 12,
                median: 12,
                max: 12,
            }),
            rttvar_us: Some(Spread {
                min: 4,
                median: 4,
                max: 4,
            }),
            retransmits_total: Some(0),
            cwnd_segments: Some(Spread {
                min: 10,
                median: 10,
                max: 10,
            }),
            mss_bytes: Some(Spread {
                min: 32_741,
                median: 32_741,
                max: 32_741,
            }),
            congestion_control: Some("cubic".to_owned()),
            unknown: Vec::new(),
        }),
        socket_options: vec![SocketOption {
            name: "nodelay".to_owned(),
            requested: Some("on".to_owned()),
            granted: Some("on".to_owned()),
            granted_unknown: None,
        }],
        event_record: None,
        unknown: if load {
            vec![Unknown::new(
                "accept_strategy",
                "the load side accepts nothing",
            )]
        } else {
            Vec::new()
        },
    }
}

fn intervals(operations: u64, bytes: [u64; 2]) -> Vec<Interval> {
    (0..2)
        .map(|index| Interval {
            start_offset_ns: index * 5 * SECOND_NS,
            length_ns: 5 * SECOND_NS,
            operations: operations / 2,
            bytes_sent: bytes[0] / 2,
            bytes_received: bytes[1] / 2,
            errors: 0,
            latency_mean_ns: Finite::new(10_250.5),
            latency_max_ns: Some(900_000),
            ..Interval::default()
        })
        .collect()
}

fn activity() -> HostActivity {
    HostActivity {
        host: "local".to_owned(),
        length_ns: 10_000_500_000,
        cpu: Some(SystemCpu::from_times(
            4,
            4_010_000_000,
            12_800_000_000,
            1_230_000_000,
            20_000_000,
            21_940_000_000,
        )),
        service_demand: None,
        slab_bytes_per_socket: None,
        kernel_counters: map(&[("Tcp.InSegs", 1_868_061), ("TcpExt.TCPPureAcks", 17)]),
        unknown: Vec::new(),
    }
}

pub fn host() -> Host {
    Host {
        id: "local".to_owned(),
        roles: vec![Role::Load, Role::Testee],
        via: None,
        joined_from: None,
        name: Some("bench1".to_owned()),
        kernel: Some("Linux 6.18.44".to_owned()),
        os: Some("Debian GNU/Linux 13".to_owned()),
        architecture: Some("x86_64".to_owned()),
        cpu_model: Some("Example CPU".to_owned()),
        cpu_count: Some(4),
        physical_cores: Some(2),
        governor: None,
        clocksource: Some("tsc".to_owned()),
        mitigations: texts(&[("spectre_v2", "Mitigation: Enhanced IBRS")]),
        congestion_control: Some("cubic".to_owned()),
        interface: Some(NetworkInterface {
            name: "lo".to_owned(),
            mtu_bytes: Some(65_536),
            qdisc: Some("noqueue".to_owned()),
            unknown: Vec::new(),
        }),
        sysctls: texts(&[("net.core.somaxconn", "4096")]),
        profile: None,
        limits: Some(Limits {
            nofile: Limit {
                soft: LimitValue::Limited(1_048_576),
                hard: LimitValue::Limited(1_048_576),
            },
            memlock_bytes: Some(Limit {
                soft: LimitValue::Limited(8_388_608),
                hard: LimitValue::UNLIMITED,
            }),
        }),
        io_uring: Some(IoUringState {
            available: true,
            disabled_sysctl: Some(0),
            probe: "ok".to_owned(),
            unknown: Vec::new(),
        }),
        hypervisor: Some("kvm".to_owned()),
        facts: texts(&[("smt", "off"), ("cgroup_cpu_quota", "none")]),
        missing: texts(&[("net.core.busy_poll", "no such key on this kernel")]),
        clock_offset: Some(ClockOffset {
            offset_ns: 0,
            error_ns: 12_000,
        }),
        unknown: vec![
            Unknown::new("governor", "the kernel shows no cpufreq for this CPU"),
            Unknown::new("profile", "no profile was asked for"),
        ],
    }
}

fn document(command: &str, plan: Plan, parts: Vec<RoundParts>) -> Document {
    let mut document = Document::new("0.1.0", words(command), plan);
    document.set_started(1_795_224_600_123_456_789);
    document.set_build(Some("4a8ccae"), Some("x86_64-unknown-linux-gnu"));
    document.status = Status::Ok;
    document.hosts = vec![host()];
    document.rounds = parts
        .into_iter()
        .map(|parts| assemble::round(&document.plan, parts).unwrap())
        .collect();
    document.set_summary(assemble::summary(&document.rounds));
    document.warnings = report::warnings::from_rounds(&document);
    document
}

pub fn rr_parts(number: u32, operations: u64) -> RoundParts {
    RoundParts {
        number,
        ended_early: false,
        poisson_seed: None,
        invalid: Vec::new(),
        go_unix_ns: None,
        start_skew_ns: None,
        one_machine: Vec::new(),
        lost: Vec::new(),
        load: vec![side(Role::Load, "uring", 0, operations, [operations; 2])],
        testee: vec![side(Role::Testee, "uring", 2, operations, [operations; 2])],
        hosts: vec![activity()],
    }
}

fn rr_one_round() -> Document {
    document(
        "linerate run rr",
        plan(Workload::Rr),
        vec![rr_parts(1, 934_012)],
    )
}

fn rr_five_rounds() -> Document {
    let rates = [934_012, 921_110, 948_350, 930_077, 952_003];
    let plan = Plan {
        repeat: 5,
        ..plan(Workload::Rr)
    };
    let parts = (1..)
        .zip(rates)
        .map(|(number, operations)| rr_parts(number, operations));
    document("linerate run rr --repeat 5", plan, parts.collect())
}

fn stream_foreign_target() -> Document {
    let plan = Plan {
        direction: Some(Direction::Send),
        target: Target {
            endpoint: "tcp://10.0.0.2:9001".to_owned(),
            address: None,
            transport: "tcp".to_owned(),
            loopback: false,
            own_testee: false,
            testee_via: None,
            more_testee_via: Vec::new(),
            addresses: Vec::new(),
        },
        testee_threads: None,
        testee_agents: None,
        engine: EngineRequest {
            load: "epoll".to_owned(),
            testee: None,
        },
        sizes: Sizes {
            message_bytes: Some(131_072),
            ..Sizes::default()
        },
        placement: PlacementRequest {
            load: "unpinned".to_owned(),
            testee: None,
        },
        ..plan(Workload::Stream)
    };
    let messages = 88_123;
    let mut load = side(Role::Load, "epoll", 0, messages, [messages * 131_072, 0]);
    load.engine.requested = "epoll".to_owned();
    load.workers[0].cpu_requested = None;
    load.workers[0].cpus_granted = vec![0, 1, 2, 3];
    load.measured.latency = Latencies::default();
    load.process.syscalls = None;
    load.process.unknown = vec![Unknown::new(
        "syscalls",
        "this build of the engine does not count them",
    )];
    if let Some(tcp) = &mut load.tcp_info {
        tcp.retransmits_total = Some(17);
        tcp.rtt_us = Some(Spread {
            min: 180,
            median: 260,
            max: 410,
        });
    }
    let parts = RoundParts {
        load: vec![load],
        testee: Vec::new(),
        hosts: vec![HostActivity {
            kernel_counters: map(&[("Tcp.RetransSegs", 17), ("softnet.dropped", 2)]),
            ..activity()
        }],
        ..rr_parts(1, 1)
    };
    document(
        "linerate run stream tcp://10.0.0.2:9001 --engine epoll --direction send",
        plan,
        vec![parts],
    )
}

fn echo_open_loop_with_errors() -> Document {
    let plan = Plan {
        connections: 64,
        verify: true,
        pace: Pace::Poisson {
            rate_per_second: Finite::from(50_000),
            seed: Some(7),
        },
        queue: Some(Queue::Shared),
        sizes: Sizes {
            message_bytes: Some(1024),
            ..Sizes::default()
        },
        ..plan(Workload::Echo)
    };
    let operations = 450_018;
    let mut load = side(Role::Load, "uring", 0, operations, [operations * 1024; 2]);
    load.workers[0].connections = 64;
    load.process.cpu_ns = Some(9_910_000_000);
    load.measured.latency.response = distribution(operations, 40_000);
    load.measured.latency.error = distribution(100, 2_000_000);
    load.measured.schedule_lag = distribution(operations, 2_500);
    load.measured.errors = vec![
        ErrorCount {
            kind: ErrorKind::Reset,
            count: 12,
            text: Some("recv on connection 3: Connection reset by peer (ECONNRESET)".to_owned()),
        },
        ErrorCount {
            kind: ErrorKind::Mismatch,
            count: 1,
            text: None,
        },
    ];
    load.measured.unfinished = Unfinished {
        count: 5,
        never_sent: Some(3),
        text: None,
        oldest_age_ns: Some(1_730_000_000),
        age: distribution(100, 17_300_000),
    };
    load.engine_counters.insert("enobufs".to_owned(), 41);
    let mut testee = side(Role::Testee, "epoll", 2, operations, [operations * 1024; 2]);
    testee.engine.requested = "epoll".to_owned();
    testee.workers[0].connections = 64;
    let parts = RoundParts {
        load: vec![load],
        testee: vec![testee],
        ..rr_parts(1, 1)
    };
    document(
        "linerate run echo --connections 64 --size 1K --rate 50k --testee-engine epoll",
        plan,
        vec![parts],
    )
}

fn crr_interrupted() -> Document {
    let plan = Plan {
        closer: Some(Closer::Client),
        close: Some(CloseHow::Fin),
        target: Target {
            endpoint: "unix:///run/x.sock".to_owned(),
            address: None,
            transport: "unix".to_owned(),
            ..plan(Workload::Crr).target
        },
        ..plan(Workload::Crr)
    };
    let operations = 60_100;
    let mut parts = rr_parts(1, operations);
    parts.ended_early = true;
    parts.load[0].window.length_ns = 2_500_000_000;
    for side in parts.load.iter_mut().chain(&mut parts.testee) {
        side.window.length_ns = 2_500_000_000;
        side.measured.totals.connections_opened = operations;
        side.workers[0].connections = operations;
        side.tcp_info = None;
        side.unknown
            .push(Unknown::new("tcp_info", "a Unix socket has none"));
        side.process.cpu_ns = Some(1_900_000_000);
    }
    let latency = &mut parts.load[0].measured.latency;
    latency.connect = distribution(operations, 14_000);
    latency.total = distribution(operations, 38_000);
    let mut document = document("linerate run crr unix:///run/x.sock", plan, vec![parts]);
    document.status = Status::Interrupted;
    document
}

/// 1,000 connections in batches, of which some are refused, some lost, and some were not even begun.
fn connect_with_losses() -> Document {
    const INTERVAL_NS: u64 = 100_000_000;
    let plan = Plan {
        connections: 1_000,
        count: Some(1_000),
        duration_ns: None,
        warmup_ns: 0,
        interval_ns: INTERVAL_NS,
        dialing: Some(Dialing {
            rate_per_second: None,
            batch: Some(200),
            batch_delay_ns: Some(2 * INTERVAL_NS),
            at_once: 200,
            hold_ns: Some(2 * SECOND_NS),
            closing: Closing::AllAtOnce,
        }),
        ..plan(Workload::Connect)
    };
    let mut parts = rr_parts(1, 980);
    for side in parts.load.iter_mut().chain(&mut parts.testee) {
        side.window.length_ns = 10 * INTERVAL_NS;
        side.process.cpu_ns = Some(30_000_000);
        side.process.rss_before_bytes = Some(8_388_608);
        side.measured.totals.bytes_sent = 0;
        side.measured.totals.bytes_received = 0;
        side.measured.totals.connections_opened = 980;
    }
    let measured = &mut parts.load[0].measured;
    measured.errors = vec![ErrorCount {
        kind: ErrorKind::ConnectRefused,
        count: 15,
        text: Some(
            "connect to tcp://127.0.0.1:40001: Connection refused (os error 111)".to_owned(),
        ),
    }];
    measured.unfinished = Unfinished {
        count: 5,
        never_sent: Some(5),
        oldest_age_ns: Some(SECOND_NS),
        ..Unfinished::default()
    };
    measured.held = Some(Held {
        length_ns: 2 * SECOND_NS,
        standing: 970,
        most_at_once: 980,
        lost_total: 10,
        lost: vec![ErrorCount {
            kind: ErrorKind::ClosedEarly,
            count: 10,
            text: Some("the peer closed the connection".to_owned()),
        }],
    });
    measured.latency.connect = measured.latency.service.clone();
    measured.intervals = (0..10)
        .map(|index| Interval {
            start_offset_ns: index * INTERVAL_NS,
            length_ns: INTERVAL_NS,
            operations: if index % 2 == 0 { 150 } else { 46 },
            errors: if index % 2 == 0 { 0 } else { 3 },
            connections_started: if index % 2 == 0 { 199 } else { 0 },
            connections_lost: u64::from(index == 9),
            ..Interval::default()
        })
        .collect();
    parts.hosts[0].kernel_counters = map(&[
        ("TcpExt.ListenDrops", 4),
        ("TcpExt.TCPReqQFullDoCookies", 7),
        ("sockstat.TCP_inuse", 1_950),
        ("memory.slab_bytes", 9_400_000),
    ]);
    document(
        "linerate run connect -c 1000 --batch 200",
        plan,
        vec![parts],
    )
}

/// The C10K WebSocket test against a server that not all clients get in to, and that loses some.
fn ws_ten_thousand_clients() -> Document {
    let plan = Plan {
        connections: 10_000,
        warmup_ns: 11 * SECOND_NS,
        pace: Pace::Each {
            every_ns: SECOND_NS,
            rate_per_second: 10_000_u32.into(),
        },
        depth: 16,
        sizes: Sizes {
            message_bytes: Some(64),
            ..Sizes::default()
        },
        connect_timeout_ns: 2 * SECOND_NS,
        verify: true,
        web_socket: Some(WebSocketPlan {
            path: "/echo".to_owned(),
            origin: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            sends: MessageKind::Binary,
            fragment_bytes: None,
            client_every_ns: Some(1_000_000),
            message_every_ns: Some(SECOND_NS),
        }),
        ..plan(Workload::Ws)
    };
    let mut parts = rr_parts(1, 99_800);
    for side in parts.load.iter_mut().chain(&mut parts.testee) {
        side.process.rss_before_bytes = Some(8_388_608);
        side.measured.totals.connections_opened = 9_990;
    }
    let measured = &mut parts.load[0].measured;
    measured.latency.response = measured.latency.service.clone();
    measured.latency.connect = measured.latency.service.clone();
    measured.latency.handshake = measured.latency.service.clone();
    let errors = |kind, count, text: &str| {
        vec![ErrorCount {
            kind,
            count,
            text: Some(text.to_owned()),
        }]
    };
    let late = "connecting to tcp://127.0.0.1:40001 took longer than 2000 ms";
    let point = |step: u64| RampPoint {
        at_ns: step * SECOND_NS,
        started: (step * 1_000).min(10_000),
        opened: (step * 1_000)
            .min(9_990)
            .saturating_sub(20 * u64::from(step < 11)),
        failed: if step < 8 { 0 } else { 10 },
        lost: u64::from(step > 5),
    };
    measured.clients = Some(Clients {
        started: 10_000,
        opened: 9_990,
        standing: 9_987,
        not_opened: 0,
        failed_total: 10,
        failed: errors(ErrorKind::ConnectTimeout, 10, late),
        lost_total: 3,
        lost: errors(
            ErrorKind::Reset,
            3,
            "the connection was lost: Connection reset by peer (os error 104)",
        ),
        answers: Some(ClientAnswers {
            least: 4,
            mean: 10_u32.into(),
            most: 11,
        }),
        mean_latency: measured.latency.service.clone(),
        longest_latency: measured.latency.service.clone(),
        ramp: (1..=11).map(point).collect(),
    });
    document(
        "linerate run ws --clients 10000 --ramp 1ms --message-every 1s --path /echo",
        plan,
        vec![parts],
    )
}

fn failed_before_it_began() -> Document {
    let mut document = Document::new(
        "0.1.0",
        words("linerate run rr tcp://127.0.0.1:9"),
        plan(Workload::Rr),
    );
    document.errors.push(
        Message::new(
            "target_refused",
            "could not connect to tcp://127.0.0.1:9: Connection refused (ECONNREFUSED)",
        )
        .with_cure("start a testee there: linerate serve --listen tcp://127.0.0.1:9 --role rr"),
    );
    document
}

fn setting(key: &str, class: SettingClass, values: [&str; 3]) -> ProfileKey {
    let [requested, before, effective] = values.map(str::to_owned);
    ProfileKey {
        key: key.to_owned(),
        class,
        requested,
        before: Some(before),
        effective: Some(effective),
        reason: "an example".to_owned(),
        source: "https://example.org/tuning".to_owned(),
        note: None,
    }
}

/// Three rounds under a profile; in the second, somebody else wrote one of its settings.
fn rr_under_a_profile() -> Document {
    let plan = Plan {
        repeat: 3,
        ..plan(Workload::Rr)
    };
    let rates = [934_012, 921_110, 948_350];
    let mut parts: Vec<RoundParts> = (1..)
        .zip(rates)
        .map(|(number, operations)| rr_parts(number, operations))
        .collect();
    parts[1].invalid = vec![Message::new(
        "profile_drift",
        "round 2: net.core.somaxconn of host local is 128 instead of 8192",
    )];
    let mut document = document(
        "linerate run rr --profile wsdemo-2012 --repeat 3",
        plan,
        parts,
    );
    let limit = |agent: &str, got| ProfileLimit {
        agent: agent.to_owned(),
        name: "nofile".to_owned(),
        wanted: LimitValue::Limited(999_999),
        got: Limit {
            soft: LimitValue::Limited(got),
            hard: LimitValue::Limited(got),
        },
        obstacle: (got < 999_999).then(|| "the hard limit, which only root may raise".to_owned()),
    };
    let mut missing = setting("net.core.gone", SettingClass::Missing, ["= 1", "", ""]);
    (missing.before, missing.effective) = (None, None);
    missing.note = Some("optional, and this kernel does not have it".to_owned());
    let host = &mut document.hosts[0];
    host.unknown.retain(|entry| entry.field != "profile");
    host.profile = Some(AppliedProfile {
        name: "wsdemo-2012".to_owned(),
        hash: "0f3a".to_owned(),
        hold: ProfileHold::Run,
        keys: vec![
            setting(
                "net.core.somaxconn",
                SettingClass::Raises,
                [">= 8192", "4096", "8192"],
            ),
            setting(
                "net.ipv4.tcp_syncookies",
                SettingClass::Unchanged,
                ["= 1", "1", "1"],
            ),
            setting(
                "net.ipv4.tcp_mem",
                SettingClass::Lowers,
                [
                    "= 50576 64768 98152",
                    "287832 383779 575664",
                    "50576 64768 98152",
                ],
            ),
            missing,
        ],
        limits: vec![limit("load", 20_000), limit("testee", 1_048_576)],
    });
    document
}
