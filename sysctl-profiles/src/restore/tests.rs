use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::apply::ApplyOptions;
use crate::identity::Process;
use crate::state::StateDir;
use crate::status::{KeyState, Owner, Place};
use crate::testing::{FakeMachine, Fault, profile};

const LINES: &str = "net.core.somaxconn 65535\nnet.ipv4.tcp_rmem >= 8192 262144 67108864";

/// A process that has ended.
fn dead() -> Process {
    let this = Process::this().expect("/proc");
    Process {
        start_ticks: this.start_ticks + 1,
        ..this
    }
}

fn abandoned(hold: Hold) -> ApplyOptions {
    ApplyOptions {
        owner: Some(dead()),
        hold,
        ..ApplyOptions::run()
    }
}

fn journal_file(machine: &FakeMachine) -> PathBuf {
    let host = machine.host();
    host.state.file(host.here.network_namespace)
}

fn edit(machine: &FakeMachine, from: &str, to: &str) {
    let path = journal_file(machine);
    let text = fs::read_to_string(&path).expect("there is a journal");
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).expect("a temporary file");
}

#[test]
fn the_next_command_undoes_what_a_killed_run_has_left() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    assert_eq!(
        host.status().expect("it can be seen").journals[0].owner,
        Owner::Dead
    );
    let reports = host.heal().expect("it goes back");
    assert_eq!(reports.len(), 1);
    assert!(
        reports[0]
            .keys
            .iter()
            .all(|key| key.outcome == Outcome::PutBack)
    );
    assert_eq!(machine.values(), before);
    assert_eq!(machine.journals(), 0);
}

#[test]
fn applying_heals_first() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    let second = host
        .apply(&profile("net.core.somaxconn 8192"), &ApplyOptions::run())
        .expect("the first is dead");
    assert_eq!(second.healed.len(), 1);
    assert_eq!(
        second.keys[0].before.as_deref(),
        Some("4096"),
        "not the killed run's value"
    );
    host.release(&second).expect("it goes back");
    assert_eq!(machine.values(), before);
}

#[test]
fn a_held_profile_outlives_its_owner_but_not_half_applied() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Held))
        .expect("it can be applied");
    assert_eq!(host.heal().expect("it is held"), []);
    assert_eq!(
        host.status().expect("it can be seen").journals[0].owner,
        Owner::Held
    );
    edit(&machine, "\"in_force\"", "\"applying\"");
    assert_eq!(host.heal().expect("it goes back").len(), 1);
    assert_eq!(machine.values(), before);
}

#[test]
fn a_crash_between_two_writes_leaves_what_can_be_undone() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    edit(&machine, "\"in_force\"", "\"applying\"");
    machine.put("net.core.somaxconn", "4096\n");
    machine.put("net.ipv4.tcp_rmem", "8192\t131072\t33554432\n");
    let report = &host.heal().expect("it goes back")[0];
    let outcomes: Vec<&Outcome> = report.keys.iter().map(|key| &key.outcome).collect();
    assert_eq!(outcomes, [&Outcome::PutBack, &Outcome::AlreadyBack]);
    assert_eq!(machine.values(), before);
}

#[test]
fn a_journal_of_another_boot_is_discarded() {
    let machine = FakeMachine::new();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Held))
        .expect("it can be applied");
    machine.put(
        "kernel.random.boot_id",
        "00000000-0000-4000-8000-000000000002\n",
    );
    let writes = machine.writes().len();
    let rebooted = machine.host();
    assert_eq!(
        rebooted.status().expect("it can be seen").journals[0].place,
        Place::OtherBoot
    );
    let reports = rebooted.heal().expect("it is discarded");
    assert!(reports.len() == 1 && reports[0].other_boot);
    assert_eq!(
        (machine.writes().len(), machine.journals()),
        (writes, 0),
        "old values over a fresh boot are wrong"
    );
}

#[test]
fn a_journal_of_another_namespace_is_listed_and_left() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let mut elsewhere = machine.host();
    elsewhere.here.network_namespace += 1;
    let applied = elsewhere
        .apply(&profile(LINES), &ApplyOptions::run())
        .expect("it can be applied");
    assert_eq!(host.heal().expect("not ours"), []);
    assert_eq!(
        host.restore(RestoreOptions { force: true })
            .expect("not ours"),
        None
    );
    let status = host.status().expect("it can be seen");
    assert_eq!(status.journals[0].place, Place::OtherNamespace);
    assert_eq!(status.journals[0].keys, []);
    assert!(elsewhere.release(&applied).expect("it goes back").is_some());
}

