//! Whom a run connects to and from where: names, zones, ports that run out.

use linerate_tests::Family;
#[cfg(target_os = "linux")]
use linerate_tests::binary::linerate;
use linerate_tests::binary::{Call, call, within};
use linerate_tests::raw::{self, Server};
#[cfg(target_os = "linux")]
use linerate_tests::settings::{Host, OVER_THERE};
use serde_json::Value;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::time::Duration;

const SHORT: [&str; 7] = [
    "--duration",
    "200ms",
    "--warmup",
    "0s",
    "--quiet",
    "--format",
    "json",
];

fn target(document: &Value, field: &str) -> String {
    let field = &document["plan"]["target"][field];
    field
        .as_str()
        .map_or_else(|| field.to_string(), str::to_owned)
}

/// `localhost` is ::1 first on most hosts, where nobody listens here.
#[test]
fn a_name_is_recorded_with_the_address_behind_it_and_nothing_probes_the_target() {
    within(60, || {
        let server = Server::start(Family::Tcp4, raw::echo);
        let port = server.address.as_socket().expect("TCP").port();
        for (written, endpoint) in [
            (
                format!("localhost:{port}"),
                format!("tcp://localhost:{port}"),
            ),
            (
                format!("tcp://localhost:{port}"),
                format!("tcp://localhost:{port}"),
            ),
        ] {
            let before = server.accepted();
            let line = [&["run", "rr", &written, "--connections", "3"][..], &SHORT].concat();
            let finished = call(&line);
            assert_eq!(finished.code(), 0, "{}", finished.stderr);
            assert_eq!(server.accepted() - before, 3, "connections at the target");
            let document = finished.json();
            assert_eq!(target(&document, "endpoint"), endpoint);
            assert_eq!(
                target(&document, "address"),
                format!("tcp://127.0.0.1:{port}")
            );
            assert_eq!(target(&document, "loopback"), "true");
        }
    });
}

/// Behind a name there may be several addresses of another host, of which one must be chosen.
#[cfg(target_os = "linux")]
#[test]
fn another_host_counts_the_connections_that_were_asked_for_and_no_probe() {
    let Some((a, b)) = Host::pair("n_plus_one") else {
        return;
    };
    within(120, move || {
        let mut second = Command::new("ip");
        second.args(["-n", &b.name, "addr", "add", "10.213.9.3/24", "dev", "v0"]);
        assert!(second.status().is_ok_and(|status| status.success()));
        let names = "10.213.9.2 two.test\n10.213.9.3 two.test\n";
        let hosts = a.file("hosts", names);
        // `ip netns exec` has given it a mount namespace of its own.
        let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        let drivers = linerate_tests::drivers().into_iter();
        for engine in drivers.filter_map(|driver| linerate_tests::driver(driver.name())) {
            for target in ["two.test", OVER_THERE] {
                let mut serving =
                    b.linerate(&["serve", "--listen", "0.0.0.0:9000", "--role", "rr"]);
                serving.hears("listening on");
                let mut command = a.command("sh");
                command.args(["-c", script, &hosts]).arg(linerate());
                let target = format!("{target}:9000");
                command.args(["run", "rr", &target, "--source", "10.213.9.1"]);
                command.args(["--connections", "3", "--engine", engine.name()]);
                let finished = Call::of({
                    command.args(SHORT);
                    command
                })
                .finish(Duration::from_secs(20));
                assert_eq!(finished.code(), 0, "{}: {}", engine.name(), finished.stderr);
                serving.kept().signal(libc::SIGTERM);
                let served = serving.finish(Duration::from_secs(10));
                let wanted = "3 connections accepted";
                assert!(
                    served.stdout.contains(wanted),
                    "{} by {target}: {}",
                    engine.name(),
                    served.stdout
                );
            }
        }
    });
}

