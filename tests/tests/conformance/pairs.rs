//! Every engine with every other, all workloads, all families.

use engine::driver::Driver;
use engine::session::How;
use engine::shape::Pace;
use engine::workload::{Closer, Direction, LoadSpec, ServeSpec};
use linerate_tests::load::{Plan, echo, rr, stream, transaction, with};
use linerate_tests::testee::{self, Testee};
use linerate_tests::{Family, drivers, each_family, eventually};
use std::time::Duration;

linerate_tests::for_every_engine!(loads_every_other_engine, many_connections_and_workers);
linerate_tests::for_every_variant!(loads_itself, many_connections_and_workers);

fn workloads() -> Vec<(LoadSpec, ServeSpec)> {
    let role = |request_bytes, response_bytes, close_after| ServeSpec::Rr {
        request_bytes,
        response_bytes,
        close_after,
        how: How::Fin,
    };
    vec![
        (echo(1), ServeSpec::Echo),
        (with(echo(10_000), 4, Pace::Closed), ServeSpec::Echo),
        (echo(500_000), ServeSpec::Echo),
        (with(rr(1, 1), 16, Pace::Closed), role(1, 1, None)),
        (rr(20_000, 70_000), role(20_000, 70_000, None)),
        (stream(Direction::Send, 65_536), ServeSpec::Discard),
        (
            stream(Direction::Receive, 65_536),
            ServeSpec::Source {
                message_bytes: 65_536,
            },
        ),
        (
            stream(Direction::Both, 16_384),
            ServeSpec::Duplex {
                message_bytes: 16_384,
            },
        ),
        (
            transaction(Some((1, 1)), Closer::Client, How::Fin),
            role(1, 1, None),
        ),
        (
            transaction(None, Closer::Server, How::Fin),
            role(1, 1, Some(0)),
        ),
    ]
}

fn loads_every_other_engine(driver: &'static dyn Driver) {
    let others = drivers()
        .into_iter()
        .filter_map(|other| linerate_tests::driver(other.name()));
    for other in others {
        loads(driver, other);
    }
}

fn loads_itself(driver: &'static dyn Driver) {
    loads(driver, driver);
}

fn loads(driver: &'static dyn Driver, other: &'static dyn Driver) {
    each_family(|family| {
        for (spec, role) in workloads() {
            let testee = Testee::start(other, family, role);
            // Counted and not timed: a busy machine takes longer, and fails nothing.
            let plan = Plan::new(driver, &testee.address, spec.clone());
            let loaded = plan.connections(3).count(60).run();
            let what = format!("{} on {family:?}, {spec:?}", other.name());
            assert_eq!(
                loaded.recorded.errors_total(),
                0,
                "{what}: {:?}",
                loaded.recorded.error_texts
            );
            assert_eq!(loaded.recorded.unfinished.count, 0, "{what}");
            assert_eq!(loaded.recorded.operations, 60, "{what}");
            let open = || testee.total(|c| &c.accepted) - testee.total(|c| &c.closed);
            assert!(
                eventually(Duration::from_secs(5), || open() == 0),
                "{what}: {} open",
                open()
            );
            testee.stop();
        }
    });
}

fn many_connections_and_workers(driver: &'static dyn Driver) {
    let mut serve = testee::Plan::new(driver, Family::Tcp4, ServeSpec::Echo);
    serve.workers = 2;
    serve.strategy = engine::driver::AcceptStrategy::Reuseport;
    let testee = serve.start();
    let mut plan = Plan::new(driver, &testee.address, echo(2_000))
        .connections(200)
        .count(10_000);
    plan.workers = 2;
    let loaded = plan.run();
    loaded.assert_clean();
    assert_eq!((loaded.recorded.operations, loaded.opened()), (10_000, 200));
    let bytes = 10_000 * 2_000;
    assert_eq!(
        (loaded.recorded.bytes_sent, loaded.recorded.bytes_received),
        (bytes, bytes)
    );
    // The last answers are counted once their sends are known to be over: perhaps after they came.
    let sent = || testee.total(|counters| &counters.bytes_sent);
    assert!(
        eventually(Duration::from_secs(5), || sent() == bytes),
        "{} bytes sent",
        sent()
    );
    assert_eq!(testee.total(|counters| &counters.accepted), 200);
}
