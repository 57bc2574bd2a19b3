//! Two hosts on one machine: network namespaces joined by a veth pair, made and removed here.

use linerate_tests::binary::{Call, linerate, within};
use linerate_tests::process::{needs, piped};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Two namespaces, `a` with 10.213.7.1 and `b` with 10.213.7.2; removed when dropped.
struct Hosts {
    a: String,
    b: String,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl Hosts {
    fn new(name: &str) -> Result<Self, String> {
        let number = std::process::id();
        let hosts = Self {
            a: format!("lr{name}{number}a"),
            b: format!("lr{name}{number}b"),
        };
        let (a, b) = (&hosts.a, &hosts.b);
        ip(&format!("netns add {a}"))?;
        ip(&format!("netns add {b}"))?;
        ip(&format!(
            "-n {a} link add veth0 type veth peer name veth0 netns {b}"
        ))?;
        for (host, address) in [(a, "10.213.7.1"), (b, "10.213.7.2")] {
            ip(&format!("-n {host} addr add {address}/24 dev veth0"))?;
            ip(&format!("-n {host} link set veth0 up"))?;
            ip(&format!("-n {host} link set lo up"))?;
        }
        Ok(hosts)
    }

    /// The hosts, or a line that says why there are none.
    fn for_test(name: &str, test: &str) -> Option<Self> {
        if !needs(test, "ip") {
            return None;
        }
        match Self::new(name) {
            Ok(hosts) => Some(hosts),
            Err(why) => {
                linerate_tests::skip(test, &format!("network namespaces cannot be made: {why}"));
                None
            }
        }
    }

    /// linerate on host `a`.
    fn on_a(&self, arguments: &[&str]) -> Call {
        let mut command = piped("ip");
        command
            .args(["netns", "exec", &self.a])
            .arg(linerate())
            .args(arguments);
        Call::of(command)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.a, &self.b] {
            let _ = ip(&format!("netns del {host}"));
        }
    }
}

fn number(document: &Value, pointer: &str) -> f64 {
    let value = document.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number at {pointer}: {document:#}"))
}

#[test]
fn the_testee_is_started_over_there_and_tells_what_it_received() {
    let Some(hosts) = Hosts::for_test("t", "two_hosts") else {
        return;
    };
    within(60, move || {
        let via = format!("ip netns exec {}", hosts.b);
        for workload in ["stream", "rr", "crr"] {
            let mut line = vec![
                "run",
                workload,
                "--testee-via",
                &via,
                "--testee-host",
                "10.213.7.2",
            ];
            line.extend([
                "--duration",
                "400ms",
                "--warmup",
                "100ms",
                "--format",
                "json",
            ]);
            let finished = hosts.on_a(&line).finish(Duration::from_secs(30));
            assert_eq!(finished.code(), 0, "{workload}: {}", finished.stderr);
            let document = finished.json();
            assert_eq!(document["status"], "ok");
            let endpoint = document["plan"]["target"]["endpoint"]
                .as_str()
                .unwrap_or_default();
            assert!(endpoint.starts_with("tcp://10.213.7.2:"), "{endpoint}");
            let sent = number(&document, "/rounds/0/load/0/measured/totals/bytes_sent");
            let received = number(
                &document,
                "/rounds/0/testee/0/measured/totals/bytes_received",
            );
            assert!(
                sent > 0.0 && received > 0.0,
                "{sent} sent, {received} received"
            );
            assert!(number(&document, "/rounds/0/testee/0/process/cpu_ns") > 0.0);
            assert_eq!(document["rounds"][0]["rates"]["confirmation"], "receiver");
        }
    });
}

#[test]
fn a_testee_over_there_that_is_killed_ends_the_run() {
    let Some(hosts) = Hosts::for_test("k", "two_hosts_killed") else {
        return;
    };
    within(60, move || {
        let via = format!("ip netns exec {}", hosts.b);
        let mut line = vec![
            "run",
            "rr",
            "--testee-via",
            &via,
            "--testee-host",
            "10.213.7.2",
        ];
        line.extend(["--duration", "30s", "--warmup", "0s", "--interval", "200ms"]);
        let mut call = hosts.on_a(&line);
        let agents = call.agents(2);
        call.hears("/s");
        // SAFETY: kill takes two integers; the process is an agent of this very call.
        unsafe { libc::kill(agents[0], libc::SIGKILL) };
        let finished = call.finish(Duration::from_secs(20));
        assert_eq!(finished.code(), 4, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("killed by signal 9"),
            "{}",
            finished.stderr
        );
    });
}

#[test]
fn a_host_that_is_not_there_times_out() {
    let Some(hosts) = Hosts::for_test("n", "two_hosts_absent") else {
        return;
    };
    within(60, move || {
        let line = [
            "run",
            "rr",
            "tcp://10.213.7.9:9000",
            "--connect-timeout",
            "500ms",
        ];
        let finished = hosts.on_a(&line).finish(Duration::from_secs(20));
        finished.assert_refused(4, &["tcp://10.213.7.9:9000"]);
    });
}

#[test]
fn ports_that_run_out() {
    let Some(hosts) = Hosts::for_test("p", "ports_that_run_out") else {
        return;
    };
    within(60, move || {
        // 21 ports. Towards loopback there are spare addresses; towards another host there are none.
        let range = "net.ipv4.ip_local_port_range=50000 50020";
        let mut narrow = Command::new("ip");
        narrow.args(["netns", "exec", &hosts.a, "sh", "-c"]);
        narrow.arg("echo 50000 50020 > /proc/sys/net/ipv4/ip_local_port_range");
        assert!(
            narrow.status().is_ok_and(|status| status.success()),
            "{range}"
        );
        let mut line = vec!["run", "rr", "--connections", "100", "--count", "1000"];
        line.extend([
            "--warmup",
            "0s",
            "--testee-listen",
            "tcp://127.0.0.1:9000",
            "--format",
            "json",
        ]);
        let finished = hosts.on_a(&line).finish(Duration::from_secs(20));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(
            number(&finished.json(), "/rounds/0/measured/totals/operations"),
            1_000.0
        );

        let via = format!("ip netns exec {}", hosts.b);
        let mut line = vec!["run", "rr", "--connections", "100", "--count", "1000"];
        line.extend(["--testee-via", &via, "--testee-host", "10.213.7.2"]);
        let finished = hosts.on_a(&line).finish(Duration::from_secs(20));
        finished.assert_refused(3, &["100", "port", "--source"]);
    });
}
