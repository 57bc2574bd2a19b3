use super::*;
use crate::error::ExitClass;
use crate::testing::{FakeMachine, Fault, profile};
use crate::value::Change;

fn class_of(plan: &Plan, key: &str) -> Class {
    entry(plan, key).class
}

fn entry<'a>(plan: &'a Plan, key: &str) -> &'a PlanEntry {
    plan.entries
        .iter()
        .find(|entry| entry.key == key)
        .expect("it is in the plan")
}

#[test]
fn every_key_is_classified() {
    let machine = FakeMachine::new();
    machine.fault("net.core.wmem_max", Fault::ReadOnly);
    let plan = machine
        .host()
        .plan(&profile(
            "net.core.somaxconn 65535
             net.core.netdev_max_backlog 500
             net.core.rmem_max >= 100000
             net.core.wmem_max 8388608
             net.ipv4.tcp_syncookies 1
             net.ipv4.tcp_tw_reuse 1
             net.ipv4.tcp_low_latency 1
             ?net.core.busy_poll >= 50",
        ))
        .expect("a plan");
    for (key, class) in [
        ("net.core.somaxconn", Class::Raises),
        ("net.core.netdev_max_backlog", Class::Lowers),
        ("net.core.rmem_max", Class::Unchanged),
        ("net.core.wmem_max", Class::ReadOnly),
        ("net.ipv4.tcp_syncookies", Class::Unchanged),
        ("net.ipv4.tcp_tw_reuse", Class::Changes),
        ("net.ipv4.tcp_low_latency", Class::NoOp),
        ("net.core.busy_poll", Class::Missing),
    ] {
        assert_eq!(class_of(&plan, key), class, "{key}");
    }
    let blocked = entry(&plan, "net.core.wmem_max");
    assert_eq!(
        (blocked.change, blocked.is_written()),
        (Some(Change::Raises), false)
    );
    assert_eq!(machine.writes(), [], "a plan writes nothing");
    assert_eq!(machine.journals(), 0);
}

#[test]
fn the_published_profiles_lower_what_kernels_have_today() {
    let machine = FakeMachine::new();
    let lowered = |name: &str| {
        let plan = machine
            .host()
            .plan(&Profile::load(name).expect("bundled"))
            .expect("a plan");
        let lowers = plan
            .entries
            .iter()
            .filter(|entry| entry.class == Class::Lowers);
        lowers.map(|entry| entry.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        lowered("wsdemo-2012"),
        ["net.ipv4.tcp_mem", "net.ipv4.tcp_rmem"]
    );
    assert_eq!(lowered("crossbar-2013"), ["net.ipv4.tcp_max_orphans"]);
    for own in ["10gbe", "many-connections", "low-latency"] {
        assert_eq!(lowered(own), [""; 0], "{own}");
    }
}

#[test]
fn lowering_alone_is_a_matter_of_asking_for_it() {
    let machine = FakeMachine::new();
    let plan = machine
        .host()
        .plan(&profile("net.ipv4.tcp_rmem 4096 87380 67108864"))
        .expect("a plan");
    let error = plan.check(false).expect_err("it lowers");
    assert_eq!(error.exit_class(), ExitClass::Usage);
    let text = error.to_string();
    assert!(
        text.contains("LOWERS 4096 131072 33554432 to 4096 87380 67108864"),
        "{text}"
    );
    plan.check(true).expect("it was asked for");
}

#[test]
fn what_the_machine_cannot_do_is_the_machines() {
    let machine = FakeMachine::new();
    machine.fault("net.core.somaxconn", Fault::Closed);
    let plan = machine
        .host()
        .plan(&profile(
            "net.core.somaxconn 65535
             net.core.busy_poll 50
             net.core.netdev_max_backlog 500",
        ))
        .expect("a plan");
    let error = plan.check(false).expect_err("three obstacles");
    assert_eq!(error.exit_class(), ExitClass::Machine);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 4, "one line each: {text}");
    assert!(text.contains("nothing was changed"), "{text}");
}

#[test]
fn optional_settings_are_left_out_and_say_so() {
    let machine = FakeMachine::new();
    machine.fault("net.core.somaxconn", Fault::ReadOnly);
    let plan = machine
        .host()
        .plan(&profile(
            "?net.core.somaxconn 65535
             ?net.ipv4.tcp_tw_recycle 1",
        ))
        .expect("a plan");
    plan.check(false).expect("both are optional");
    for (key, part) in [
        ("net.core.somaxconn", "read-only"),
        ("net.ipv4.tcp_tw_recycle", "Linux 4.12"),
    ] {
        let entry = entry(&plan, key);
        let note = entry.note.as_deref().unwrap_or_default();
        assert!(
            note.starts_with("left out") && note.contains(part),
            "{key}: {note}"
        );
        assert!(!entry.is_written());
    }
    assert_eq!(
        plan.unsatisfied().count(),
        1,
        "a missing optional key is no failure of verify"
    );
}

#[test]
fn rounding_is_foreseen() {
    let machine = FakeMachine::new();
    let plan = machine
        .host()
        .plan(&profile(
            "fs.pipe-max-size 2000000\nnet.core.somaxconn 4096",
        ))
        .expect("a plan");
    let pipe = entry(&plan, "fs.pipe-max-size");
    assert_eq!(pipe.target.as_deref(), Some("2097152"));
    assert!(
        pipe.note
            .as_deref()
            .unwrap_or_default()
            .contains("rounds 2000000 up to 2097152")
    );
    machine.put("fs.pipe-max-size", "2097152\n");
    let plan = machine
        .host()
        .plan(&profile("fs.pipe-max-size 2000000"))
        .expect("a plan");
    assert_eq!(class_of(&plan, "fs.pipe-max-size"), Class::Unchanged);
}

