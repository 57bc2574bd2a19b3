use std::fs;

use super::*;
use crate::apply::ApplyOptions;
use crate::hold::Hold;
use crate::outcome::Outcome;
use crate::restore::RestoreOptions;
use crate::status::{Belonging, Owner};
use crate::testing::{FakeMachine, abandoned, profile};

const LINES: &str = "net.core.somaxconn 65535\nnet.ipv4.tcp_rmem >= 8192 262144 67108864";

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
    let reports = host.heal().expect("it goes back").reports;
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
        Belonging::OtherBoot
    );
    let reports = rebooted.heal().expect("it is discarded").reports;
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
    elsewhere.here.namespace.inode += 1;
    let applied = elsewhere
        .apply(&profile(LINES), &ApplyOptions::run())
        .expect("it can be applied");
    assert_eq!(host.heal().expect("not ours"), Healed::default());
    assert_eq!(
        host.restore(RestoreOptions { force: true })
            .expect("not ours"),
        None
    );
    let status = host.status().expect("it can be seen");
    assert_eq!(status.journals[0].place, Belonging::OtherNamespace);
    assert_eq!(status.journals[0].keys, []);
    assert!(elsewhere.release(&applied).expect("it goes back").is_some());
}

#[test]
fn what_a_killed_run_of_a_vanished_namespace_had_of_the_machine_comes_back() {
    let machine = FakeMachine::new();
    let mut host = machine.host();
    let mut elsewhere = machine.host();
    elsewhere.here.namespace.inode = 1;
    let lines = "net.core.netdev_max_backlog 5000\nnet.core.somaxconn 5000";
    elsewhere
        .apply(&profile(lines), &abandoned(Hold::Run))
        .expect("it can be applied");
    host.existence = |_| Existence::Exists;
    let nothing = Healed::default();
    assert_eq!(host.heal().expect("somebody may still restore it"), nothing);
    host.existence = |inode| match inode {
        1 => Existence::Gone,
        other => panic!("{other} was not asked for"),
    };
    let reports = host.heal().expect("it goes back").reports;
    let keys: Vec<&str> = reports[0].keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(keys, ["net.core.netdev_max_backlog"]);
    assert_eq!(machine.value("net.core.netdev_max_backlog"), "1000");
    // The fake machine has one for all namespaces; this one is not the vanished one's.
    assert_eq!(machine.value("net.core.somaxconn"), "5000");
    assert_eq!(machine.journals(), 0);
}

