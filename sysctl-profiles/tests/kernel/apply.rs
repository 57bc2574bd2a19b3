//! Writing, reading back and putting back on a real kernel.

use std::fs::OpenOptions;
use std::io::Write;

use sysctl_profiles::catalogue::{self, Access, Kind, Scope};
use sysctl_profiles::{ApplyOptions, Class, Error, Host, Outcome, RestoreOptions};

use crate::space::{inside, journals, profile, put, value};

const RMEM: &str = "net.ipv4.tcp_rmem";

/// One write(2), and what the kernel says to it.
fn write(key: &str, value: &str) -> std::io::Result<usize> {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write(value.as_bytes())
}

#[test]
fn this_kernel_stores_refused_vectors_in_half_and_writes_short() {
    if !inside("apply::this_kernel_stores_refused_vectors_in_half_and_writes_short") {
        return;
    }
    put(RMEM, "4096 131072 33554432").expect("it is ours");
    let error = write(RMEM, "8192 262144 4294967296\n").expect_err("above int");
    assert_eq!(error.raw_os_error(), Some(22));
    assert_eq!(
        value(RMEM),
        "8192 262144 33554432",
        "two of three are stored all the same"
    );

    put(RMEM, "4096 131072 33554432").expect("it is ours");
    let text = "8192 262144 67108864 9\n";
    let written = write(RMEM, text).expect("it takes three");
    assert!(written < text.len(), "{written} of {}", text.len());
    assert_eq!(value(RMEM), "8192 262144 67108864");
}

#[test]
fn a_long_list_of_ports_comes_back_whole() {
    if !inside("apply::a_long_list_of_ports_comes_back_whole") {
        return;
    }
    const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
    let list = |count: u32| {
        let ports: Vec<String> = (0..count).map(|at| (10_000 + 2 * at).to_string()).collect();
        ports.join(",")
    };
    let profile = profile(&[(RESERVED, "50000")]);
    let host = Host::here(None).expect("Linux");

    let long = list(600);
    put(RESERVED, &long).expect("it is ours");
    let applied = host.apply(&profile, &ApplyOptions::run()).expect("applied");
    assert_eq!(value(RESERVED), "50000");
    host.release(&applied).expect("put back");
    assert_eq!(value(RESERVED), long);

    // It takes a longer one in several writes and shows it; one write could not put it back.
    let longer = list(1000);
    put(RESERVED, &longer).expect("it is ours");
    assert_eq!(value(RESERVED), longer);
    let error = host
        .apply(&profile, &ApplyOptions::run())
        .expect_err("it could not be put back");
    assert!(
        error.to_string().contains("could not be put back"),
        "{error}"
    );
    assert_eq!(value(RESERVED), longer);
}

#[test]
fn vectors_stored_in_half_are_undone() {
    if !inside("apply::vectors_stored_in_half_are_undone") {
        return;
    }
    let host = Host::here(None).expect("Linux");
    let before = (value(RMEM), value("net.core.somaxconn"));
    let mut bad = profile(&[
        ("net.core.somaxconn", "65535"),
        (RMEM, "8192 262144 67108864"),
    ]);
    // What the catalogue would not let through.
    for value_of_rmem in [
        "8192 262144 4294967296",
        "8192 262144 67108864 9",
        "8192 262144 x",
    ] {
        bad.settings[1].value = value_of_rmem.to_owned();
        let error = host
            .apply(&bad, &ApplyOptions::run().lowering(true))
            .expect_err("the kernel refuses it");
        assert!(
            matches!(&error, Error::Refused { undo, .. } if undo.is_complete()),
            "{error}"
        );
        assert_eq!(
            (value(RMEM), value("net.core.somaxconn")),
            before,
            "{value_of_rmem}"
        );
        assert_eq!(journals(), 0);
    }
}

#[test]
fn a_value_that_only_this_kernel_refuses_takes_everything_back() {
    if !inside("apply::a_value_that_only_this_kernel_refuses_takes_everything_back") {
        return;
    }
    let host = Host::here(None).expect("Linux");
    let before = (value(RMEM), value("net.ipv4.tcp_ecn"));
    // 6.18 documents 5 and takes 2 at most; a later one may take it.
    let both = profile(&[(RMEM, ">= 8192 262144 67108864"), ("net.ipv4.tcp_ecn", "5")]);
    match host.guard(&both, &ApplyOptions::run()) {
        Ok(guard) => drop(guard),
        Err(error) => assert!(
            matches!(&error, Error::Refused { key, .. } if key == "net.ipv4.tcp_ecn"),
            "{error}"
        ),
    }
    assert_eq!((value(RMEM), value("net.ipv4.tcp_ecn")), before);
    assert_eq!(journals(), 0);
}

