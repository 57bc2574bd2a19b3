use std::fs;
use std::time::Duration;

use super::*;
use crate::apply::ApplyOptions;
use crate::heal::Healed;
use crate::hold::Hold;
use crate::identity::Process;
use crate::state::StateDir;
use crate::status::{Belonging, KeyState, Owner};
use crate::testing::{FakeMachine, Fault, abandoned, dead, profile};

const LINES: &str = "net.core.somaxconn 65535\nnet.ipv4.tcp_rmem >= 8192 262144 67108864";

#[test]
fn a_held_profile_outlives_its_owner_but_not_half_applied() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Held))
        .expect("it can be applied");
    assert_eq!(host.heal().expect("it is held"), Healed::default());
    assert_eq!(
        host.status().expect("it can be seen").journals[0].owner,
        Owner::Held
    );
    machine.edit_journal("\"in_force\"", "\"applying\"");
    assert_eq!(host.heal().expect("it goes back").reports.len(), 1);
    assert_eq!(machine.values(), before);
}

#[test]
fn a_crash_between_two_writes_leaves_what_can_be_undone() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    machine.edit_journal("\"in_force\"", "\"applying\"");
    machine.put("net.core.somaxconn", "4096\n");
    machine.put("net.ipv4.tcp_rmem", "8192\t131072\t33554432\n");
    let report = &host.heal().expect("it goes back").reports[0];
    let outcomes: Vec<&Outcome> = report.keys.iter().map(|key| &key.outcome).collect();
    assert_eq!(outcomes, [&Outcome::PutBack, &Outcome::AlreadyBack]);
    assert_eq!(machine.values(), before);
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
    assert_eq!(host.heal().expect("nothing to do"), Healed::default());
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
    machine.edit_journal("linerate.journal/2", "linerate.journal/99");
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
        Belonging::Unknown
    );
}

#[test]
fn an_edited_journal_cannot_write_what_is_never_written() {
    let machine = FakeMachine::new();
    let host = machine.host();
    machine.put("kernel.modules_disabled", "1\n");
    host.apply(&profile("net.core.somaxconn 65535"), &abandoned(Hold::Run))
        .expect("it can be applied");
    machine.edit_journal("net.core.somaxconn", "kernel.modules_disabled");
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
