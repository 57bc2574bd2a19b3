//! What connections leave behind: nothing.

use engine::driver::Driver;
use engine::session::How;
use engine::workload::{Closer, ServeSpec};
use linerate_tests::load::{Plan, transaction};
use linerate_tests::raw::Conn;
use linerate_tests::testee::Testee;
use linerate_tests::{Family, eventually};
use std::time::Duration;

linerate_tests::for_every_engine!(
    connections_that_come_and_go_reuse_their_places,
    a_thousand_connections_at_once,
);

fn connections_that_come_and_go_reuse_their_places(driver: &'static dyn Driver) {
    let mut plan = linerate_tests::testee::Plan::new(driver, Family::Tcp4, ServeSpec::Echo);
    plan.limits.connections = 8;
    let testee = plan.start();
    let spec = transaction(Some((10, 10)), Closer::Client, How::Rst);
    let loaded = Plan::new(driver, &testee.address, spec)
        .connections(4)
        .count(2_000)
        .run();
    assert_eq!(
        loaded.recorded.errors_total(),
        0,
        "{:?}",
        loaded.recorded.error_texts
    );
    assert_eq!(loaded.recorded.operations, 2_000);
    let closed = || testee.total(|counters| &counters.closed);
    assert!(
        eventually(Duration::from_secs(5), || closed() >= 2_000),
        "{}",
        closed()
    );
}

fn a_thousand_connections_at_once(driver: &'static dyn Driver) {
    let testee = Testee::start(driver, Family::Unix, ServeSpec::Echo);
    let conns: Vec<_> = (0..1_000).map(|_| Conn::to(&testee.address)).collect();
    for byte in [1, 2] {
        conns.iter().for_each(|conn| conn.say(&[byte]));
        assert!(conns.iter().all(|conn| conn.hear(1) == [byte]));
    }
    assert_eq!(testee.total(|counters| &counters.accepted), 1_000);
}
