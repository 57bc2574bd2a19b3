use super::*;
use crate::error::ExitClass;
use crate::heal::Healed;
use crate::outcome::Outcome;
use crate::restore::RestoreOptions;
use crate::testing::{FakeMachine, Fault, named_profile, profile};

const SEVERAL: &str = "net.ipv4.tcp_rmem >= 8192 262144 67108864
    net.core.somaxconn >= 65535
    fs.nr_open >= 2097152
    net.core.rmem_max >= 100000
    net.ipv4.tcp_tw_reuse 1";

fn key<'a>(applied: &'a Applied, key: &str) -> &'a AppliedKey {
    applied
        .keys
        .iter()
        .find(|one| one.key == key)
        .expect("it is in the profile")
}

#[test]
fn a_profile_comes_and_goes() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    let applied = host
        .apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect("it can be applied");
    assert_eq!(
        machine.writes(),
        [
            ("/proc/sys/fs/nr_open".to_owned(), "2097152".to_owned()),
            (
                "/proc/sys/net/core/somaxconn".to_owned(),
                "65535".to_owned()
            ),
            (
                "/proc/sys/net/ipv4/tcp_rmem".to_owned(),
                "8192 262144 67108864".to_owned()
            ),
            ("/proc/sys/net/ipv4/tcp_tw_reuse".to_owned(), "1".to_owned()),
        ],
        "ceilings first, and nothing that is there already"
    );
    assert!(machine.always_had_a_journal());
    let rmem = key(&applied, "net.ipv4.tcp_rmem");
    assert_eq!(rmem.before.as_deref(), Some("4096 131072 33554432"));
    assert_eq!(rmem.effective.as_deref(), Some("8192 262144 67108864"));
    assert_eq!(
        (rmem.class, rmem.requested.as_str()),
        (Class::Raises, ">= 8192 262144 67108864")
    );
    assert_eq!(key(&applied, "net.core.rmem_max").class, Class::Unchanged);
    assert_eq!(host.drift(&applied), []);
    assert_eq!(machine.journals(), 1);

    let report = host
        .release(&applied)
        .expect("it goes back")
        .expect("there was a journal");
    assert!(report.is_complete());
    let order: Vec<&str> = report.keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(
        order,
        [
            "net.ipv4.tcp_tw_reuse",
            "net.ipv4.tcp_rmem",
            "net.core.somaxconn",
            "fs.nr_open"
        ]
    );
    assert_eq!(machine.values(), before);
    assert_eq!(machine.journals(), 0);
    assert_eq!(host.release(&applied).expect("nothing to do"), None);
}

#[test]
fn a_guard_puts_back_whatever_the_end() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = host
            .guard(&profile(SEVERAL), &ApplyOptions::run())
            .expect("it can be applied");
        assert_ne!(machine.values(), before);
        std::panic::resume_unwind(Box::new("the run panics"));
    }));
    assert!(run.is_err());
    assert_eq!(machine.values(), before);
    assert_eq!(machine.journals(), 0);
}

#[test]
fn a_vector_that_was_stored_in_half_is_undone() {
    for fault in [
        Fault::InvalidAfter(2),
        Fault::ShortAfter(2),
        Fault::InvalidAfter(0),
        Fault::Refuses,
    ] {
        let machine = FakeMachine::new();
        let before = machine.values();
        machine.fault("net.ipv4.tcp_rmem", fault);
        let error = machine
            .host()
            .apply(&profile(SEVERAL), &ApplyOptions::run())
            .expect_err("it is refused");
        assert_eq!(error.exit_class(), ExitClass::Machine);
        let text = error.to_string();
        assert!(
            text.contains("writing `8192 262144 67108864` to net.ipv4.tcp_rmem")
                && text.contains("was put back"),
            "{fault:?}: {text}"
        );
        assert_eq!(machine.values(), before, "{fault:?}");
        assert_eq!(machine.journals(), 0, "{fault:?}");
    }
}

