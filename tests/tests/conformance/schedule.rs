//! Open loop: the rate is kept, latency counts from the intended instant, nothing is lost.
//!
//! Times are asserted only against delays of 20 ms and more that a server injects.

use engine::driver::Driver;
use engine::session::How;
use engine::shape::{Pace, Queue};
use engine::workload::Closer;
use linerate_tests::Family;
use linerate_tests::load::{Loaded, Plan, echo, rr, transaction, with};
use linerate_tests::raw::{self, Server};
use std::time::{Duration, Instant};

linerate_tests::for_every_engine!(
    alone:
    a_constant_rate_is_kept,
    a_poisson_rate_is_kept,
    transactions_keep_a_rate,
    a_stall_shows_in_response_time_and_not_in_service_time,
    slow_answers_are_at_their_percentile_and_never_earlier,
    what_was_due_is_answered_failed_or_unfinished,
    depth_lets_the_schedule_go_on,
    in_one_queue_nothing_waits_for_a_slow_connection,
    a_schedule_faster_than_the_loop_lets_it_receive,
    a_count_begins_with_what_is_due_in_its_window,
    a_count_at_a_rate_is_over_when_the_rate_says_so,
);

fn accounted(loaded: &Loaded) -> u64 {
    let recorded = &loaded.recorded;
    recorded.response.len() + recorded.failed.len() + recorded.unfinished.count
}

fn a_constant_rate_is_kept(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let spec = with(echo(100), 1, Pace::Constant(500.0));
    let loaded = Plan::new(driver, &server.address, spec)
        .connections(4)
        .duration_ms(1_000)
        .run();
    loaded.assert_kept_up();
    assert_eq!(accounted(&loaded), 500, "500 are due in a second");
    let operations = loaded.recorded.operations;
    assert!(
        (450..=500).contains(&operations),
        "{operations} in the window"
    );
    assert_eq!(
        loaded.recorded.lag.len(),
        500,
        "each arrival's lag is recorded"
    );
}

fn a_poisson_rate_is_kept(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let spec = with(echo(100), 1, Pace::Poisson(800.0));
    let loaded = Plan::new(driver, &server.address, spec)
        .connections(4)
        .duration_ms(1_000)
        .run();
    loaded.assert_kept_up();
    // Five deviations of a Poisson count of 800 are 141.
    assert!(
        (659..=941).contains(&accounted(&loaded)),
        "{} were due",
        accounted(&loaded)
    );
}

fn transactions_keep_a_rate(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let spec = transaction(Some((10, 10)), Closer::Client, How::Fin);
    let spec = with(spec, 1, Pace::Constant(200.0));
    let loaded = Plan::new(driver, &server.address, spec)
        .connections(4)
        .duration_ms(1_000)
        .run();
    assert_eq!(
        loaded.recorded.errors_total(),
        0,
        "{:?}",
        loaded.recorded.error_texts
    );
    assert_eq!(accounted(&loaded), 200);
    assert!(
        (170..=200).contains(&loaded.recorded.operations),
        "{}",
        loaded.recorded.operations
    );
}

fn a_stall_shows_in_response_time_and_not_in_service_time(driver: &'static dyn Driver) {
    // One stall of 500 ms, 700 ms after the first request.
    let server = Server::start(Family::Tcp4, |conn, _| {
        let (mut begun, mut stalled) = (None, false);
        raw::answer(&conn, 10, |_, _| {
            let begun = *begun.get_or_insert_with(Instant::now);
            if !stalled && begun.elapsed() >= Duration::from_millis(700) {
                stalled = true;
                std::thread::sleep(Duration::from_millis(500));
            }
            Some(vec![1; 10])
        });
    });
    let spec = with(rr(10, 10), 1, Pace::Constant(200.0));
    let loaded = Plan::new(driver, &server.address, spec)
        .duration_ms(2_000)
        .run();
    loaded.assert_kept_up();
    let recorded = &loaded.recorded;
    assert_eq!(accounted(&loaded), 400);
    let ms = |ns: u64| ns as f64 / 1e6;
    assert!(
        ms(recorded.response.max()) >= 495.0,
        "max {}",
        ms(recorded.response.max())
    );
    // 80 of 400 arrivals come in the first 400 ms of the stall and wait more than 100 ms: 20 %.
    let late = recorded.response.count_between(100_000_000, u64::MAX);
    assert!(
        (78..=100).contains(&late),
        "{late} responses waited longer than 100 ms"
    );
    let p90 = ms(recorded.response.value_at_quantile(0.90));
    assert!((245.0..=400.0).contains(&p90), "p90 is {p90} ms");
    // With one request in flight only one saw the stall from its send on.
    assert!(ms(recorded.service.max()) >= 495.0);
    let slow = recorded.service.count_between(100_000_000, u64::MAX);
    assert!((1..=3).contains(&slow), "{slow} slow services");
}

