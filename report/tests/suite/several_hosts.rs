//! Rounds of several hosts: what came from each, and what is missing where an agent was lost.

use crate::fixtures::{plan, rr_parts};
use report::assemble::{RoundParts, round};
use report::document::{ConnectionAccounts, LostAgent, Role, Round, Side, Unknown, Workload};

/// A round with its load on two hosts, `a` and `b`.
fn on_two_hosts(change: impl FnOnce(&mut RoundParts)) -> Round {
    let mut parts = rr_parts(1, 1_000_000);
    let at = |side: &Side, name: &str| Side {
        agent: format!("load-{name}"),
        host: name.to_owned(),
        ..side.clone()
    };
    let load = parts.load.remove(0);
    parts.load = vec![at(&load, "a"), at(&load, "b")];
    parts.start_skew_ns = Some(50_000);
    change(&mut parts);
    round(&plan(Workload::Rr), parts).unwrap()
}

#[test]
fn each_host_has_its_share_and_the_window_of_all_is_less_the_skew() {
    let round = on_two_hosts(|parts| parts.load[1].window.start_offset_ns += 1_000);
    let seen: Vec<(&str, Role, u64)> = round
        .by_host
        .iter()
        .map(|share| (share.host.as_str(), share.role, share.operations))
        .collect();
    assert_eq!(
        seen,
        [
            ("a", Role::Load, 1_000_000),
            ("b", Role::Load, 1_000_000),
            ("local", Role::Testee, 0)
        ]
    );
    let share = &round.by_host[0];
    let (_, latency) = round.load[0].measured.latency.primary().unwrap();
    assert_eq!(share.latency_p50_ns, Some(latency.p50_ns));
    assert_eq!(
        share
            .cpu_cores_busy
            .map(|cores| (cores.get() * 1e3).round()),
        round
            .cost
            .load
            .cpu_cores_busy
            .map(|cores| (cores.get() * 500.0).round())
    );
    let length_ns = round.load[0].window.length_ns;
    assert_eq!(round.common_window_ns, Some(length_ns - 1_000 - 50_000));
}

#[test]
fn threads_of_two_hosts_have_the_cpus_of_both_unless_they_are_one_machine() {
    let busy = |round: &Round| round.busy_share(Role::Load, 1).unwrap().get();
    let apart = on_two_hosts(|parts| {
        parts
            .load
            .iter_mut()
            .for_each(|side| side.busiest_thread_share = None);
    });
    let mut one = apart.clone();
    one.one_machine = vec![vec!["a".to_owned(), "b".to_owned()]];
    assert!((busy(&one) - 2.0 * busy(&apart)).abs() < 1e-9);
}

#[test]
fn the_connections_of_a_lost_agent_are_unfinished_and_what_it_did_divides_nothing() {
    let round = on_two_hosts(|parts| {
        for side in &mut parts.load {
            side.measured.connections = Some(ConnectionAccounts {
                started: 5,
                succeeded: 4,
                failed: 1,
                lost: 1,
                unfinished: 0,
            });
        }
        parts.lost = vec![LostAgent {
            agent: "load-3".to_owned(),
            role: Role::Load,
            host: "c".to_owned(),
            connections: 7,
            ..LostAgent::default()
        }];
    });
    let accounts = round.measured.connections.unwrap();
    assert_eq!((accounts.started, accounts.unfinished), (17, 7));
    assert_eq!(
        accounts.started,
        accounts.succeeded + accounts.failed + accounts.unfinished
    );
    let testee = &round.cost.testee;
    assert!(testee.cpu_cores_busy.is_some() && testee.cpu_ns_per_operation.is_none());
    let reason = Unknown::reason_for(&testee.unknown, "cpu_ns_per_operation");
    assert!(reason.is_some_and(|reason| reason.contains("lost")));
    assert!(round.cost.load.cpu_ns_per_operation.is_some());
    assert!(round.hosts.iter().all(|host| host.service_demand.is_none()));
}