#[test]
fn a_refused_value_takes_everything_back_at_once() {
    let machine = FakeMachine::new();
    let before = machine.values();
    machine.fault("net.ipv4.tcp_tw_reuse", Fault::Refuses);
    let error = machine
        .host()
        .apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect_err("it is refused");
    let text = error.to_string();
    assert!(
        text.contains("net.ipv4.tcp_tw_reuse") && text.contains("was put back"),
        "{text}"
    );
    assert_eq!(machine.values(), before);
    assert_eq!(machine.journals(), 0);
}

#[test]
fn an_optional_value_that_is_refused_is_left_out() {
    let machine = FakeMachine::new();
    let before = machine.values();
    machine.fault("net.ipv4.tcp_tw_reuse", Fault::Refuses);
    let host = machine.host();
    let applied = host
        .apply(
            &profile("net.core.somaxconn 65535\n?net.ipv4.tcp_tw_reuse 1"),
            &ApplyOptions::run(),
        )
        .expect("only an optional one is refused");
    let note = key(&applied, "net.ipv4.tcp_tw_reuse")
        .note
        .clone()
        .unwrap_or_default();
    assert!(
        note.starts_with("left out: the kernel refused it"),
        "{note}"
    );
    assert_eq!(
        key(&applied, "net.ipv4.tcp_tw_reuse").effective.as_deref(),
        Some("2")
    );
    assert_eq!(machine.value("net.core.somaxconn"), "65535");
    host.release(&applied).expect("it goes back");
    assert_eq!(machine.values(), before);
}

#[test]
fn what_is_effective_counts_and_not_what_was_asked_for() {
    let machine = FakeMachine::new();
    let before = machine.values();
    machine.fault("fs.pipe-max-size", Fault::RoundsUp);
    machine.fault("net.core.somaxconn", Fault::RoundsUp);
    let host = machine.host();
    let applied = host
        .apply(
            &profile("fs.pipe-max-size 2000000\nnet.core.somaxconn 5000"),
            &ApplyOptions::run(),
        )
        .expect("it can be applied");
    assert_eq!(
        key(&applied, "fs.pipe-max-size").effective.as_deref(),
        Some("2097152")
    );
    let adjusted = key(&applied, "net.core.somaxconn");
    assert_eq!(adjusted.effective.as_deref(), Some("8192"));
    assert!(
        adjusted
            .note
            .as_deref()
            .unwrap_or_default()
            .starts_with("adjusted: 5000 was written")
    );
    assert_eq!(host.drift(&applied), []);
    host.release(&applied).expect("it goes back");
    assert_eq!(machine.values(), before);
}

#[test]
fn a_kernel_that_ignores_a_write_is_told_of() {
    let machine = FakeMachine::new();
    machine.fault("net.core.somaxconn", Fault::Ignores);
    let applied = machine
        .host()
        .apply(&profile("net.core.somaxconn 65535"), &ApplyOptions::run())
        .expect("the kernel took it");
    let somaxconn = key(&applied, "net.core.somaxconn");
    assert_eq!(somaxconn.effective.as_deref(), Some("4096"));
    assert!(
        somaxconn
            .note
            .as_deref()
            .unwrap_or_default()
            .contains("the kernel has 4096")
    );
}

#[test]
fn what_somebody_else_writes_meanwhile_is_reported_and_left() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let applied = host
        .apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect("it can be applied");
    machine.put("net.core.somaxconn", "12345\n");
    let drift = host.drift(&applied);
    assert_eq!(drift.len(), 1);
    assert_eq!(
        (
            drift[0].key.as_str(),
            drift[0].expected.as_str(),
            drift[0].found.as_str()
        ),
        ("net.core.somaxconn", "65535", "12345")
    );
    let report = host
        .release(&applied)
        .expect("the rest goes back")
        .expect("there was a journal");
    let left: Vec<&str> = report.left_alone().map(|key| key.key.as_str()).collect();
    assert_eq!(left, ["net.core.somaxconn"]);
    assert_eq!(machine.value("net.core.somaxconn"), "12345");
    assert_eq!(machine.value("fs.nr_open"), "1048576");
    assert_eq!(
        machine.journals(),
        0,
        "the new value is the admin's business now"
    );
}

