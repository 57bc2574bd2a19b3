use super::*;
use report::document;

fn rejected(change: impl FnOnce(&mut PlanRequest)) -> String {
    let mut request = PlanRequest::default();
    change(&mut request);
    Plan::new(request)
        .expect_err("it must be refused")
        .to_string()
}

fn accepted(change: impl FnOnce(&mut PlanRequest)) -> Plan {
    let mut request = PlanRequest::default();
    change(&mut request);
    Plan::new(request).unwrap()
}

#[test]
fn the_defaults_are_a_plan() {
    let plan = accepted(|_| {});
    assert_eq!(plan.duration_ns(), Some(10_000_000_000));
    assert_eq!(
        (plan.warmup_ns(), plan.connections(), plan.repeat()),
        (1_000_000_000, 1, 1)
    );
    assert!(plan.has_own_testee() && plan.socket.nodelay);
    for workload in [
        Workload::Echo,
        Workload::Stream,
        Workload::Crr,
        Workload::Cc,
    ] {
        accepted(|request| request.workload = workload);
    }
}

#[test]
fn impossible_numbers_are_refused_with_a_cure() {
    type Change = fn(&mut PlanRequest);
    let cases: [(Change, &str); 13] = [
        (|r| r.request_bytes = Some(0), "--request 0"),
        (|r| r.response_bytes = Some(1 << 40), "--response"),
        (|r| r.duration_ns = Some(0), "--duration"),
        (|r| r.count = Some(0), "--count 0"),
        (|r| r.connections = Some(0), "--connections 0"),
        (|r| r.threads = Some(2), "more --connections"),
        (|r| r.testee_threads = Some(2), "--testee-threads 2"),
        (|r| r.rate_per_second = Some(0.0), "closed loop"),
        (|r| r.rate_per_second = Some(f64::NAN), "--rate NaN"),
        (|r| r.depth = Some(0), "--depth 0"),
        (|r| r.repeat = Some(0), "--repeat 0"),
        (|r| r.timeout_ns = Some(0), "--timeout"),
        (|r| r.interval_ns = Some(1), "--interval"),
    ];
    for (change, part) in cases {
        let error = rejected(change);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    type Change = fn(&mut PlanRequest);
    let cases: [(Change, &str); 16] = [
        (|r| r.bitrate_bits_per_second = Some(1), "--rate"),
        (|r| r.verify = Some(true), "run echo"),
        (|r| r.message_bytes = Some(1), "--request"),
        (|r| r.direction = Some(document::Direction::Both), "streams"),
        (|r| r.closer = Some(document::Closer::Client), "crr and cc"),
        (|r| r.poisson = true, "--rate"),
        (
            |r| (r.count, r.duration_ns) = (Some(1), Some(1_000_000_000)),
            "choose one",
        ),
        (
            |r| (r.workload, r.rate_per_second) = (Workload::Stream, Some(5.0)),
            "--bitrate",
        ),
        (
            |r| (r.workload, r.depth) = (Workload::Cc, Some(2)),
            "rr and echo",
        ),
        (
            |r| (r.target, r.testee_cpus) = (Some("tcp://[::1]:1".into()), Some("0".into())),
            "--testee-cpus",
        ),
        (|r| r.testee_host = Some("10.0.0.2".into()), "--testee-via"),
        (|r| r.testee_via = Some("ssh b".into()), "--testee-host"),
        (|r| r.testee_via = Some("ssh 'b".into()), "quotation mark"),
        (
            |r| (r.target, r.sources) = (Some("unix:///x".into()), vec!["127.0.0.1".into()]),
            "--source",
        ),
        (
            |r| {
                r.target = Some("unix:///x".into());
                r.socket.mss_bytes = Some(1000);
            },
            "--mss",
        ),
        (
            |r| {
                r.placement = Some(PlacementKind::SameCore);
                r.client_cpus = Some("0".into());
            },
            "same-core",
        ),
    ];
    for (change, part) in cases {
        let error = rejected(change);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn texts_that_cannot_be_read_are_refused() {
    assert!(rejected(|r| r.engine = Some("warp".into())).contains("uring"));
    assert!(rejected(|r| r.target = Some("tcp://x:0".into())).contains("port 0"));
    assert!(rejected(|r| r.target = Some("tcp://x".into())).contains("port is missing"));
    assert!(rejected(|r| r.client_cpus = Some("a".into())).contains("--client-cpus"));
    assert!(rejected(|r| r.client_cpus = Some(String::new())).contains("--client-cpus"));
    assert!(rejected(|r| r.sources = vec!["eth0".into()]).contains("not an IP address"));
    let long = format!("unix:///{}", "x".repeat(200));
    assert!(rejected(|r| r.target = Some(long)).contains("path has"));
}

#[test]
fn the_testee_has_the_role_that_answers() {
    let role = |change: fn(&mut PlanRequest)| accepted(change).testee().unwrap().role.clone();
    assert_eq!(role(|r| r.workload = Workload::Echo), ServeSpec::Echo);
    assert_eq!(role(|r| r.workload = Workload::Stream), ServeSpec::Discard);
    let receive = role(|r| {
        r.workload = Workload::Stream;
        r.direction = Some(document::Direction::Receive);
    });
    assert_eq!(receive.name(), "source");
    for (workload, closes_after) in [(Workload::Crr, 1), (Workload::Cc, 0)] {
        let mut request = PlanRequest::of(workload);
        let by_client = Plan::new(request.clone()).unwrap();
        assert!(matches!(
            by_client.testee().unwrap().role,
            ServeSpec::Rr {
                close_after: None,
                ..
            }
        ));
        request.closer = Some(document::Closer::Server);
        let by_server = Plan::new(request).unwrap();
        assert!(matches!(
            by_server.testee().unwrap().role,
            ServeSpec::Rr { close_after: Some(n), .. } if n == closes_after
        ));
    }
}

#[test]
fn a_plan_travels_and_is_validated_again() {
    let plan = accepted(|r| {
        r.testee_via = Some("ip netns exec 'a b'".into());
        r.testee_host = Some("10.0.0.2".into());
        r.rate_per_second = Some(1000.5);
        r.count = Some(7);
    });
    let text = serde_json::to_string(&plan).unwrap();
    let back: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(back.request(), plan.request());
    assert_eq!(back.testee().unwrap().via, ["ip", "netns", "exec", "a b"]);
    assert_eq!((back.warmup_ns(), back.count()), (0, Some(7)));
    let broken = text.replace("\"count\":7", "\"count\":0");
    assert!(serde_json::from_str::<Plan>(&broken).is_err());
}

#[test]
fn the_document_carries_what_was_resolved() {
    let document = accepted(|r| {
        r.workload = Workload::Echo;
        r.socket.send_buffer_bytes = Some(65_536);
    })
    .document();
    assert_eq!(document.sizes.message_bytes, Some(64));
    assert!(document.verify && document.target.own_testee && document.target.loopback);
    assert_eq!(document.socket_options["sndbuf"], "64K");
    assert_eq!(document.placement.load, "different physical cores");
}

mod serve {
    use super::super::*;

    fn rejected(listener: ListenerRequest) -> String {
        let request = ServeRequest {
            listeners: vec![listener],
            ..ServeRequest::default()
        };
        ServePlan::new(request).unwrap_err().to_string()
    }

    #[test]
    fn listeners_are_validated() {
        let echo = || ListenerRequest::new("tcp://127.0.0.1:9", RoleName::Echo);
        let cases = [
            (
                ListenerRequest {
                    request_bytes: Some(1),
                    ..echo()
                },
                "role echo",
            ),
            (
                ListenerRequest {
                    accept: Some("luck".into()),
                    ..echo()
                },
                "handoff",
            ),
            (
                ListenerRequest {
                    accept: Some("handoff".into()),
                    ..echo()
                },
                "one thread",
            ),
            (
                ListenerRequest {
                    threads: Some(0),
                    ..echo()
                },
                "--threads 0",
            ),
            (
                ListenerRequest {
                    backlog: Some(0),
                    ..echo()
                },
                "--backlog 0",
            ),
            (
                ListenerRequest {
                    engine: Some("warp".into()),
                    ..echo()
                },
                "warp",
            ),
            (
                ListenerRequest {
                    endpoint: None,
                    ..echo()
                },
                "endpoint",
            ),
            (
                ListenerRequest {
                    kind: Some("tcp".into()),
                    ..echo()
                },
                "either",
            ),
            (
                ListenerRequest {
                    endpoint: None,
                    kind: Some("udp".into()),
                    ..echo()
                },
                "tcp or unix",
            ),
            (
                ListenerRequest {
                    endpoint: None,
                    kind: Some("tcp".into()),
                    port: Some(70_000),
                    ..echo()
                },
                "not a port",
            ),
            (
                ListenerRequest {
                    message_bytes: Some(0),
                    ..ListenerRequest::new("unix:///x", RoleName::Source)
                },
                "--size",
            ),
            (
                ListenerRequest {
                    accept: Some("reuseport".into()),
                    ..ListenerRequest::new("unix:///x", RoleName::Echo)
                },
                "Unix sockets have one listener",
            ),
        ];
        for (listener, part) in cases {
            let error = rejected(listener);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn no_listener_and_equal_ids_are_refused() {
        assert!(ServePlan::new(ServeRequest::default()).is_err());
        let one = ListenerRequest::new("tcp://127.0.0.1:9", RoleName::Echo);
        let request = ServeRequest {
            listeners: vec![one.clone(), one],
            ..ServeRequest::default()
        };
        assert!(
            ServePlan::new(request)
                .unwrap_err()
                .to_string()
                .contains("id")
        );
    }

    #[test]
    fn roles_are_named() {
        assert_eq!("duplex".parse::<RoleName>(), Ok(RoleName::Duplex));
        let error = "loop".parse::<RoleName>().unwrap_err().to_string();
        assert!(error.contains("echo, discard"), "{error}");
    }
}
