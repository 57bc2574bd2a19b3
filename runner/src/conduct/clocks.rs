//! The clocks of the agents against ours: what makes one instant of them all, and how sharp it is.

use super::hearing::Hearing;
use crate::error::Failure;
use crate::plan::AgentPlan;
use crate::protocol::{FromAgent, ToAgent};
use engine::clock::now_ns;
use report::document::{ClockOffset, Role};
use std::time::Duration;

const PONG_DEADLINE: Duration = Duration::from_secs(10);
const PINGS: u32 = 16;

/// Every agent's clock against ours, from the ping with the shortest round trip.
pub(super) fn compare(hearing: &mut Hearing<'_>) -> Result<Vec<ClockOffset>, Failure> {
    let mut offsets = Vec::new();
    for agent in hearing.all() {
        let mut best: Option<(u64, i64)> = None;
        for number in 0..PINGS {
            let sent_ns = now_ns();
            hearing.say_to(&[agent], &ToAgent::Ping { number });
            let at_ns = hearing.expect(agent, "pong", PONG_DEADLINE, |said| match said {
                FromAgent::Pong { number: n, at_ns } if n == number => Ok(at_ns),
                other => Err(other),
            })?;
            let round_trip_ns = now_ns() - sent_ns;
            let middle_ns = sent_ns + round_trip_ns / 2;
            if best.is_none_or(|(shortest_ns, _)| round_trip_ns < shortest_ns) {
                best = Some((round_trip_ns, at_ns.wrapping_sub(middle_ns) as i64));
            }
        }
        let (round_trip_ns, offset_ns) = best.unwrap_or_default();
        let error_ns = round_trip_ns / 2 + 1;
        // Within its error, the same clock is the better explanation.
        let same = offset_ns.unsigned_abs() <= error_ns;
        offsets.push(ClockOffset {
            offset_ns: if same { 0 } else { offset_ns },
            error_ns,
        });
    }
    Ok(offsets)
}

/// The clock of each other host against ours, as its first agent has it.
pub(super) fn of_hosts(
    agents: &[AgentPlan],
    offsets: &[ClockOffset],
) -> Vec<(String, ClockOffset)> {
    let mut clocks: Vec<(String, ClockOffset)> = Vec::new();
    for (agent, offset) in agents
        .iter()
        .zip(offsets)
        .filter(|(agent, _)| !agent.is_here())
    {
        if !clocks.iter().any(|(host, _)| *host == agent.host.id) {
            clocks.push((agent.host.id.clone(), *offset));
        }
    }
    clocks
}

/// Within what time the load agents went, as far as their clocks are known: the errors of the two that are known
/// least. `None` where they are on one host.
pub(super) fn start_skew_ns(agents: &[AgentPlan], offsets: &[ClockOffset]) -> Option<u64> {
    let loads = || {
        agents
            .iter()
            .zip(offsets)
            .filter(|(agent, _)| agent.role == Role::Load)
    };
    let first = loads().next()?;
    if loads().all(|(agent, _)| agent.host.id == first.0.host.id) {
        return None;
    }
    // Without an offset it is our clock itself, of which an instant is the same for all.
    let error_ns = |offset: &ClockOffset| match offset.offset_ns {
        0 => 0,
        _ => offset.error_ns,
    };
    let mut errors_ns: Vec<u64> = loads().map(|(_, offset)| error_ns(offset)).collect();
    errors_ns.sort_unstable_by(|one, other| other.cmp(one));
    Some(errors_ns.iter().take(2).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, PlanRequest};

    #[test]
    fn the_start_is_as_sharp_as_the_two_clocks_that_are_known_least() {
        let agents = |hosts: &[&str]| {
            let mut request = PlanRequest::default();
            request.common.connections = Some(4);
            request.common.load_agents = Some(3);
            request.common.load_via = hosts.iter().map(|host| (*host).to_owned()).collect();
            request.common.target = Some("tcp://10.0.0.2:9".into());
            Plan::new(request).unwrap().agents()
        };
        let offset = |offset_ns, error_ns| ClockOffset {
            offset_ns,
            error_ns,
        };
        let offsets = [
            offset(0, 900),
            offset(5_000_000, 40),
            offset(-7_000_000, 50),
        ];
        let three = agents(&["ssh a", "ssh b", "ssh c"]);
        assert_eq!(start_skew_ns(&three, &offsets), Some(90));
        assert_eq!(start_skew_ns(&three, &[offset(0, 900); 3]), Some(0));
        assert_eq!(start_skew_ns(&agents(&["ssh a"]), &offsets), None);
        let clocks = of_hosts(&agents(&["ssh a", "ssh b"]), &offsets);
        let hosts: Vec<&str> = clocks.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(
            (hosts, clocks[1].1),
            (vec!["load-host-1", "load-host-2"], offsets[1])
        );
    }
}