#[test]
fn two_runs_do_not_mix() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let first = host
        .apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect("the first");
    let writes = machine.writes().len();
    for second in [
        profile(SEVERAL),
        profile("net.core.somaxconn 8192"),
        Profile::load("baseline").expect("bundled"),
    ] {
        let error = host
            .apply(&second, &ApplyOptions::run())
            .expect_err("the first one lives");
        assert_eq!(error.exit_class(), ExitClass::Machine);
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
    }
    assert_eq!(
        machine.writes().len(),
        writes,
        "nothing was written for the others"
    );
    let error = host
        .restore(RestoreOptions::default())
        .expect_err("its owner lives");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    host.release(&first).expect("it goes back");
    host.apply(&profile("net.core.somaxconn 8192"), &ApplyOptions::run())
        .expect("now it is free");
}

#[test]
fn a_held_profile_stays_and_takes_only_itself_on_top() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(SEVERAL), &ApplyOptions::held())
        .expect("it can be applied");
    assert_eq!(host.heal().expect("nothing to do"), Healed::default());

    let same = host
        .apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect("the same one");
    assert_eq!(same.hold, Hold::Held);
    let somaxconn = key(&same, "net.core.somaxconn");
    assert_eq!(
        (somaxconn.before.as_deref(), somaxconn.class),
        (Some("4096"), Class::Raises)
    );
    assert_eq!(host.release(&same).expect("nothing to do"), None);
    assert_eq!(machine.value("net.core.somaxconn"), "65535");

    let other = named_profile("other", "net.core.somaxconn 8192");
    let text = host
        .apply(&other, &ApplyOptions::run())
        .expect_err("another one")
        .to_string();
    assert!(
        text.contains("held") && text.contains("sysctl restore"),
        "{text}"
    );

    machine.put("net.core.somaxconn", "12345\n");
    let error = host
        .apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect_err("it is not as it was");
    assert!(
        matches!(&error, Error::HeldDrifted { keys, .. } if keys == "net.core.somaxconn"),
        "{error}"
    );
    machine.put("net.core.somaxconn", "65535\n");

    let report = host
        .restore(RestoreOptions::default())
        .expect("it goes back")
        .expect("it was held");
    assert_eq!(report.hold, Hold::Held);
    assert_eq!(machine.values(), before);
    assert_eq!(
        host.restore(RestoreOptions::default())
            .expect("nothing to do"),
        None
    );
}

#[test]
fn a_run_on_a_held_profile_that_a_larger_value_replaced_is_satisfied() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let many = profile("net.core.somaxconn >= 65535");
    host.apply(&many, &ApplyOptions::held())
        .expect("it can be applied");
    machine.put("net.core.somaxconn", "100000\n");
    host.apply(&many, &ApplyOptions::run())
        .expect("at least 65535");
    let report = host
        .restore(RestoreOptions::default())
        .expect("done")
        .expect("it was held");
    assert!(matches!(report.keys[0].outcome, Outcome::LeftAlone { .. }));
}

#[test]
fn nothing_to_write_still_keeps_others_off() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let applied = host
        .apply(
            &Profile::load("baseline").expect("bundled"),
            &ApplyOptions::run(),
        )
        .expect("it has nothing");
    assert_eq!((machine.writes().len(), machine.journals()), (0, 1));
    host.apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect_err("a baseline must stay one");
    host.release(&applied).expect("nothing to put back");
    assert_eq!(machine.journals(), 0);
}

#[test]
fn without_a_journal_nothing_is_written() {
    let machine = FakeMachine::new();
    // A file where the directory should be made.
    machine.put("/blocked", "");
    let host = Host {
        state: crate::state::StateDir::at(
            machine.root.join("blocked/state"),
            std::time::Duration::ZERO,
        ),
        ..machine.host()
    };
    let error = host
        .apply(&profile(SEVERAL), &ApplyOptions::run())
        .expect_err("no journal");
    assert!(matches!(error, Error::State { .. }), "{error}");
    assert!(error.to_string().contains("LINERATE_STATE_DIR"), "{error}");
    assert_eq!(machine.writes(), []);
    let applied = host
        .apply(&profile("net.core.somaxconn >= 1"), &ApplyOptions::run())
        .expect("nothing to write");
    assert_eq!(applied.warnings.len(), 1);
    assert!(
        applied.warnings[0].text.contains("no journal"),
        "{}",
        applied.warnings[0]
    );
}

