use super::*;
use engine::workload::ServeSpec;
use report::document;

/// The shape of a default request.
fn rr(request: &mut PlanRequest) -> &mut RrRequest {
    match &mut request.shape {
        ShapeRequest::Rr(rr) => rr,
        other => panic!("{other:?}"),
    }
}

fn exchange(request: &mut PlanRequest) -> &mut ExchangeRequest {
    &mut rr(request).exchange
}

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
        Plan::new(PlanRequest::of(workload)).unwrap();
    }
}

#[test]
fn impossible_numbers_are_refused_with_a_cure() {
    type Change = fn(&mut PlanRequest);
    let cases: [(Change, &str); 15] = [
        (|r| exchange(r).request_bytes = Some(0), "--request 0"),
        (|r| exchange(r).response_bytes = Some(1 << 40), "--response"),
        (
            |r| r.common.load_agents = Some(2),
            "--load-agents 2: it must be at most the number of connections",
        ),
        (|r| r.common.testee_agents = Some(1000), "--testee-agents"),
        (|r| r.common.duration_ns = Some(0), "--duration"),
        (|r| r.common.count = Some(0), "--count 0"),
        (|r| r.common.connections = Some(0), "--connections 0"),
        (|r| r.common.threads = Some(2), "more --connections"),
        (|r| r.common.testee_threads = Some(2), "--testee-threads 2"),
        (|r| rr(r).pace.rate_per_second = Some(0.0), "closed loop"),
        (
            |r| rr(r).pace.rate_per_second = Some(f64::NAN),
            "--rate NaN",
        ),
        (|r| rr(r).depth = Some(0), "--depth 0"),
        (|r| r.common.repeat = Some(0), "--repeat 0"),
        (|r| r.common.timeout_ns = Some(0), "--timeout"),
        (|r| r.common.interval_ns = Some(1), "--interval"),
    ];
    for (change, part) in cases {
        let error = rejected(change);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    type Change = fn(&mut PlanRequest);
    let cases: [(Change, &str); 19] = [
        (|r| rr(r).pace.poisson = true, "--rate"),
        (
            |r| (r.common.count, r.common.duration_ns) = (Some(1), Some(1_000_000_000)),
            "choose one",
        ),
        (
            |r| {
                r.shape = ShapeRequest::Stream(StreamRequest {
                    direction: Some(document::Direction::Receive),
                    bitrate_bits_per_second: Some(1),
                    ..StreamRequest::default()
                });
            },
            "--direction receive",
        ),
        (
            |r| {
                r.common.testee_listen = Some("unix:///x".into());
                (r.common.connections, r.common.testee_agents) = (Some(2), Some(2));
            },
            "a Unix socket",
        ),
        (
            |r| {
                (r.common.target, r.common.testee_cpus) =
                    (Some("tcp://[::1]:1".into()), Some("0".into()))
            },
            "--testee-cpus",
        ),
        (
            |r| r.common.testee_host = vec!["10.0.0.2".into()],
            "--testee-via",
        ),
        (
            |r| r.common.testee_via = vec!["ssh b".into()],
            "--testee-host",
        ),
        (
            |r| r.common.load_via = vec!["ssh a".into()],
            "--load-via needs a testee that those hosts reach",
        ),
        (
            |r| {
                r.common.load_via = vec!["ssh a".into()];
                r.common.testee_listen = Some("tcp://0.0.0.0:0".into());
            },
            "--load-via does not go with --testee-listen tcp://0.0.0.0:0",
        ),
        (
            |r| r.common.ranks = Some(2),
            "--ranks needs a testee that those hosts reach",
        ),
        (
            |r| {
                r.common.ranks = Some(2);
                r.common.connections = Some(4);
                r.common.target = Some("tcp://10.0.0.1:9".into());
                r.common.load_agents = Some(4);
            },
            "--load-agents does not go with --ranks",
        ),
        (
            |r| {
                r.common.testee_via = vec!["ssh b".into(), "ssh c".into()];
                r.common.testee_host = vec!["10.0.0.2".into()];
            },
            "one --testee-host for each --testee-via",
        ),
        (
            |r| {
                r.common.load_via = vec!["ssh a".into(), "ssh b".into()];
                r.common.target = Some("tcp://10.0.0.1:9".into());
                r.common.sources = vec!["10.0.0.2".into()];
            },
            "--source does not go with several --load-via",
        ),
        (
            |r| r.common.load_command = Some("/opt/linerate".into()),
            "add --load-via",
        ),
        (|r| r.common.spread = true, "repeat --testee-via"),
        (
            |r| r.common.testee_via = vec!["ssh 'b".into()],
            "quotation mark",
        ),
        (
            |r| {
                (r.common.target, r.common.sources) =
                    (Some("unix:///x".into()), vec!["127.0.0.1".into()])
            },
            "--source",
        ),
        (
            |r| {
                r.common.target = Some("unix:///x".into());
                r.common.socket.mss_bytes = Some(1000);
            },
            "--mss",
        ),
        (
            |r| {
                r.common.placement = Some(PlacementKind::SameCore);
                r.common.client_cpus = Some("0".into());
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
    assert!(rejected(|r| r.common.engine = Some("warp".into())).contains("uring"));
    assert!(rejected(|r| r.common.target = Some("tcp://x:0".into())).contains("port 0"));
    assert!(rejected(|r| r.common.target = Some("tcp://x".into())).contains("port is missing"));
    assert!(rejected(|r| r.common.client_cpus = Some("a".into())).contains("--client-cpus"));
    assert!(rejected(|r| r.common.client_cpus = Some(String::new())).contains("--client-cpus"));
    assert!(rejected(|r| r.common.sources = vec!["eth0".into()]).contains("not an IP address"));
    let long = format!("unix:///{}", "x".repeat(200));
    assert!(rejected(|r| r.common.target = Some(long)).contains("path has"));
}

#[test]
fn the_testee_has_the_role_that_answers() {
    let around = web_socket::Around::default();
    let role = |shape| ShapeRequest::resolve(&shape, &around).unwrap().testee;
    assert_eq!(role(ShapeRequest::of(Workload::Ws)).name(), "ws");
    assert_eq!(role(ShapeRequest::of(Workload::Echo)), ServeSpec::Echo);
    assert_eq!(role(ShapeRequest::of(Workload::Stream)), ServeSpec::Discard);
    let receive = role(ShapeRequest::Stream(StreamRequest {
        direction: Some(document::Direction::Receive),
        ..StreamRequest::default()
    }));
    assert_eq!(receive.name(), "source");
    let by_server = EndingRequest {
        closer: Some(document::Closer::Server),
        ..EndingRequest::default()
    };
    let crr = |ending| {
        ShapeRequest::Crr(CrrRequest {
            ending,
            ..CrrRequest::default()
        })
    };
    let cc = |ending| {
        ShapeRequest::Cc(CcRequest {
            ending,
            ..CcRequest::default()
        })
    };
    let closes_after = |shape| match role(shape) {
        ServeSpec::Rr { close_after, .. } => close_after,
        other => panic!("{other:?}"),
    };
    assert_eq!(closes_after(crr(EndingRequest::default())), None);
    assert_eq!(closes_after(cc(EndingRequest::default())), None);
    assert_eq!(closes_after(crr(by_server)), Some(1));
    assert_eq!(closes_after(cc(by_server)), Some(0));
}

#[test]
fn a_plan_travels_and_is_validated_again() {
    let plan = accepted(|r| {
        r.common.testee_via = vec!["ip netns exec 'a b'".into()];
        r.common.testee_host = vec!["10.0.0.2".into()];
        rr(r).pace.rate_per_second = Some(1000.5);
        r.common.count = Some(7);
    });
    let text = serde_json::to_string(&plan).unwrap();
    let back: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(back.request(), plan.request());
    let Start::Via { words, .. } = &back.testee().unwrap().hosts[0].host.start else {
        panic!("{:?}", back.testee());
    };
    assert_eq!(words, &["ip", "netns", "exec", "a b"]);
    assert_eq!((back.warmup_ns(), back.count()), (0, Some(7)));
    let broken = text.replace("\"count\":7", "\"count\":0");
    assert!(serde_json::from_str::<Plan>(&broken).is_err());
}

#[test]
fn every_round_draws_its_own_arrivals() {
    let plan = accepted(|r| rr(r).pace.rate_per_second = Some(5.0));
    assert_ne!(plan.poisson_seed(1), plan.poisson_seed(2));
    let third = plan.clone().after_rounds(2);
    assert_eq!(third.poisson_seed(1), plan.poisson_seed(3));
}

#[test]
fn the_document_carries_what_was_resolved() {
    let document = accepted(|r| {
        r.shape = ShapeRequest::of(Workload::Echo);
        r.common.socket.send_buffer_bytes = Some(65_536);
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