fn slow_answers_are_at_their_percentile_and_never_earlier(driver: &'static dyn Driver) {
    // Every hundredth request of a connection is delayed by 100 ms; 40 ms lie between requests.
    let server = Server::start(Family::Tcp4, |conn, number| {
        raw::answer(&conn, 10, |request, _| {
            if (request + 10 * u64::from(number)) % 50 == 49 {
                std::thread::sleep(Duration::from_millis(100));
            }
            Some(vec![1; 10])
        });
    });
    let spec = with(rr(10, 10), 1, Pace::Constant(125.0));
    let loaded = Plan::new(driver, &server.address, spec)
        .connections(5)
        .duration_ms(2_000)
        .run();
    loaded.assert_kept_up();
    let recorded = &loaded.recorded;
    assert_eq!(accounted(&loaded), 250);
    // 50 per connection: each meets one delay of 100 ms; the next two wait for about 60 and 20 ms.
    let slow = recorded.response.count_between(99_500_000, u64::MAX);
    assert!((4..=8).contains(&slow), "{slow} of 5 delayed");
    let at = |quantile| recorded.response.value_at_quantile(quantile);
    assert!(at(0.99) >= 99_500_000, "p99 {}", at(0.99));
    assert!(at(0.90) < 90_000_000, "p90 {} is early", at(0.90));
    assert!(recorded.response.max() >= 99_500_000);
}

fn in_one_queue_nothing_waits_for_a_slow_connection(driver: &'static dyn Driver) {
    let slow_answers = |queue| {
        // The first answer of the first connection takes 400 ms; 10 ms lie between requests.
        let server = Server::start(Family::Tcp4, |conn, number| {
            raw::answer(&conn, 10, |request, _| {
                if (number, request) == (0, 0) {
                    std::thread::sleep(Duration::from_millis(400));
                }
                Some(vec![1; 10])
            });
        });
        let spec = with(rr(10, 10), 1, Pace::Constant(100.0));
        let mut plan = Plan::new(driver, &server.address, spec)
            .connections(4)
            .duration_ms(1_000);
        plan.queue = queue;
        let loaded = plan.run();
        loaded.assert_kept_up();
        assert_eq!(accounted(&loaded), 100, "{queue:?}");
        assert!(loaded.recorded.response.max() >= 399_000_000);
        loaded
            .recorded
            .response
            .count_between(150_000_000, u64::MAX)
    };
    // Every fourth is dealt to it, of which the first six wait for more than 150 ms.
    let own = slow_answers(Queue::Own);
    assert!((6..=9).contains(&own), "{own} slow answers");
    // Threads share no queue, which the plan refuses.
    if !driver.capabilities().thread_per_connection {
        assert_eq!(slow_answers(Queue::Shared), 1);
    }
}

fn a_schedule_faster_than_the_loop_lets_it_receive(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    for pace in [Pace::Constant(1e9), Pace::Poisson(1e9)] {
        let transactions = transaction(Some((10, 10)), Closer::Client, How::Fin);
        for (spec, depth) in [(rr(10, 10), 1), (rr(10, 10), 16), (transactions, 1)] {
            let spec = with(spec, depth, pace);
            // A thread has one operation in flight.
            if driver.check_load(&spec).is_err() {
                continue;
            }
            let begun = Instant::now();
            let loaded = Plan::new(driver, &server.address, spec)
                .duration_ms(300)
                .run();
            let recorded = &loaded.recorded;
            assert!(
                recorded.service.len() > 10,
                "{} answers",
                recorded.service.len()
            );
            assert!(
                recorded.unfinished.never_sent > 100_000_000,
                "{:?}",
                recorded.unfinished
            );
            assert!(
                begun.elapsed() < Duration::from_secs(8),
                "{:?}",
                begun.elapsed()
            );
        }
    }
}