#[test]
fn a_star_stands_for_all_files_of_a_kind() {
    let machine = FakeMachine::new();
    let key = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
    let plan = machine
        .host()
        .plan(&profile(&format!("{key} performance")))
        .expect("a plan");
    let keys: Vec<&str> = plan
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"
        ]
    );
    machine.remove(keys[0]);
    machine.remove(keys[1]);
    let plan = machine
        .host()
        .plan(&profile(&format!("{key} performance")))
        .expect("a plan");
    assert_eq!(
        (class_of(&plan, key), plan.entries.len()),
        (Class::Missing, 1)
    );
}

#[test]
fn a_choice_must_be_offered() {
    let machine = FakeMachine::new();
    let key = "/sys/kernel/mm/transparent_hugepage/enabled";
    let plan = machine
        .host()
        .plan(&profile(&format!("{key} sometimes")))
        .expect("a plan");
    let why = entry(&plan, key).obstacle.clone().unwrap_or_default();
    assert!(why.contains("always [madvise] never"), "{why}");
}

#[test]
fn a_port_range_below_the_unprivileged_ports_is_refused_beforehand() {
    let machine = FakeMachine::new();
    let plan = machine
        .host()
        .plan(&profile("net.ipv4.ip_local_port_range 80 65535"))
        .expect("a plan");
    let text = plan.check(false).expect_err("EINVAL").to_string();
    assert!(
        text.contains("begins at 80, below net.ipv4.ip_unprivileged_port_start (1024)"),
        "{text}"
    );
    let both =
        profile("net.ipv4.ip_local_port_range 80 65535\nnet.ipv4.ip_unprivileged_port_start 80");
    machine
        .host()
        .plan(&both)
        .expect("a plan")
        .check(false)
        .expect("the profile lowers the start first");
}

#[test]
fn ports_that_go_up_are_written_in_the_other_order() {
    let machine = FakeMachine::new();
    let keys = |lines: &str| {
        let plan = machine.host().plan(&profile(lines)).expect("a plan");
        plan.check(true).expect("the kernel takes it in this order");
        plan.entries
            .iter()
            .map(|entry| entry.key.clone())
            .collect::<Vec<_>>()
    };
    let (start, range) = (
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_port_range",
    );
    assert_eq!(
        keys(&format!("{start} 80\n{range} 80 65535")),
        [start, range]
    );
    assert_eq!(
        keys(&format!("{start} 40000\n{range} 50000 65535")),
        [range, start]
    );
    let plan = machine
        .host()
        .plan(&profile(&format!("{start} 40000")))
        .expect("a plan");
    plan.check(true).expect_err("above the range that is there");
}

#[test]
fn a_restricted_congestion_control_takes_its_list_along() {
    let machine = FakeMachine::new();
    let cubic = profile("net.ipv4.tcp_congestion_control cubic");
    let plan = machine.host().plan(&cubic).expect("a plan");
    let list = &plan.entries[0];
    assert_eq!(list.key, "net.ipv4.tcp_allowed_congestion_control");
    assert_eq!(list.target.as_deref(), Some("reno bbr cubic"));
    assert_eq!(plan.entries[1].key, "net.ipv4.tcp_congestion_control");
    plan.check(false)
        .expect("root of the initial namespace may");

    machine.fault("net.ipv4.tcp_allowed_congestion_control", Fault::Closed);
    let plan = machine.host().plan(&cubic).expect("a plan");
    let text = plan
        .check(false)
        .expect_err("another namespace may not")
        .to_string();
    assert!(
        text.contains("only the initial network namespace"),
        "{text}"
    );

    let plan = machine
        .host()
        .plan(&profile("net.ipv4.tcp_congestion_control htcp"))
        .expect("a plan");
    let text = plan.check(false).expect_err("no module").to_string();
    assert!(text.contains("modprobe tcp_htcp"), "{text}");
}

#[test]
fn a_syn_backlog_says_when_it_acts() {
    let machine = FakeMachine::new();
    let profile = profile("net.ipv4.tcp_max_syn_backlog >= 65536");
    let note = |machine: &FakeMachine| {
        let plan = machine.host().plan(&profile).expect("a plan");
        entry(&plan, "net.ipv4.tcp_max_syn_backlog").note.clone()
    };
    assert!(
        note(&machine)
            .unwrap_or_default()
            .contains("acts only while")
    );
    machine.put("net.ipv4.tcp_syncookies", "0\n");
    assert_eq!(note(&machine), None);
}

#[test]
fn programs_that_rewrite_settings_are_named() {
    let machine = FakeMachine::new();
    assert_eq!(
        machine
            .host()
            .plan(&profile("net.core.somaxconn 4096"))
            .expect("a plan")
            .warnings,
        []
    );
    machine.put("/proc/4711/comm", "tuned\n");
    machine.put("/proc/4712/comm", "bash\n");
    let plan = machine
        .host()
        .plan(&profile("net.core.somaxconn 4096"))
        .expect("a plan");
    assert_eq!(plan.warnings.len(), 1);
    assert!(
        plan.warnings[0].text.starts_with("TuneD"),
        "{}",
        plan.warnings[0]
    );
}

#[test]
fn limits_know_the_ceiling_that_the_profile_raises() {
    let machine = FakeMachine::new();
    let ceiling = |lines: &str| {
        let plan = machine.host().plan(&profile(lines)).expect("a plan");
        super::ceiling(&plan.entries, machine.host().files.as_ref())
    };
    assert_eq!(ceiling("net.core.somaxconn 4096"), Some(1_048_576));
    assert_eq!(ceiling("fs.nr_open >= 2097152"), Some(2_097_152));
}