#[test]
fn apply_verify_and_restore() {
    if !inside("apply::apply_verify_and_restore") {
        return;
    }
    let keys = [
        (RMEM, ">= 8192 262144 67108864", "8192 262144 67108864"),
        (
            "net.ipv4.tcp_wmem",
            ">= 4096 65536 16777216",
            "4096 65536 16777216",
        ),
        ("net.core.somaxconn", ">= 65535", "65535"),
        (
            "net.ipv4.ip_local_port_range",
            ">= 1024 65535",
            "1024 65535",
        ),
        (
            "net.ipv4.ip_local_reserved_ports",
            "8081,8080,9000-9010",
            "8080-8081,9000-9010",
        ),
        ("net.ipv4.tcp_notsent_lowat", "131072", "131072"),
        ("net.ipv4.tcp_tw_reuse", "1", "1"),
        ("net.ipv4.tcp_congestion_control", "reno", "reno"),
        ("net.ipv4.tcp_child_ehash_entries", ">= 1000", "1000"),
        ("net.core.optmem_max", ">= 1048576", "1048576"),
        ("net.ipv4.tcp_max_tw_buckets", ">= 2000000", "2000000"),
    ];
    let before: Vec<String> = keys.iter().map(|(key, ..)| value(key)).collect();
    let lines: Vec<(&str, &str)> = keys
        .iter()
        .map(|(key, wanted, _)| (*key, *wanted))
        .collect();
    let (host, profile) = (Host::here(None).expect("Linux"), profile(&lines));
    assert!(host.plan(&profile).expect("a plan").unsatisfied().count() > 5);

    let applied = host
        .apply(&profile, &ApplyOptions::held())
        .expect("a namespace may have all of these");
    for (key, _, effective) in keys {
        assert_eq!(
            sysctl_profiles::read(key)
                .expect("it is there")
                .replace('\t', " "),
            effective
        );
        let recorded = applied
            .keys
            .iter()
            .find(|one| one.key == key)
            .expect("it is recorded");
        assert_eq!(recorded.effective.as_deref(), Some(effective));
        assert!(
            !recorded
                .note
                .as_deref()
                .unwrap_or_default()
                .starts_with("adjusted"),
            "{key}: {:?}",
            recorded.note
        );
    }
    let plan = host.plan(&profile).expect("a plan");
    assert_eq!(
        plan.unsatisfied()
            .map(|entry| entry.key.as_str())
            .collect::<Vec<_>>(),
        [""; 0]
    );
    assert_eq!(host.drift(&applied), []);
    assert_eq!(journals(), 1);

    let report = host
        .restore(RestoreOptions::default())
        .expect("it goes back")
        .expect("it was held");
    assert!(
        report
            .keys
            .iter()
            .all(|key| key.outcome == Outcome::PutBack),
        "{:?}",
        report.keys
    );
    let after: Vec<String> = keys.iter().map(|(key, ..)| value(key)).collect();
    assert_eq!(after, before);
    assert_eq!(journals(), 0);
}

#[test]
fn a_setting_of_the_machine_is_out_of_reach_in_a_namespace() {
    if !inside("apply::a_setting_of_the_machine_is_out_of_reach_in_a_namespace") {
        return;
    }
    let host = Host::here(None).expect("Linux");
    let before = value(RMEM);
    let mixed = profile(&[
        (RMEM, ">= 8192 262144 67108864"),
        ("net.core.rmem_max", ">= 268435456"),
        ("net.core.netdev_max_backlog", ">= 16384"),
        ("net.ipv4.tcp_congestion_control", "no_such"),
    ]);
    let plan = host.plan(&mixed).expect("a plan");
    let class = |key: &str| {
        plan.entries
            .iter()
            .find(|entry| entry.key == key)
            .expect("it is planned")
            .class
    };
    assert_eq!(class(RMEM), Class::Raises);
    assert_eq!(class("net.core.rmem_max"), Class::ReadOnly);
    assert_eq!(class("net.core.netdev_max_backlog"), Class::Missing);
    let error = host
        .apply(&mixed, &ApplyOptions::run())
        .expect_err("three cannot be written");
    let text = error.to_string();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("modprobe tcp_no_such"), "{text}");
    assert_eq!(value(RMEM), before, "nothing was written");
    assert_eq!(journals(), 0);
}

