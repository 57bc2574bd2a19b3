//! What a sceptic would hold against a result, found in the document itself.

use crate::document::{Document, Finite, Message, Pace, Plan, Role, Round};
use crate::units::{grouped, human_count, human_ns, human_percent};

/// A load thread this busy may itself be what limits the rate.
pub(crate) const GENERATOR_BUSY: f64 = 0.95;
/// A generator's lateness of this share of the response time is a part of what is quoted ...
const LAG_SHARE: f64 = 0.2;
/// ... unless it is no more than what waking up takes.
const LAG_NOTICED_NS: u64 = 100_000;
/// Stolen time from this share on is visible in tails.
const STEAL_NOTICED: f64 = 0.01;
/// An open loop that completes less than this share of its schedule did not deliver the load.
const RATE_REACHED: f64 = 0.99;

/// Warnings that follow from the rounds, to be put into `warnings`; each code at most once.
pub fn from_rounds(document: &Document) -> Vec<Message> {
    let mut found: Vec<Message> = Vec::new();
    for round in &document.rounds {
        let candidates = [
            generator_busy(document, round),
            generator_late(document, round),
            stolen(round),
            rate_not_reached(document, round),
            failed_operations(document, round),
            // What was not opened is in the first sentence, and has no latency.
            unfinished(round).filter(|_| !document.plan.workload.holds()),
        ];
        for message in candidates.into_iter().flatten() {
            if !found.iter().any(|known| known.code == message.code) {
                found.push(message);
            }
        }
    }
    found
}

fn generator_busy(document: &Document, round: &Round) -> Option<Message> {
    let busy = round
        .busy_share(Role::Load, document.plan.connections)?
        .get();
    // A busy generator is no fault where both sides work in step over one connection, but even
    // there the rate is that of the pair.
    (busy >= GENERATOR_BUSY).then(|| {
        let cure = if document.plan.pace.rate_per_second().is_some() {
            match document.plan.pace {
                Pace::Each { .. } => {
                    "let each client send less often (--message-every), or give the load more --threads"
                }
                _ => "lower --rate, or give the load more --threads",
            }
        } else {
            "give the load more --threads, or compare CPU per operation, or latency at a fixed \
             --rate, instead of the rate"
        };
        let one_of_several = round.busiest_thread_share(Role::Load).map(Finite::get) == Some(busy)
            && round.load.iter().map(|side| side.threads).sum::<u32>() > 1;
        let (who, whose) = match one_of_several {
            true => ("the busiest load thread was", "its own"),
            false => ("the load threads were", "theirs"),
        };
        Message::new(
            "generator_busy",
            format!(
                "round {}: {who} {} busy, so the rate may be {whose} and not the testee's",
                round.number,
                human_percent(busy)
            ),
        )
        .with_cure(cure)
    })
}

/// A generator that was late itself.
pub(crate) struct Lateness {
    pub lag_p99_ns: u64,
    pub response_p99_ns: u64,
}

/// How late the generator noticed what was due, where that is a part worth telling of the response time.
pub(crate) fn lateness(plan: &Plan, round: &Round) -> Option<Lateness> {
    plan.pace.rate_per_second()?;
    let measured = &round.measured;
    let lag_p99_ns = measured.schedule_lag.as_ref()?.percentile("p99")?;
    let response_p99_ns = measured.latency.response.as_ref()?.percentile("p99")?;
    let share = lag_p99_ns as f64 / response_p99_ns.max(1) as f64;
    (share >= LAG_SHARE && lag_p99_ns >= LAG_NOTICED_NS).then_some(Lateness {
        lag_p99_ns,
        response_p99_ns,
    })
}

fn generator_late(document: &Document, round: &Round) -> Option<Message> {
    let late = lateness(&document.plan, round)?;
    Some(
        Message::new(
            "generator_late",
            format!(
                "round {}: the generator noticed one operation in a hundred {} late or more, of a response time with \
                 p99 {}: a part of the tail is its own",
                round.number,
                human_ns(late.lag_p99_ns as f64),
                human_ns(late.response_p99_ns as f64)
            ),
        )
        .with_cure(
            "give the load CPUs of its own (--client-cpus) or more --threads, or ask for less; the service time is without it",
        ),
    )
}

fn stolen(round: &Round) -> Option<Message> {
    let (host, steal) = round.hosts.iter().find_map(|host| {
        let steal = host.cpu.as_ref()?.steal_fraction?.get();
        (steal >= STEAL_NOTICED).then_some((&host.host, steal))
    })?;
    Some(
        Message::new(
            "steal_time",
            format!(
                "round {}: the hypervisor took {} of the CPU time of {host}",
                round.number,
                human_percent(steal)
            ),
        )
        .with_cure("distrust the tail of the latency; repeat on a quiet or dedicated machine"),
    )
}

/// An open loop that was not served as fast as it asked.
pub(crate) struct Shortfall {
    pub scheduled_per_second: f64,
    pub reached_per_second: f64,
}

/// By how much a round fell short of its schedule; `None` without one, or where chance explains it.
pub(crate) fn shortfall(plan: &Plan, round: &Round) -> Option<Shortfall> {
    let scheduled = plan.pace.rate_per_second()?.get();
    let reached = round.rates.operations_per_second?.get();
    is_behind(&plan.pace, reached, round.window.length_ns).then_some(Shortfall {
        scheduled_per_second: scheduled,
        reached_per_second: reached,
    })
}

fn rate_not_reached(document: &Document, round: &Round) -> Option<Message> {
    let shortfall = shortfall(&document.plan, round)?;
    Some(
        Message::new(
            "rate_not_reached",
            format!(
                "round {}: {} operations/s were completed of {} scheduled",
                round.number,
                human_count(shortfall.reached_per_second),
                human_count(shortfall.scheduled_per_second)
            ),
        )
        .with_cure(
            "the response time then grows with the length of the run and is no property of the \
             testee: ask for less (a lower --rate, a longer --message-every)",
        ),
    )
}

/// Whether so many operations per second, completed in a window of this length, are less than 99 % of
/// an open loop's schedule. Never of a closed loop.
pub(crate) fn is_behind(pace: &Pace, reached_per_second: f64, window_ns: u64) -> bool {
    let Some(scheduled) = pace.rate_per_second() else {
        return false;
    };
    // Chance is no shortfall: one arrival at the edge of a constant schedule, three standard
    // deviations (sqrt of the expected number) of a Poisson one.
    let window_s = window_ns as f64 / 1e9;
    let expected = scheduled.get() * window_s;
    let chance = match pace {
        Pace::Poisson { .. } => 3.0 * expected.sqrt(),
        _ => 1.0,
    };
    reached_per_second * window_s + chance < RATE_REACHED * expected
}

fn failed_operations(document: &Document, round: &Round) -> Option<Message> {
    let failed: u64 = round.measured.errors.iter().map(|error| error.count).sum();
    (failed > 0).then(|| {
        Message::new(
            "failed_operations",
            format!(
                "round {}: {} {} failed; they are in no rate and in no latency but \"error\"",
                round.number,
                grouped(failed),
                document.plan.workload.operations()
            ),
        )
    })
}

fn unfinished(round: &Round) -> Option<Message> {
    let unfinished = &round.measured.unfinished;
    (unfinished.count > 0).then(|| {
        Message::new(
            "unfinished_operations",
            format!(
                "round {}: {} (due in the window); the latency does not know them",
                round.number,
                unfinished.words()
            ),
        )
    })
}