#[test]
fn what_a_killed_run_of_a_vanished_namespace_had_of_the_machine_comes_back() {
    let machine = FakeMachine::new();
    let mut host = machine.host();
    let mut elsewhere = machine.host();
    elsewhere.here.network_namespace = 1;
    let lines = "net.core.netdev_max_backlog 5000\nnet.core.somaxconn 5000";
    elsewhere
        .apply(&profile(lines), &abandoned(Hold::Run))
        .expect("it can be applied");
    host.is_gone = |_| false;
    assert_eq!(host.heal().expect("somebody may still restore it"), []);
    host.is_gone = |inode| inode == 1;
    let reports = host.heal().expect("it goes back");
    let keys: Vec<&str> = reports[0].keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(keys, ["net.core.netdev_max_backlog"]);
    assert_eq!(machine.value("net.core.netdev_max_backlog"), "1000");
    // The fake machine has one for all namespaces; this one is not the vanished one's.
    assert_eq!(machine.value("net.core.somaxconn"), "5000");
    assert_eq!(machine.journals(), 0);
}

#[test]
fn an_owner_out_of_sight_counts_as_alive() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let out_of_sight = Process {
        pid_namespace: 1,
        ..dead()
    };
    let options = ApplyOptions {
        owner: Some(out_of_sight),
        ..ApplyOptions::run()
    };
    host.apply(&profile(LINES), &options)
        .expect("it can be applied");
    assert_eq!(host.heal().expect("nothing to do"), []);
    assert_eq!(
        host.status().expect("it can be seen").journals[0].owner,
        Owner::OutOfSight
    );
    host.restore(RestoreOptions::default())
        .expect_err("it may be alive");
    assert!(
        host.restore(RestoreOptions { force: true })
            .expect("forced")
            .is_some()
    );
}

#[test]
fn what_cannot_be_put_back_keeps_its_journal() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    let applied = host
        .apply(&profile(LINES), &ApplyOptions::run())
        .expect("it can be applied");
    machine.fault("net.ipv4.tcp_rmem", Fault::InvalidAfter(1));
    let error = host.release(&applied).expect_err("the kernel refuses");
    let text = error.to_string();
    assert!(
        text.contains("net.ipv4.tcp_rmem: not put back to 4096 131072 33554432"),
        "{text}"
    );
    assert_eq!(
        machine.value("net.core.somaxconn"),
        "4096",
        "the others are back"
    );
    assert_eq!(machine.journals(), 1);
    assert_eq!(
        machine.value("net.ipv4.tcp_rmem"),
        "4096\t262144\t67108864",
        "half of it"
    );
    machine.repair("net.ipv4.tcp_rmem");
    host.release(&applied).expect("now it works");
    assert_eq!(machine.values(), before);
    assert_eq!(machine.journals(), 0);
}

#[test]
fn force_writes_over_what_somebody_else_has_written() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(LINES), &ApplyOptions::held())
        .expect("it can be applied");
    machine.put("net.core.somaxconn", "12345\n");
    let status = host.status().expect("it can be seen");
    let states: Vec<KeyState> = status.journals[0]
        .keys
        .iter()
        .map(|key| key.state)
        .collect();
    assert_eq!(states, [KeyState::Foreign, KeyState::Ours]);
    host.restore(RestoreOptions { force: true })
        .expect("forced");
    assert_eq!(machine.values(), before);
}

#[test]
fn a_journal_that_cannot_be_understood_is_kept_and_stops_everything() {
    let machine = FakeMachine::new();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    edit(&machine, "linerate.journal/1", "linerate.journal/99");
    let writes = machine.writes().len();
    let error = host
        .apply(&profile(LINES), &ApplyOptions::run())
        .expect_err("it may be the only record");
    assert!(error.to_string().contains("linerate.journal/99"), "{error}");
    host.restore(RestoreOptions::default())
        .expect_err("the same");
    assert_eq!((machine.writes().len(), machine.journals()), (writes, 1));
    assert_eq!(
        host.status().expect("it can be seen").journals[0].place,
        Place::Unknown
    );
}