#[test]
fn settings_of_the_machine_are_not_shared_between_namespaces() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let mut elsewhere = machine.host();
    elsewhere.here.namespace.inode += 1;
    let applied = elsewhere
        .apply(
            &profile("net.core.netdev_max_backlog 5000\nnet.core.somaxconn 5000"),
            &ApplyOptions::run(),
        )
        .expect("the first");
    // The fake machine has one somaxconn; a real one has one for each namespace.
    let own = host
        .apply(&profile("net.core.somaxconn 6000"), &ApplyOptions::run())
        .expect("a key of each namespace");
    host.release(&own).expect("it goes back");
    let error = host
        .apply(
            &profile("net.core.netdev_max_backlog 9000"),
            &ApplyOptions::run(),
        )
        .expect_err("the machine's");
    assert!(
        matches!(&error, Error::OtherNamespace { key, .. } if key == "net.core.netdev_max_backlog"),
        "{error}"
    );
    host.apply(
        &profile("net.core.netdev_max_backlog >= 4000"),
        &ApplyOptions::run(),
    )
    .expect("it is so already");
    elsewhere.release(&applied).expect("it goes back");
}

#[test]
fn a_choice_and_a_restricted_algorithm_come_back_whole() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    let applied = host
        .apply(
            &profile(
                "net.ipv4.tcp_congestion_control cubic
                 net.ipv4.ip_local_reserved_ports 8080,9000-9001
                 /sys/kernel/mm/transparent_hugepage/enabled never
                 /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor performance
                 /sys/class/net/eth0/queues/rx-0/rps_cpus 3",
            ),
            &ApplyOptions::run(),
        )
        .expect("it can be applied");
    assert_eq!(
        machine.value("/sys/kernel/mm/transparent_hugepage/enabled"),
        "always madvise [never]"
    );
    assert_eq!(
        machine.value("net.ipv4.tcp_allowed_congestion_control"),
        "reno\tbbr\tcubic"
    );
    assert_eq!(
        machine.value("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"),
        "performance"
    );
    assert_eq!(host.drift(&applied), []);
    host.release(&applied).expect("it goes back");
    let after = machine.values();
    for (before, after) in before
        .iter()
        .zip(&after)
        .filter(|(before, _)| !before.0.ends_with("rps_cpus"))
    {
        assert_eq!(before, after);
    }
    assert_eq!(
        machine.value("/sys/class/net/eth0/queues/rx-0/rps_cpus"),
        "0"
    );
}

#[test]
fn what_is_read_only_can_be_done_without() {
    let machine = FakeMachine::new();
    let before = machine.values();
    machine.fault("net.core.somaxconn", Fault::ReadOnly);
    let host = machine.host();
    let refused = host.apply(&profile(SEVERAL), &ApplyOptions::run());
    let error = refused.expect_err("one cannot be written").to_string();
    assert!(error.contains("--skip-read-only"), "{error}");
    let options = ApplyOptions::run().skipping_read_only(true);
    let applied = host
        .apply(&profile(SEVERAL), &options)
        .expect("the others can be written");
    let skipped = key(&applied, "net.core.somaxconn");
    assert_eq!(skipped.class, Class::ReadOnly);
    assert_eq!(skipped.before, skipped.effective);
    let note = skipped.note.as_deref().unwrap_or_default();
    assert!(note.starts_with("left out: it is read-only here"), "{note}");
    assert_eq!(key(&applied, "net.ipv4.tcp_rmem").class, Class::Raises);
    host.release(&applied).expect("it goes back");
    assert_eq!(machine.values(), before);
    // Lowering is asked for by another name.
    let lowers = profile("net.core.rmem_max 4096");
    let error = host.apply(&lowers, &options).expect_err("it lowers");
    assert_eq!(error.exit_class(), ExitClass::Usage);
}