fn a_count_begins_with_what_is_due_in_its_window(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, _| {
        raw::answer(&conn, 10, |_, _| {
            std::thread::sleep(Duration::from_millis(1));
            Some(vec![1; 10])
        });
    });
    // 20,000 come due in the warm-up, of which 200 can be answered in it, and 20 s of them would be left.
    let spec = with(rr(10, 10), 1, Pace::Constant(100_000.0));
    let mut plan = Plan::new(driver, &server.address, spec).count(50);
    plan.warmup = Duration::from_millis(200);
    let begun = Instant::now();
    let loaded = plan.run();
    assert_eq!(accounted(&loaded), 50);
    assert_eq!(loaded.recorded.errors_total(), 0);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

fn a_count_at_a_rate_is_over_when_the_rate_says_so(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, raw::echo);
    let paces = [Pace::Constant(500.0), Pace::Poisson(500.0)];
    let specs = [
        rr(10, 10),
        transaction(Some((10, 10)), Closer::Client, How::Fin),
    ];
    let of_pace = |pace| specs.clone().map(|spec| with(spec, 1, pace));
    for spec in paces.into_iter().flat_map(of_pace) {
        let plan = Plan::new(driver, &server.address, spec).connections(4);
        let begun = Instant::now();
        let loaded = plan.count(100).run();
        assert_eq!((loaded.recorded.operations, accounted(&loaded)), (100, 100));
        // Due within 200 ms, on average.
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
    }
}

fn what_was_due_is_answered_failed_or_unfinished(driver: &'static dyn Driver) {
    // Answers for 400 ms, then no more; connections are refused nothing, operations time out.
    let server = Server::start(Family::Tcp4, |conn, _| {
        let begun = Instant::now();
        raw::answer(&conn, 10, |_, _| {
            if begun.elapsed() > Duration::from_millis(400) {
                std::thread::sleep(Duration::from_millis(1_500));
            }
            Some(vec![1; 10])
        });
    });
    let spec = with(rr(10, 10), 1, Pace::Constant(300.0));
    let mut plan = Plan::new(driver, &server.address, spec)
        .connections(3)
        .duration_ms(1_000);
    plan.drain = Duration::from_millis(100);
    let loaded = plan.run();
    assert_eq!(accounted(&loaded), 300, "{:?}", loaded.recorded.unfinished);
    let unfinished = &loaded.recorded.unfinished;
    assert!(unfinished.count >= 100, "{unfinished:?}");
    assert_eq!(
        unfinished.count - unfinished.never_sent,
        3,
        "one was in flight per connection"
    );
    assert!(unfinished.oldest_age_ns >= 500_000_000, "{unfinished:?}");
    // Once more with a timeout: some of them fail instead, and connections are opened again.
    let spec = with(rr(10, 10), 1, Pace::Constant(300.0));
    let mut plan = Plan::new(driver, &server.address, spec)
        .connections(3)
        .duration_ms(1_500);
    plan.operation_timeout = Duration::from_millis(150);
    plan.drain = Duration::from_millis(100);
    let loaded = plan.run();
    assert_eq!(accounted(&loaded), 450, "{:?}", loaded.recorded);
    assert!(
        loaded.recorded.failed.len() >= 3,
        "{:?}",
        loaded.recorded.errors
    );
    assert!(loaded.recorded.response.len() >= 200);
}

fn depth_lets_the_schedule_go_on(driver: &'static dyn Driver) {
    let server = Server::start(Family::Tcp4, |conn, _| {
        raw::answer(&conn, 10, |number, _| {
            if number == 20 {
                std::thread::sleep(Duration::from_millis(300));
            }
            Some(vec![1; 10])
        });
    });
    let spec = with(rr(10, 10), 100, Pace::Constant(100.0));
    let plan = Plan::new(driver, &server.address, spec.clone()).duration_ms(800);
    if let Err(reason) = driver.check_load(&spec) {
        assert!(reason.contains("depth"), "{reason}");
        assert!(
            plan.try_run().is_err(),
            "what is refused is refused by the run, too"
        );
        return;
    }
    let loaded = plan.run();
    loaded.assert_kept_up();
    let recorded = &loaded.recorded;
    assert_eq!(accounted(&loaded), 80);
    // Sent on schedule: service time is as long as response time.
    let slow = recorded.service.count_between(50_000_000, u64::MAX);
    assert!(
        (22..=30).contains(&slow),
        "{slow} were in flight during the stall"
    );
}