#[test]
fn an_edited_journal_cannot_write_what_is_never_written() {
    let machine = FakeMachine::new();
    let host = machine.host();
    machine.put("kernel.modules_disabled", "1\n");
    host.apply(&profile("net.core.somaxconn 65535"), &abandoned(Hold::Run))
        .expect("it can be applied");
    edit(&machine, "net.core.somaxconn", "kernel.modules_disabled");
    let error = host.heal().expect_err("it is denied");
    assert!(error.to_string().contains("does not write"), "{error}");
    assert_eq!(machine.value("kernel.modules_disabled"), "1");
    assert_eq!(machine.journals(), 1);
}

#[test]
fn a_journal_that_cannot_be_completed_takes_everything_back() {
    let machine = FakeMachine::new();
    let before = machine.values();
    machine.fault("net.core.somaxconn", Fault::FillsDisk);
    let error = machine
        .host()
        .apply(
            &profile("net.core.somaxconn 65535\nfs.nr_open 2097152"),
            &ApplyOptions::run(),
        )
        .expect_err("the journal cannot be written");
    assert!(matches!(error, Error::State { .. }), "{error}");
    // Although its owner, this process, lives on.
    assert_eq!(machine.values(), before);
    assert_eq!(machine.journals(), 0);
}

#[test]
fn a_removed_journal_does_not_keep_values_from_coming_back() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    let applied = host
        .apply(&profile(LINES), &ApplyOptions::run())
        .expect("it can be applied");
    fs::remove_dir_all(machine.state_dir()).expect("a temporary directory");
    let report = host
        .release(&applied)
        .expect("it goes back")
        .expect("there was something to put back");
    assert!(
        report
            .keys
            .iter()
            .all(|key| key.outcome == Outcome::PutBack)
    );
    assert_eq!(machine.values(), before);
    assert_eq!(host.release(&applied).expect("nothing to do"), None);
}

#[test]
fn what_the_kernel_adjusted_is_still_ours_after_a_failed_attempt() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    machine.fault("net.core.somaxconn", Fault::RoundsUp);
    let applied = host
        .apply(&profile("net.core.somaxconn 65535"), &ApplyOptions::run())
        .expect("it can be applied");
    assert_eq!(machine.value("net.core.somaxconn"), "65536");
    machine.fault("net.core.somaxconn", Fault::Refuses);
    host.release(&applied).expect_err("it is refused");
    machine.repair("net.core.somaxconn");
    host.release(&applied).expect("it goes back");
    assert_eq!(machine.values(), before);
}

#[test]
fn nobody_else_can_lock() {
    use std::os::unix::fs::PermissionsExt;
    let machine = FakeMachine::new();
    let host = machine.host();
    let path = machine.state_dir().join("lock");
    let mode = || {
        fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    drop(host.state.lock().expect("it is free"));
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    drop(host.state.lock().expect("it is free"));
    assert_eq!(mode(), 0o600, "of an earlier linerate");
}

#[test]
fn a_lock_is_waited_for_and_its_holder_named() {
    let machine = FakeMachine::new();
    let lock = machine.host().state.lock().expect("it is free");
    let waiting = StateDir::at(machine.state_dir(), Duration::from_millis(100));
    let error = waiting.lock().expect_err("it is held");
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(lock);
    waiting.lock().expect("it is free again");
}

#[test]
fn a_directory_that_others_may_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let machine = FakeMachine::new();
    fs::create_dir(machine.state_dir()).expect("a temporary directory");
    fs::set_permissions(machine.state_dir(), fs::Permissions::from_mode(0o777))
        .expect("it is ours");
    let error = machine
        .host()
        .apply(&profile(LINES), &ApplyOptions::run())
        .expect_err("not trusted");
    assert!(
        error.to_string().contains("can be written by others"),
        "{error}"
    );
    assert_eq!(machine.writes(), []);
}

#[test]
fn a_file_that_is_gone_is_reported() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let applied = host
        .apply(
            &profile("/sys/class/net/eth0/queues/rx-0/rps_cpus 3"),
            &ApplyOptions::run(),
        )
        .expect("it can be applied");
    machine.remove("/sys/class/net/eth0/queues/rx-0/rps_cpus");
    let report = host
        .release(&applied)
        .expect("the device took it along")
        .expect("there was a journal");
    assert_eq!(report.keys[0].outcome, Outcome::Gone);
    assert_eq!(machine.journals(), 0);
}
