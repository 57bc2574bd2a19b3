//! Command lines and the plans that they become.

use clap::Parser;
use report::document as doc;
use runner::plan::{
    ConnectRequest, CrrRequest, EchoRequest, EndingRequest, ExchangeRequest, PaceRequest,
    PlacementKind, Plan, PlanRequest, RoleName, RrRequest, ServePlan, ServeRequest, ShapeRequest,
    StreamRequest,
};

use super::{Cli, Command};

fn parse(line: &str) -> Command {
    let words = line.split_whitespace();
    Cli::try_parse_from(words)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .command
}

fn run(line: &str) -> PlanRequest {
    match parse(&format!("linerate run {line}")) {
        Command::Run(args) => args.workload.request(),
        other => panic!("{line}: {other:?}"),
    }
}

fn serve(line: &str) -> ServeRequest {
    match parse(&format!("linerate serve {line}")) {
        Command::Serve(args) => args.request(ServeRequest::default()),
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    let words = format!("linerate {line}");
    match Cli::try_parse_from(words.split_whitespace()) {
        Err(error) => error.to_string(),
        Ok(Cli {
            command: Command::Run(args),
        }) => Plan::new(args.workload.request())
            .expect_err(line)
            .to_string(),
        Ok(Cli {
            command: Command::Serve(args),
        }) => ServePlan::new(args.request(ServeRequest::default()))
            .expect_err(line)
            .to_string(),
        Ok(other) => panic!("{line}: {other:?}"),
    }
}

fn pace(rate_per_second: f64, poisson: bool) -> PaceRequest {
    PaceRequest {
        rate_per_second: Some(rate_per_second),
        poisson,
        queue: None,
    }
}

/// The request of the workload with one change.
fn with(workload: doc::Workload, change: impl FnOnce(&mut PlanRequest)) -> PlanRequest {
    let mut request = PlanRequest::of(workload);
    change(&mut request);
    request
}

#[test]
fn command_lines_become_requests() {
    use doc::Workload::{Cc, Connect, Crr, Echo, Rr, Stream};
    type Case = (&'static str, doc::Workload, fn(&mut PlanRequest));
    let cases: &[Case] = &[
        ("rr", Rr, |_| {}),
        ("echo", Echo, |_| {}),
        ("stream", Stream, |_| {}),
        ("crr", Crr, |_| {}),
        ("cc", Cc, |_| {}),
        ("connect", Connect, |_| {}),
        (
            "connect -c 60k --batch 1000 --batch-delay 300ms --hold 1m",
            Connect,
            |r| {
                r.common.connections = Some(60_000);
                r.shape = ShapeRequest::Connect(ConnectRequest {
                    batch: Some(1_000),
                    batch_delay_ns: Some(300_000_000),
                    hold_ns: Some(60_000_000_000),
                    ..ConnectRequest::default()
                });
            },
        ),
        (
            "connect --rate 500 --at-once 4 --close ramp --hold",
            Connect,
            |r| {
                r.shape = ShapeRequest::Connect(ConnectRequest {
                    rate_per_second: Some(500.0),
                    at_once: Some(4),
                    closing: Some(doc::Closing::Ramp),
                    hold_until_told: true,
                    ..ConnectRequest::default()
                });
            },
        ),
        ("rr tcp://127.0.0.1:9000", Rr, |r| {
            r.common.target = Some("tcp://127.0.0.1:9000".into())
        }),
        ("rr -c 64 -t 2 -d 30s -w 2s -r 5", Rr, |r| {
            (r.common.connections, r.common.threads, r.common.repeat) =
                (Some(64), Some(2), Some(5));
            (r.common.duration_ns, r.common.warmup_ns) =
                (Some(30_000_000_000), Some(2_000_000_000));
        }),
        ("rr --count 10k --interval 500ms", Rr, |r| {
            (r.common.count, r.common.interval_ns) = (Some(10_000), Some(500_000_000));
        }),
        ("rr --request 100 --response 64K --depth 4", Rr, |r| {
            r.shape = ShapeRequest::Rr(RrRequest {
                exchange: ExchangeRequest {
                    request_bytes: Some(100),
                    response_bytes: Some(65_536),
                },
                depth: Some(4),
                ..RrRequest::default()
            });
        }),
        ("rr --rate 20k --arrival poisson", Rr, |r| {
            r.shape = ShapeRequest::Rr(RrRequest {
                pace: pace(20_000.0, true),
                ..RrRequest::default()
            });
        }),
        ("rr --rate 20k --queue shared", Rr, |r| {
            r.shape = ShapeRequest::Rr(RrRequest {
                pace: PaceRequest {
                    queue: Some(doc::Queue::Shared),
                    ..pace(20_000.0, false)
                },
                ..RrRequest::default()
            });
        }),
        ("crr --rate 0.5 --arrival constant", Crr, |r| {
            r.shape = ShapeRequest::Crr(CrrRequest {
                pace: pace(0.5, false),
                ..CrrRequest::default()
            });
        }),
        (
            "rr --timeout 250ms --connect-timeout 1s --drain 0",
            Rr,
            |r| {
                (r.common.timeout_ns, r.common.connect_timeout_ns) =
                    (Some(250_000_000), Some(1_000_000_000));
                r.common.drain_ns = Some(0);
            },
        ),
        ("echo --size 1K --verify", Echo, |r| {
            r.shape = ShapeRequest::Echo(EchoRequest {
                message_bytes: Some(1024),
                verify: Some(true),
                ..EchoRequest::default()
            });
        }),
        ("echo --verify --no-verify", Echo, |r| {
            r.shape = ShapeRequest::Echo(EchoRequest {
                verify: Some(false),
                ..EchoRequest::default()
            });
        }),
        ("stream --direction both --size 1M", Stream, |r| {
            r.shape = ShapeRequest::Stream(StreamRequest {
                direction: Some(doc::Direction::Both),
                message_bytes: Some(1 << 20),
                ..StreamRequest::default()
            });
        }),
        ("stream --bitrate 2G --pacing-rate 10Gbit/s", Stream, |r| {
            r.shape = ShapeRequest::Stream(StreamRequest {
                bitrate_bits_per_second: Some(2_000_000_000),
                pacing_rate_bits_per_second: Some(10_000_000_000),
                ..StreamRequest::default()
            });
        }),
        ("crr --closer server --close rst", Crr, |r| {
            r.shape = ShapeRequest::Crr(CrrRequest {
                ending: EndingRequest {
                    closer: Some(doc::Closer::Server),
                    close: Some(doc::CloseHow::Rst),
                },
                ..CrrRequest::default()
            });
        }),
        ("rr --source 10.0.0.1,10.0.0.2", Rr, |r| {
            r.common.sources = vec!["10.0.0.1".into(), "10.0.0.2".into()];
        }),
        ("rr --no-nodelay", Rr, |r| {
            r.common.socket.nodelay = Some(false)
        }),
        ("rr --no-nodelay --nodelay", Rr, |r| {
            r.common.socket.nodelay = Some(true)
        }),
        (
            "rr --sndbuf 64K --rcvbuf 1M --congestion bbr --mss 1400",
            Rr,
            |r| {
                (
                    r.common.socket.send_buffer_bytes,
                    r.common.socket.receive_buffer_bytes,
                ) = (Some(65_536), Some(1 << 20));
                (
                    r.common.socket.congestion_control,
                    r.common.socket.mss_bytes,
                ) = (Some("bbr".into()), Some(1400));
            },
        ),
        (
            "rr --tos 0x10 --busy-poll 50us --fast-open --keepalive 30s",
            Rr,
            |r| {
                (r.common.socket.tos, r.common.socket.busy_poll_us) = (Some(0x10), Some(50));
                (r.common.socket.fast_open, r.common.socket.keepalive_s) = (true, Some(30));
            },
        ),
        ("rr -c 9 --load-agents 3 --testee-agents 2", Rr, |r| {
            (r.common.connections, r.common.load_agents) = (Some(9), Some(3));
            r.common.testee_agents = Some(2);
        }),
        ("rr --client-cpus 2 --testee-cpus 0,3-4", Rr, |r| {
            (r.common.client_cpus, r.common.testee_cpus) = (Some("2".into()), Some("0,3-4".into()));
        }),
        ("rr --placement same-core", Rr, |r| {
            r.common.placement = Some(PlacementKind::SameCore)
        }),
        ("rr --placement default", Rr, |r| {
            r.common.placement = Some(PlacementKind::DifferentCores)
        }),
        ("rr --engine epoll --testee-engine auto", Rr, |r| {
            (r.common.engine, r.common.testee_engine) = (Some("epoll".into()), Some("auto".into()));
        }),
        (
            "rr --testee-via ssh --testee-host 10.0.0.2 --testee-command /opt/linerate",
            Rr,
            |r| {
                (r.common.testee_via, r.common.testee_host) =
                    (vec!["ssh".into()], vec!["10.0.0.2".into()]);
                r.common.testee_command = Some("/opt/linerate".into());
            },
        ),
        (
            "rr tcp://example:9 -c 4 --spread --load-via a --load-via b --load-command /opt/linerate",
            Rr,
            |r| {
                r.common.target = Some("tcp://example:9".into());
                (r.common.spread, r.common.connections) = (true, Some(4));
                r.common.load_via = vec!["a".into(), "b".into()];
                r.common.load_command = Some("/opt/linerate".into());
            },
        ),
        (
            "rr --testee-listen unix:///tmp/x.sock --testee-threads 1",
            Rr,
            |r| {
                (r.common.testee_listen, r.common.testee_threads) =
                    (Some("unix:///tmp/x.sock".into()), Some(1));
            },
        ),
    ];
    for (line, workload, change) in cases {
        let expected = with(*workload, change);
        assert_eq!(run(line), expected, "{line}");
        Plan::new(expected).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn impossible_command_lines_are_refused() {
    let cases = [
        ("run rr --request 0", "--request 0"),
        ("run echo --size 0", "--size 0"),
        ("run rr --duration 0s", "--duration"),
        ("run rr --threads 2", "--connections"),
        ("run rr --connections 0", "--connections 0"),
        ("run rr --engine warp", "warp"),
        ("run rr tcp://127.0.0.1:70000", "not a port"),
        ("run rr tcp://127.0.0.1:0", "port 0"),
        ("run rr udp://127.0.0.1:1", "tcp://HOST:PORT"),
        ("run rr --count 5 --duration 1s", "--duration"),
        ("run rr --arrival poisson", "--rate"),
        ("run rr --queue shared", "--rate"),
        (
            "run rr --queue shared --rate 5 --engine blocking",
            "--engine epoll",
        ),
        ("run rr --rate 0", "closed loop"),
        ("run rr --rate -5", "--rate"),
        (
            "run rr --direction both",
            "unexpected argument '--direction'",
        ),
        ("run stream --rate 5", "unexpected argument '--rate'"),
        ("run rr --tos 300", "0 to 255"),
        ("run rr --keepalive 1500ms", "whole seconds"),
        ("run rr --busy-poll 50ns", "whole microseconds"),
        ("run rr --testee-host 10.0.0.2", "--testee-via"),
        ("run rr tcp://127.0.0.1:9 --testee-cpus 1", "--testee-cpus"),
        ("serve", "--listen tcp://127.0.0.1:9000 --role echo"),
        (
            "serve --listen tcp://127.0.0.1:9 --role echo --request 1",
            "role echo",
        ),
        (
            "serve --listen tcp://127.0.0.1:9 --role source --size 0",
            "--size 0",
        ),
        (
            "serve --listen tcp://127.0.0.1:9 --role echo --role rr",
            "given twice",
        ),
        ("serve --listen nowhere --role echo", "tcp://HOST:PORT"),
        (
            "serve --listen unix:///x --role echo --config x.toml",
            "cannot be used with",
        ),
    ];
    for (line, part) in cases {
        let error = refused(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn every_role_belongs_to_the_listen_before_it() {
    let request = serve(
        "--listen tcp://127.0.0.1:9000 --role rr --request 2 --response 4K --close-after 1 --close rst \
         --listen unix:///run/d.sock --backlog 16 --role source --size 1M --id bulk \
         --listen tcp://[::1]:9001 --role=discard",
    );
    let [rr, source, discard] = &request.listeners[..] else {
        panic!("three listeners")
    };
    assert_eq!(rr.endpoint.as_deref(), Some("tcp://127.0.0.1:9000"));
    assert_eq!(
        (rr.role, rr.request_bytes, rr.response_bytes),
        (RoleName::Rr, Some(2), Some(4096))
    );
    assert_eq!(
        (rr.close_after, rr.close),
        (Some(1), Some(doc::CloseHow::Rst))
    );
    assert_eq!((rr.backlog, rr.message_bytes, &rr.id), (None, None, &None));
    assert_eq!(
        (source.role, source.message_bytes),
        (RoleName::Source, Some(1 << 20))
    );
    assert_eq!(
        (source.backlog, source.id.as_deref()),
        (Some(16), Some("bulk"))
    );
    assert_eq!((discard.role, discard.backlog), (RoleName::Discard, None));
    ServePlan::new(request).unwrap();
}

#[test]
fn what_holds_for_all_listeners_reaches_each() {
    let request = serve(
        "--listen tcp://127.0.0.1:9000 --role echo --listen tcp://127.0.0.1:9001 --role discard \
         --threads 2 --cpus 0-1 --accept shared --engine epoll --sndbuf 64K --max-connections 10 \
         --idle-timeout 1m --one-off --drain 500ms",
    );
    assert_eq!((request.max_connections, request.one_off), (Some(10), true));
    assert_eq!(
        (request.idle_timeout_ns, request.drain_ns),
        (Some(60_000_000_000), Some(500_000_000))
    );
    for listener in &request.listeners {
        assert_eq!(
            (listener.threads, listener.cpus.as_deref()),
            (Some(2), Some("0-1"))
        );
        assert_eq!(
            (listener.accept.as_deref(), listener.engine.as_deref()),
            (Some("shared"), Some("epoll"))
        );
        assert_eq!(listener.socket.send_buffer_bytes, Some(65_536));
    }
    ServePlan::new(request).unwrap();
}

#[test]
fn the_command_line_wins_over_the_file() {
    let Command::Serve(args) = parse("linerate serve --config x.toml --engine blocking --drain 1s")
    else {
        panic!("serve")
    };
    let mut file = ServeRequest {
        drain_ns: Some(5),
        max_connections: Some(7),
        ..ServeRequest::default()
    };
    let mut listener = runner::plan::ListenerRequest::new("tcp://127.0.0.1:9000", RoleName::Echo);
    (listener.engine, listener.threads) = (Some("epoll".to_owned()), Some(3));
    file.listeners.push(listener);
    let request = args.request(file);
    assert_eq!(
        (request.drain_ns, request.max_connections),
        (Some(1_000_000_000), Some(7))
    );
    let listener = &request.listeners[0];
    assert_eq!(
        (listener.engine.as_deref(), listener.threads),
        (Some("blocking"), Some(3))
    );
}

#[test]
fn the_defaults_of_the_help_are_those_of_the_runner() {
    let document = |line: &str| Plan::new(run(line)).unwrap().document();
    let rr = document("rr");
    assert_eq!(
        (rr.duration_ns, rr.warmup_ns),
        (Some(10_000_000_000), 1_000_000_000)
    );
    assert_eq!(
        (rr.connections, rr.threads, rr.repeat, rr.depth),
        (1, 1, 1, 1)
    );
    assert_eq!(
        (rr.timeout_ns, rr.connect_timeout_ns),
        (5_000_000_000, 5_000_000_000)
    );
    assert_eq!(
        (rr.sizes.request_bytes, rr.sizes.response_bytes),
        (Some(1), Some(1))
    );
    assert_eq!(
        (rr.interval_ns, rr.engine.load.as_str()),
        (1_000_000_000, "auto")
    );
    assert_eq!(
        (rr.testee_threads, rr.engine.testee.as_deref()),
        (Some(1), Some("auto"))
    );
    assert_eq!(document("rr --count 5").warmup_ns, 0);
    assert_eq!(document("stream").sizes.message_bytes, Some(128 * 1024));
    assert_eq!(document("stream").direction, Some(doc::Direction::Send));
    let echo = document("echo");
    assert_eq!((echo.sizes.message_bytes, echo.verify), (Some(64), true));
    let crr = document("crr");
    assert_eq!(
        (crr.closer, crr.close),
        (Some(doc::Closer::Client), Some(doc::CloseHow::Fin))
    );
}
