use super::*;
use crate::checkup::{Checkup, Neighbour, Observed};
use crate::document::{
    Finite, IoUringState, Limit, LimitValue, Limits, NetworkInterface, SystemCpu,
};
use crate::text::{Style, checkup};

/// A dedicated machine on which nothing is in the way.
fn good() -> Host {
    let unlimited = Limit {
        soft: LimitValue::UNLIMITED,
        hard: LimitValue::UNLIMITED,
    };
    let facts = [
        ("cgroup.cpu_quota", "none"),
        ("seccomp.mode", "off"),
        ("netfilter.conntrack", "not loaded"),
        ("netfilter.hooks", "none"),
        ("tcp.time_wait_sockets", "12"),
        ("cpu.turbo", "off"),
        ("audit.daemon", "not running"),
    ];
    Host {
        cpu_count: Some(8),
        physical_cores: Some(8),
        governor: Some("performance".to_owned()),
        clocksource: Some("tsc".to_owned()),
        congestion_control: Some("cubic".to_owned()),
        hypervisor: Some("none".to_owned()),
        limits: Some(Limits {
            nofile: unlimited,
            memlock_bytes: Some(unlimited),
        }),
        io_uring: Some(IoUringState {
            available: true,
            probe: "ok".to_owned(),
            ..IoUringState::default()
        }),
        mitigations: [("meltdown".to_owned(), "Not affected".to_owned())].into(),
        sysctls: [(
            "net.ipv4.ip_local_port_range".to_owned(),
            "32768\t60999".to_owned(),
        )]
        .into(),
        facts: facts
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Host::default()
    }
}

fn found(host: &Host, code: &str) -> Finding {
    let all = of_host(host);
    let one = all.iter().find(|finding| finding.code == code);
    one.unwrap_or_else(|| panic!("no finding {code} in {all:?}"))
        .clone()
}

#[test]
fn a_good_machine_has_nothing_to_say() {
    let host = good();
    let findings = of_host(&host);
    assert!(findings.len() >= 14, "{findings:?}");
    for finding in findings {
        assert_eq!(finding.level, Level::Fine, "{finding:?}");
        assert_eq!(finding.warning("local"), None);
    }
}

/// Each change to a good machine, the finding that it must give, and words of its cure.
#[test]
fn every_fault_is_found_with_its_effect_and_a_cure() {
    type Change = fn(&mut Host);
    fn fact(host: &mut Host, name: &str, value: &str) {
        host.facts.insert(name.to_owned(), value.to_owned());
    }
    let faults: [(Change, &str, Level, &str); 15] = [
        (
            |host| refuse_io_uring(host, Some(2), "Operation not permitted"),
            "io_uring",
            Level::Warning,
            "io_uring_disabled=0",
        ),
        (
            |host| refuse_io_uring(host, Some(1), "Operation not permitted"),
            "io_uring",
            Level::Warning,
            "io_uring_group",
        ),
        (
            |host| refuse_io_uring(host, Some(0), "Cannot allocate memory"),
            "io_uring",
            Level::Warning,
            "ulimit -l",
        ),
        (
            |host| limit(host, 1024, 1 << 30),
            "descriptors",
            Level::Warning,
            "ulimit -n",
        ),
        (
            |host| limit(host, 1 << 20, 65536),
            "locked_memory",
            Level::Warning,
            "LimitMEMLOCK",
        ),
        (
            |host| host.governor = Some("powersave".to_owned()),
            "governor",
            Level::Warning,
            "cpupower",
        ),
        (
            |host| fact(host, "cpu.turbo", "on"),
            "turbo",
            Level::Note,
            "no_turbo",
        ),
        (
            |host| host.clocksource = Some("hpet".to_owned()),
            "clocksource",
            Level::Warning,
            "tsc",
        ),
        (
            |host| host.physical_cores = Some(1),
            "cores",
            Level::Warning,
            "--testee-via",
        ),
        (
            |host| fact(host, "cgroup.cpu_quota", "1.5 CPUs"),
            "cpu_quota",
            Level::Warning,
            "quota",
        ),
        (
            |host| {
                fact(
                    host,
                    "netfilter.conntrack",
                    "loaded, tracks 17 connections in this namespace",
                )
            },
            "conntrack",
            Level::Warning,
            "notrack",
        ),
        (
            |host| fact(host, "netfilter.hooks", "nftables hooks: input"),
            "netfilter",
            Level::Note,
            "nft",
        ),
        (
            |host| fact(host, "tcp.time_wait_sockets", "28000"),
            "time_wait",
            Level::Warning,
            "--source",
        ),
        (
            |host| fact(host, "interface.unreachable", "Network is unreachable"),
            "unreachable",
            Level::Problem,
            "ip route get",
        ),
        (
            |host| host.congestion_control = Some("bbr".to_owned()),
            "congestion_control",
            Level::Note,
            "--congestion cubic",
        ),
    ];
    for (change, code, level, cure) in faults {
        let mut host = good();
        change(&mut host);
        let finding = found(&host, code);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.effect.is_some(), "{finding:?}");
        assert!(
            finding
                .cure
                .as_ref()
                .is_some_and(|text| text.contains(cure)),
            "{finding:?}"
        );
        let warned = finding.warning("local");
        assert_eq!(warned.is_some(), level >= Level::Warning);
        if let Some(warning) = warned {
            assert!(warning.text.starts_with("host local: "), "{warning:?}");
        }
    }
}