#[test]
fn a_namespace_that_may_still_be_there_keeps_its_journal() {
    let machine = FakeMachine::new();
    let mut host = machine.host();
    let mut elsewhere = machine.host();
    elsewhere.here.namespace.inode = 1;
    elsewhere
        .apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    let values = machine.values();
    host.existence = |_| Existence::Unknown("/proc hides it".to_owned());
    let healed = host.heal().expect("nothing is done");
    assert_eq!(healed.reports, []);
    let said = healed.kept[0].to_string();
    for part in [
        "journal-1-",
        "net:[1]",
        "cannot be told: /proc hides it",
        "run `linerate",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let status = host.status().expect("it can be seen");
    assert_eq!(status.journals[0].kept, Some(healed.kept[0].why.clone()));
    assert_eq!((machine.values(), machine.journals()), (values, 1));
    // Whoever applies a profile here leaves it alone, too.
    let applied = host
        .apply(&profile("net.ipv4.tcp_tw_reuse 1"), &ApplyOptions::run())
        .expect("another namespace");
    host.release(&applied).expect("it goes back");
    assert_eq!(machine.journals(), 1);
}

#[test]
fn a_journal_of_an_earlier_namespace_with_this_inode_is_not_applied_here() {
    let machine = FakeMachine::new();
    let host = machine.host();
    let mut earlier = machine.host();
    earlier.here.namespace.cookie = Some(1);
    let lines = "net.core.netdev_max_backlog 5000\nnet.core.somaxconn 5000";
    earlier
        .apply(&profile(lines), &abandoned(Hold::Run))
        .expect("it can be applied");
    // A run of the new one has the file of its own, and meets nobody.
    let status = host.status().expect("it can be seen");
    assert_eq!(status.journals[0].place, Belonging::OtherNamespace);
    let reports = host.heal().expect("it is certainly gone").reports;
    let keys: Vec<&str> = reports[0].keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(
        keys,
        ["net.core.netdev_max_backlog"],
        "what was the machine's"
    );
    // The fake machine has one for all namespaces: it stands for a value that the new one has by chance.
    assert_eq!(machine.value("net.core.somaxconn"), "5000");
    assert_eq!(machine.journals(), 0);
}

#[test]
fn a_journal_without_a_cookie_is_still_put_back() {
    let machine = FakeMachine::new();
    let before = machine.values();
    let host = machine.host();
    let mut old = machine.host();
    old.here.namespace.cookie = None;
    old.apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    let path = old.state.file(old.here.namespace);
    let text = fs::read_to_string(&path).expect("there is a journal");
    let older = text
        .replace("linerate.journal/2", "linerate.journal/1")
        .replace("  \"network_namespace_cookie\": null,\n", "");
    assert!(!older.contains("cookie"), "{older}");
    fs::write(&path, older).expect("it is ours");
    assert_eq!(host.heal().expect("it goes back").reports.len(), 1);
    assert_eq!((machine.values(), machine.journals()), (before, 0));
}

#[test]
fn a_journal_that_nobody_understands_is_named() {
    let machine = FakeMachine::new();
    let host = machine.host();
    host.apply(&profile(LINES), &abandoned(Hold::Run))
        .expect("it can be applied");
    let own = host.state.file(host.here.namespace);
    let other = machine.state_dir().join("journal-1-1.json");
    let whole = fs::read(&own).expect("there is a journal");
    // Cut off, no text, of an unknown form, and no file at all.
    let later = br#"{"schema": "linerate.journal/3", "more": {}}"#;
    let damaged: [(&[u8], &str); 3] = [
        (&whole[..100], "EOF"),
        (b"\xff\xfe{", "UTF-8"),
        (later, "linerate.journal/3"),
    ];
    for (bytes, why) in damaged {
        for path in [&own, &other] {
            fs::write(path, bytes).expect("it is ours");
            let healed = host.heal().expect("nothing can be done");
            assert_eq!(healed.reports.len(), usize::from(*path == other), "{why}");
            let said = healed.kept[0].to_string();
            let name = path.display().to_string();
            for part in [name.as_str(), why, "put back by hand"] {
                assert!(said.contains(part), "{part}: {said}");
            }
            let status = host.status().expect("it can be seen");
            assert_eq!(status.journals[0].kept, Some(healed.kept[0].why.clone()));
            assert_eq!(fs::read(path).expect("it is there"), bytes);
            fs::remove_file(path).expect("it is ours");
            fs::write(&own, &whole).expect("it is ours");
        }
    }
    fs::remove_file(&own).expect("it is ours");
    fs::create_dir(&own).expect("it is ours");
    assert_eq!(host.heal().expect("nothing can be done").kept.len(), 1);
}

#[test]
fn nothing_of_the_machine_is_written_beside_a_journal_that_nobody_understands() {
    let machine = FakeMachine::new();
    let host = machine.host();
    fs::create_dir(machine.state_dir()).expect("a temporary directory");
    let other = machine.state_dir().join("journal-1-1.json");
    fs::write(&other, "{").expect("it is ours");
    let error = host
        .apply(
            &profile("net.core.netdev_max_backlog 5000"),
            &ApplyOptions::run(),
        )
        .expect_err("it may have that key");
    let text = error.to_string();
    assert!(
        text.contains("journal-1-1.json") && text.contains("put back by hand"),
        "{text}"
    );
    assert_eq!(machine.writes(), []);
    // What each namespace has for itself it cannot have.
    let applied = host
        .apply(&profile("net.core.somaxconn 5000"), &ApplyOptions::run())
        .expect("its own");
    host.release(&applied).expect("it goes back");
    let nothing = host
        .restore(RestoreOptions::default())
        .expect("nothing is held here");
    assert_eq!((nothing, machine.journals()), (None, 1));
}
