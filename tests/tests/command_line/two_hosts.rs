//! Two hosts on one machine: network namespaces joined by a veth pair, made and removed here.

use super::documents::number;
use linerate_tests::binary::within;
use linerate_tests::settings::{Host, OVER_THERE};
use std::time::Duration;

#[test]
fn the_testee_is_started_over_there_and_tells_what_it_received() {
    let Some((a, b)) = Host::pair("two_hosts") else {
        return;
    };
    within(60, move || {
        for workload in ["stream", "rr", "crr"] {
            let more = [
                "--duration",
                "400ms",
                "--warmup",
                "100ms",
                "--format",
                "json",
            ];
            let finished = a
                .run_with(&b, workload, &more)
                .finish(Duration::from_secs(30));
            assert_eq!(finished.code(), 0, "{workload}: {}", finished.stderr);
            let document = finished.json();
            assert_eq!(document["status"], "ok");
            let endpoint = document["plan"]["target"]["endpoint"]
                .as_str()
                .unwrap_or_default();
            let there = format!("tcp://{OVER_THERE}:");
            assert!(endpoint.starts_with(&there), "{endpoint}");
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
    let Some((a, b)) = Host::pair("two_hosts_killed") else {
        return;
    };
    within(60, move || {
        let more = ["--duration", "30s", "--warmup", "0s", "--interval", "200ms"];
        let mut call = a.run_with(&b, "rr", &more);
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
    let Some((a, _b)) = Host::pair("two_hosts_absent") else {
        return;
    };
    within(60, move || {
        let line = [
            "run",
            "rr",
            "tcp://10.213.9.9:9000",
            "--connect-timeout",
            "500ms",
        ];
        let finished = a.linerate(&line).finish(Duration::from_secs(20));
        finished.assert_refused(4, &["tcp://10.213.9.9:9000"]);
    });
}

#[test]
fn ports_that_run_out() {
    let Some((a, b)) = Host::pair("ports_that_run_out") else {
        return;
    };
    within(60, move || {
        // 21 ports. Towards loopback there are spare addresses; towards another host there are none.
        a.write("net.ipv4.ip_local_port_range", "50000 50020");
        let mut line = vec!["run", "rr", "--connections", "100", "--count", "1000"];
        line.extend([
            "--warmup",
            "0s",
            "--testee-listen",
            "tcp://127.0.0.1:9000",
            "--format",
            "json",
        ]);
        let finished = a.linerate(&line).finish(Duration::from_secs(20));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert_eq!(
            number(&finished.json(), "/rounds/0/measured/totals/operations"),
            1_000.0
        );

        let more = ["--connections", "100", "--count", "1000"];
        let finished = a.run_with(&b, "rr", &more).finish(Duration::from_secs(20));
        finished.assert_refused(3, &["100", "port", "--source"]);
    });
}