#[test]
fn a_machine_that_shows_nothing_is_not_called_fit() {
    let hidden = |reason: &str| {
        let mut host = good();
        host.sysctls.clear();
        host.missing
            .insert("kernel.version".to_owned(), reason.to_owned());
        found(&host, "visibility")
    };
    let without_proc = hidden("no /proc/sys/kernel/version here");
    assert_eq!(without_proc.level, Level::Warning);
    assert!(without_proc.seen.contains("/proc/sys/kernel/version"));
    assert_eq!(hidden("not available on this system").level, Level::Note);
}

#[test]
fn sockets_in_time_wait_concern_only_what_connects() {
    let mut host = good();
    host.facts
        .insert("tcp.time_wait_sockets".to_owned(), "28000".to_owned());
    let waiting = found(&host, "time_wait");
    assert!(waiting.concerns(true) && !waiting.concerns(false));
    assert!(found(&host, "cores").concerns(false));
}

#[test]
fn only_the_traffic_of_the_measurement_is_exempted_from_tracking() {
    let tracked = |interface: &str, family: &str, state: &str| {
        let mut host = good();
        host.interface = Some(NetworkInterface {
            name: interface.to_owned(),
            ..NetworkInterface::default()
        });
        let facts = [
            ("interface.address_family", family),
            ("netfilter.conntrack", state),
        ];
        host.facts
            .extend(facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
        found(&host, "conntrack")
    };
    let some = "loaded, tracks 17 connections in this namespace";
    let cure = |interface, family| tracked(interface, family, some).cure.expect("a cure");
    // Both families: an inet table. What was exempted on its way out stays so on its way in.
    let loopback = cure("lo", "IPv6");
    assert!(
        loopback.contains("add rule inet linerate output oif lo notrack;"),
        "{loopback}"
    );
    assert!(!loopback.contains("prerouting"), "{loopback}");
    let v4 = cure("eth0", "IPv4");
    assert!(
        v4.contains("output ip daddr PEER notrack") && !v4.contains("oif lo"),
        "{v4}"
    );
    assert!(v4.contains("prerouting ip saddr PEER notrack"), "{v4}");
    let v6 = cure("eth0", "IPv6");
    assert!(
        v6.contains("output ip6 daddr") && v6.contains("prerouting ip6 saddr"),
        "{v6}"
    );
    for fine in ["loaded, tracks nothing in this namespace", "not loaded"] {
        assert_eq!(tracked("lo", "IPv4", fine).level, Level::Fine, "{fine}");
    }
    // The state after the cure.
    let exempt = format!("{some}, not over loopback");
    assert_eq!(tracked("lo", "IPv4", &exempt).level, Level::Fine);
    assert_eq!(tracked("eth0", "IPv4", &exempt).level, Level::Warning);
}

#[test]
fn what_could_not_be_looked_at_is_not_called_fine() {
    for (fact, code) in [
        ("netfilter.hooks", "netfilter"),
        ("netfilter.conntrack", "conntrack"),
    ] {
        let mut host = good();
        host.facts.remove(fact);
        host.missing
            .insert(fact.to_owned(), "permission denied".to_owned());
        let finding = found(&host, code);
        assert_eq!(finding.level, Level::Note, "{finding:?}");
        assert!(
            finding.seen.contains("not known: permission denied"),
            "{finding:?}"
        );
    }
}

fn refuse_io_uring(host: &mut Host, disabled: Option<i64>, answer: &str) {
    host.io_uring = Some(IoUringState {
        available: false,
        disabled_sysctl: disabled,
        probe: format!("io_uring_setup: {answer}").to_lowercase(),
        ..IoUringState::default()
    });
}

fn limit(host: &mut Host, nofile: u64, memlock_bytes: u64) {
    let both = |value| Limit {
        soft: LimitValue::Limited(value),
        hard: LimitValue::Limited(value),
    };
    host.limits = Some(Limits {
        nofile: both(nofile),
        memlock_bytes: Some(both(memlock_bytes)),
    });
}

#[test]
fn a_device_with_one_queue_is_noticed_only_where_there_are_cpus_to_spread_to() {
    let mut host = good();
    host.interface = Some(NetworkInterface {
        name: "eth0".to_owned(),
        mtu_bytes: Some(1500),
        ..NetworkInterface::default()
    });
    for (fact, value) in [
        ("rx_queues", "1"),
        ("rps_cpus", "off"),
        ("offloads", "TSO off, GRO on"),
    ] {
        host.facts
            .insert(format!("interface.{fact}"), value.to_owned());
    }
    assert_eq!(found(&host, "interrupts").level, Level::Note);
    assert_eq!(found(&host, "interface").level, Level::Note);
    host.facts
        .insert("interface.rps_cpus".to_owned(), "0-7".to_owned());
    assert_eq!(found(&host, "interrupts").level, Level::Fine);
    host.cpu_count = Some(2);
    host.facts
        .insert("interface.rps_cpus".to_owned(), "off".to_owned());
    assert_eq!(found(&host, "interrupts").level, Level::Fine);
}

/// Two CPUs, so long busy, stolen and idle.
fn cpu_ms(busy: u64, stolen: u64, idle: u64) -> SystemCpu {
    let ns = |ms: u64| ms * 1_000_000;
    SystemCpu::from_times(2, ns(busy), 0, 0, ns(stolen), ns(idle))
}

fn quiet() -> Observed {
    Observed {
        watched_ns: 1_000_000_000,
        cpu: Some(cpu_ms(10, 0, 1990)),
        clock_read_ns: Finite::new(25.0),
        clock_step_ns: Some(20),
        sleep_late_p50_ns: Some(60_000),
        sleep_late_p99_ns: Some(90_000),
        ..Observed::default()
    }
}

#[test]
fn what_is_observed_is_judged() {
    assert!(
        of_observed(&quiet())
            .iter()
            .all(|each| each.level == Level::Fine)
    );
    let mut loud = quiet();
    loud.cpu = Some(cpu_ms(800, 200, 1000));
    loud.neighbours = vec![Neighbour {
        process_id: 42,
        name: "stress".to_owned(),
        cpu_cores_busy: Finite::new(0.8),
    }];
    loud.clock_read_ns = Finite::new(900.0);
    loud.sleep_late_p50_ns = Some(3_900_000);
    let levels: Vec<(String, Level)> = of_observed(&loud)
        .into_iter()
        .map(|each| (each.code, each.level))
        .collect();
    let expected = [
        ("neighbours", Level::Problem),
        ("steal", Level::Warning),
        ("clock_read", Level::Warning),
        ("timer", Level::Warning),
    ];
    assert_eq!(
        levels,
        expected.map(|(code, level)| (code.to_owned(), level))
    );
    assert!(of_observed(&loud)[0].seen.contains("stress (42) 80.0 %"));
}

/// In 200 ms of two CPUs a tick is 2.5 % of all time, which says nothing of who uses them.
#[test]
fn single_ticks_of_a_short_look_are_chance() {
    let look = |busy, stolen| {
        let observed = Observed {
            watched_ns: 200_000_000,
            cpu: Some(cpu_ms(busy, stolen, 400 - busy - stolen)),
            ..Observed::default()
        };
        let levels = of_others(&observed).into_iter().map(|each| each.level);
        levels.collect::<Vec<_>>()
    };
    assert_eq!(look(20, 20), [Level::Fine, Level::Fine]);
    assert_eq!(look(30, 30), [Level::Warning, Level::Warning]);
    assert_eq!(look(200, 0), [Level::Problem, Level::Fine]);
}

#[test]
fn what_is_more_than_a_note_becomes_a_warning_of_its_host() {
    let mut observed = quiet();
    observed.cpu = Some(cpu_ms(1000, 0, 1000));
    let findings = of_others(&observed);
    let warnings: Vec<Message> = findings
        .iter()
        .filter_map(|each| each.warning("b"))
        .collect();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, "neighbours");
    assert!(
        warnings[0]
            .text
            .starts_with("host b: others keep 1.00 of 2 CPUs busy (50.0 %); no process that is visible from here: "),
        "{}",
        warnings[0].text
    );
    assert!(warnings[0].cure.as_ref().unwrap().starts_with("end them"));
    let mut host = good();
    host.facts.insert("cpu.turbo".to_owned(), "on".to_owned());
    let note = found(&host, "turbo");
    assert_eq!((note.level, note.warning("b")), (Level::Note, None));
}