/// All addresses of a name are loaded where that is asked for, and the result says which they were.
#[cfg(target_os = "linux")]
#[test]
fn connections_are_spread_over_all_addresses_of_a_name() {
    let Some((a, b)) = Host::pair("spread") else {
        return;
    };
    within(60, move || {
        let mut second = Command::new("ip");
        second.args(["-n", &b.name, "addr", "add", "10.213.9.3/24", "dev", "v0"]);
        assert!(second.status().is_ok_and(|status| status.success()));
        let hosts = a.file("hosts", "10.213.9.2 two.test\n10.213.9.3 two.test\n");
        // `ip netns exec` has given it a mount namespace of its own.
        let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        let mut serving = b.linerate(&["serve", "--listen", "0.0.0.0:9000", "--role", "rr"]);
        serving.hears("listening on");
        let run = |more: &[&str]| {
            let mut command = a.command("sh");
            command.args(["-c", script, &hosts]).arg(linerate());
            command.args(["run", "rr", "two.test:9000", "-c", "4"]);
            command.args(more).args(SHORT);
            let finished = Call::of(command).finish(Duration::from_secs(20));
            assert_eq!(finished.code(), 0, "{}", finished.stderr);
            finished.json()["plan"]["target"].clone()
        };
        let both = ["tcp://10.213.9.2:9000", "tcp://10.213.9.3:9000"];
        let spread = run(&["--spread", "--load-agents", "2"]);
        assert_eq!(spread["endpoint"], "tcp://two.test:9000");
        let mut used: Vec<&str> = spread["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|address| address.as_str())
            .collect();
        used.sort_unstable();
        assert_eq!(used, both);
        let first = run(&[]);
        assert!(first["addresses"].is_null(), "{first}");
        assert!(
            both.contains(&first["address"].as_str().unwrap_or_default()),
            "{first}"
        );
        serving.kept().signal(libc::SIGTERM);
        let served = serving.finish(Duration::from_secs(10));
        assert!(
            served.stdout.contains("8 connections accepted"),
            "{}",
            served.stdout
        );
    });
}

#[test]
fn endpoints_need_no_scheme() {
    within(60, || {
        let mut serving = Call::start(&["serve", "--listen", "127.0.0.1:0", "--role", "echo"]);
        let said = serving.hears("listening on");
        assert!(said.contains("listening on tcp://127.0.0.1:"), "{said}");
        serving.kept().signal(libc::SIGTERM);
        serving.finish(Duration::from_secs(10));
        let directory = linerate_tests::Directory::new();
        let path = directory.path().join("x.sock").display().to_string();
        let mut serving = Call::start(&["serve", "--listen", &path, "--role", "echo"]);
        serving.hears("listening on unix://");
        let line = [&["run", "rr", &path][..], &SHORT].concat();
        let finished = call(&line);
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(target(&finished.json(), "transport"), "unix");
        serving.kept().signal(libc::SIGTERM);
        serving.finish(Duration::from_secs(10));
    });
}

/// Many connects are under way when the ports of an address run out, and fail together.
#[cfg(target_os = "linux")]
#[test]
fn ports_that_run_out_lead_to_spare_addresses_every_time() {
    let Some(host) = Host::for_test("spare_sources") else {
        return;
    };
    within(120, move || {
        host.write("net.ipv4.ip_local_port_range", "'40000 40100'");
        for engine in [
            "epoll", "epoll", "epoll", "epoll", "auto", "auto", "blocking",
        ] {
            let line = ["run", "rr", "--connections", "500", "--engine", engine];
            let finished = host
                .linerate(&[&line[..], &SHORT].concat())
                .finish(Duration::from_secs(30));
            assert_eq!(finished.code(), 0, "{engine}: {}", finished.stderr);
            let document = finished.json();
            let warnings = document["warnings"].to_string();
            assert!(warnings.contains("spare_sources"), "{warnings}");
        }
    });
}

/// The link-local address of the cable, as soon as the kernel has found it to be nobody else's.
#[cfg(target_os = "linux")]
fn link_local(host: &Host) -> Option<String> {
    let mut found = None;
    linerate_tests::eventually(Duration::from_secs(10), || {
        let mut command = Command::new("ip");
        command.args(["-n", &host.name, "-6", "-o", "addr", "show", "dev", "v0"]);
        command.args(["scope", "link", "-tentative"]);
        let text = command
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut words = text.split_whitespace();
        let address = words.find(|word| word.starts_with("fe80:"));
        found = address
            .and_then(|word| word.split('/').next())
            .map(str::to_owned);
        found.is_some()
    });
    found
}

#[cfg(target_os = "linux")]
#[test]
fn link_local_addresses_work_with_their_zone_and_say_that_they_need_one() {
    let Some((a, b)) = Host::pair("zones") else {
        return;
    };
    let (Some(here), Some(there)) = (link_local(&a), link_local(&b)) else {
        return linerate_tests::skip("zones", "the kernel gives no link-local addresses");
    };
    within(120, move || {
        let (here, zoned) = (format!("{here}%v0"), format!("{there}%v0"));
        let via = format!("ip netns exec {}", b.name);
        let line = ["run", "rr", "--testee-via", &via, "--testee-host", &zoned];
        let line = [&line[..], &["--source", &here], &SHORT].concat();
        let finished = a.linerate(&line).finish(Duration::from_secs(30));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        let document = finished.json();
        let endpoint = target(&document, "endpoint");
        assert!(
            endpoint.starts_with(&format!("tcp://[{zoned}]:")),
            "{endpoint}"
        );
        assert_eq!(target(&document, "loopback"), "false");

        let endpoint = format!("tcp://[{there}%v0]:0");
        let mut serving = b.linerate(&["serve", "--listen", &endpoint, "--role", "echo"]);
        let said = serving.hears("listening on");
        assert!(said.contains(&format!("tcp://[{zoned}]:")), "{said}");
        serving.kept().signal(libc::SIGTERM);
        serving.finish(Duration::from_secs(10));

        let without = format!("tcp://[{there}]:9000");
        let finished = a
            .linerate(&["run", "rr", &without])
            .finish(Duration::from_secs(20));
        assert_ne!(finished.code(), 0);
        assert!(
            finished.stderr.contains("%INTERFACE"),
            "{}",
            finished.stderr
        );

        let endpoint = format!("tcp://[{zoned}]:9000");
        let line = ["doctor", &endpoint, "--watch", "100ms", "--format", "json"];
        let checkup = a.linerate(&line).finish(Duration::from_secs(20)).json();
        assert_eq!(checkup["host"]["interface"]["name"], "v0");
    });
}