#[test]
fn what_an_administrator_writes_meanwhile_stays() {
    if !inside("apply::what_an_administrator_writes_meanwhile_stays") {
        return;
    }
    let host = Host::here(None).expect("Linux");
    let before = value(RMEM);
    let guard = host
        .guard(
            &profile(&[
                (RMEM, ">= 8192 262144 67108864"),
                ("net.core.somaxconn", "65535"),
            ]),
            &ApplyOptions::run(),
        )
        .expect("it can be applied");
    put("net.core.somaxconn", "12345").expect("it is ours");
    assert_eq!(guard.drift().len(), 1);
    let report = guard
        .restore()
        .expect("the rest goes back")
        .expect("there was a journal");
    assert_eq!(report.left_alone().count(), 1);
    assert_eq!(
        (value("net.core.somaxconn").as_str(), value(RMEM)),
        ("12345", before)
    );
}

#[test]
fn ports_go_up_and_come_back() {
    if !inside("apply::ports_go_up_and_come_back") {
        return;
    }
    let keys = [
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_port_range",
    ];
    let before = keys.map(value);
    let host = Host::here(None).expect("Linux");
    for (start, range) in [("40000", "50000 65535"), ("80", "80 65535")] {
        let ports = profile(&[(keys[0], start), (keys[1], range)]);
        let options = ApplyOptions::run().lowering(true);
        let guard = host
            .guard(&ports, &options)
            .unwrap_or_else(|error| panic!("{start}: {error}"));
        assert_eq!(keys.map(value), [start, range]);
        guard.restore().expect("it goes back");
        assert_eq!(keys.map(value), before);
    }
}

/// Bounds that the kernel draws closer for reasons that are no constants.
const CLOSER: [&str; 2] = [
    // The kernel's build says which modes there are.
    "net.ipv4.tcp_ecn",
    // Bounded by the port range.
    "net.ipv4.ip_unprivileged_port_start",
];

#[test]
fn the_bounds_of_the_catalogue_are_accepted() {
    if !inside("apply::the_bounds_of_the_catalogue_are_accepted") {
        return;
    }
    let mut seen = 0;
    for info in catalogue::keys() {
        // Only what this namespace has to itself.
        let own =
            info.scope == Scope::Namespace && info.access == Access::Settable && !info.is_file();
        let elements = match info.kind {
            Kind::Number => 1,
            Kind::Amount(elements) => usize::from(elements),
            _ => continue,
        };
        if !own || CLOSER.contains(&info.key) || sysctl_profiles::read(info.key).is_err() {
            continue;
        }
        let before = value(info.key);
        for bound in [info.range.0, info.range.1] {
            let text = vec![bound.to_string(); elements].join(" ");
            put(info.key, &text).unwrap_or_else(|error| panic!("{} {text}: {error}", info.key));
            assert_eq!(value(info.key), text, "{}", info.key);
        }
        put(info.key, &before).expect("it was there");
        seen += 1;
    }
    assert!(seen > 30, "only {seen} keys");
}

#[test]
fn every_value_of_this_kernel_is_one_that_the_catalogue_accepts() {
    if !inside("apply::every_value_of_this_kernel_is_one_that_the_catalogue_accepts") {
        return;
    }
    let mut seen = 0;
    for info in catalogue::keys().filter(|info| !info.is_file()) {
        let (Ok(now), Ok(_)) = (sysctl_profiles::read(info.key), catalogue::find(info.key)) else {
            continue;
        };
        if now.is_empty() {
            continue;
        }
        // It panics on a value that the catalogue refuses.
        let same = profile(&[(info.key, &now)]);
        let plan = Host::here(None)
            .expect("Linux")
            .plan(&same)
            .expect("a plan");
        assert!(
            plan.entries[0].is_satisfied(),
            "{}: {:?}",
            info.key,
            plan.entries[0]
        );
        seen += 1;
    }
    assert!(seen > 30, "only {seen} keys");
}