#[test]
fn the_worst_comes_first_and_is_the_verdict() {
    let mut host = good();
    host.governor = Some("powersave".to_owned());
    host.facts.insert("cpu.turbo".to_owned(), "on".to_owned());
    let checkup = Checkup::new("0.1.0", 0, host, quiet());
    assert_eq!(checkup.verdict, Level::Warning);
    let text = checkup::render(&checkup, &Style::default());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Measure here with care: 1 warning, 1 note.");
    assert_eq!(lines[2], "  warning   the CPUs are governed by 'powersave'");
    assert_eq!(
        lines[3..5].concat(),
        "            effect: their speed may change during the run, and slow rises make light load look worse            than heavy"
    );
    assert_eq!(
        lines[5],
        "            cure: cpupower frequency-set -g performance"
    );
    assert!(lines[6].starts_with("  note      turbo"));
    let fit = Checkup::new("0.1.0", 0, good(), quiet());
    assert!(
        checkup::render(&fit, &Style::default()).starts_with("This machine is fit to measure.\n")
    );
}

#[test]
fn a_spinning_process_is_seen_among_many_cpus() {
    let level = |cpus: u32, busy_cores: f64| {
        let mut observed = quiet();
        let all_ns = 1_000_000_000 * u64::from(cpus);
        let busy_ns = (busy_cores * 1e9) as u64;
        observed.cpu = Some(SystemCpu::from_times(
            cpus,
            busy_ns,
            0,
            0,
            0,
            all_ns - busy_ns,
        ));
        of_observed(&observed)[0].level
    };
    assert_eq!(level(64, 0.05), Level::Fine);
    assert_eq!(level(64, 0.15), Level::Warning);
    // A spinning process, as ticks count it.
    assert_eq!(level(64, 0.98), Level::Problem);
    assert_eq!(level(2, 0.04), Level::Fine);
    assert_eq!(level(2, 0.07), Level::Warning);
    assert_eq!(level(2, 0.5), Level::Problem);
}
