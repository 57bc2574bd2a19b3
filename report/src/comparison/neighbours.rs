//! Who else used the CPUs while an arm ran: from what its document holds anyway, so nothing is sampled for it.

use crate::document::{HostActivity, Message, Round, Side};

use super::cell::Cell;

/// CPU use by others that is visible in what is measured, cores.
pub const OTHERS_NOTICED_CORES: f64 = 0.1;

const NEIGHBOURS: &str = "neighbours";
const STEAL: &str = "steal";

/// What others did on the hosts during the run of `arm` that gave `round`.
pub fn remarks(arm: &str, round: &Round) -> Vec<Message> {
    let hosts = round.hosts.iter();
    hosts
        .flat_map(|host| {
            let others = others_cores(host, round).map(|cores| (NEIGHBOURS, "others used", cores));
            let stolen = stolen_cores(host).map(|cores| (STEAL, "the hypervisor took", cores));
            [others, stolen]
                .into_iter()
                .flatten()
                .map(move |each| (host, each))
        })
        .filter(|(_, (_, _, cores))| *cores >= OTHERS_NOTICED_CORES)
        .map(|(host, (code, did, cores))| {
            let text = format!(
                "{did} {cores:.2} CPUs of host {} while {arm} ran",
                host.host
            );
            Message::new(code, text)
        })
        .collect()
}

/// CPU time of all programs without that of both sides, per time.
///
/// Interrupt time is left out: the traffic's own cannot be told from that of others. Both sides are subtracted on
/// every host, for two hosts by name may be one machine (`ip netns exec`); on two machines this hides as much
/// of a neighbour as the other side uses. `None` where a side's time is not known, as that of a foreign target.
fn others_cores(host: &HostActivity, round: &Round) -> Option<f64> {
    if round.testee.is_empty() {
        return None;
    }
    let cpu = host.cpu.as_ref()?;
    let all = cores(cpu.user_ns + cpu.system_ns, host.length_ns)?;
    let sides = round.load.iter().chain(&round.testee);
    let own: f64 = sides.map(side_cores).sum::<Option<f64>>()?;
    Some(all - own)
}

fn side_cores(side: &Side) -> Option<f64> {
    cores(side.process.cpu_ns?, side.window.length_ns)
}

fn stolen_cores(host: &HostActivity) -> Option<f64> {
    cores(host.cpu.as_ref()?.steal_ns, host.length_ns)
}

fn cores(used_ns: u64, length_ns: u64) -> Option<f64> {
    (length_ns > 0).then(|| used_ns as f64 / length_ns as f64)
}

/// In how many of the rounds that count others were noticed; `None` where in none.
pub fn disturbed_rounds(cell: &Cell) -> Option<String> {
    let rounds = |code: &str| {
        let noticed = cell.counted();
        noticed
            .filter(|round| round.remarks.iter().any(|remark| remark.code == code))
            .count()
    };
    let kinds = [
        (rounds(NEIGHBOURS), "other programs used"),
        (rounds(STEAL), "the hypervisor took"),
    ];
    let said: Vec<String> = kinds
        .iter()
        .filter(|(rounds, _)| *rounds > 0)
        .map(|(rounds, did)| {
            format!(
                "{did} {OTHERS_NOTICED_CORES} CPUs or more in {rounds} of {} rounds",
                cell.counted().count()
            )
        })
        .collect();
    let mut line = said.join("; ");
    let first = line.get(..1)?.to_uppercase();
    line.replace_range(..1, &first);
    Some(format!("{line}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Measurement, ProcessCost, Rates, RoundCost, SystemCpu, Window};

    const SECOND_NS: u64 = 1_000_000_000;

    fn side(host: &str, cpu_ns: Option<u64>) -> Side {
        Side {
            host: host.to_owned(),
            window: Window {
                length_ns: SECOND_NS,
                ..Window::default()
            },
            process: ProcessCost {
                cpu_ns,
                ..ProcessCost::default()
            },
            ..Side::default()
        }
    }

    /// Load and testee use 0.9 and 0.4 cores of a host on which 1.3 + `others` are used, and 0.5 by interrupts.
    fn round(others: f64, stolen: f64) -> Round {
        let ns = |cores: f64| (cores * SECOND_NS as f64) as u64;
        Round {
            number: 1,
            ended_early: false,
            poisson_seed: None,
            invalid: Vec::new(),
            go_unix_ns: None,
            window: Window::default(),
            start_skew_ns: None,
            common_window_ns: None,
            one_machine: Vec::new(),
            lost: Vec::new(),
            load: vec![side("local", Some(ns(0.9)))],
            testee: vec![side("local", Some(ns(0.4)))],
            measured: Measurement::default(),
            rates: Rates::default(),
            cost: RoundCost::default(),
            hosts: vec![HostActivity {
                host: "local".to_owned(),
                length_ns: SECOND_NS,
                cpu: Some(SystemCpu::from_times(
                    4,
                    ns(0.7 + others),
                    ns(0.6),
                    ns(0.5),
                    ns(stolen),
                    ns(2.0),
                )),
                ..HostActivity::default()
            }],
            by_host: Vec::new(),
        }
    }

    fn codes(round: &Round) -> Vec<String> {
        let found = remarks("uring", round);
        found.into_iter().map(|remark| remark.code).collect()
    }

    #[test]
    fn the_sides_and_their_interrupts_are_no_neighbours() {
        assert_eq!(codes(&round(0.0, 0.0)), [""; 0]);
        assert_eq!(codes(&round(0.09, 0.09)), [""; 0]);
        assert_eq!(codes(&round(0.2, 0.0)), ["neighbours"]);
        assert_eq!(codes(&round(0.0, 0.2)), ["steal"]);
        let both = remarks("uring", &round(0.25, 0.2));
        assert_eq!(
            both[0].text,
            "others used 0.25 CPUs of host local while uring ran"
        );
        assert_eq!(
            both[1].text,
            "the hypervisor took 0.20 CPUs of host local while uring ran"
        );
    }

    #[test]
    fn one_machine_with_two_names_is_not_its_own_neighbour() {
        let mut twice = round(0.0, 0.0);
        twice.testee[0].host = "b".to_owned();
        let mut again = twice.hosts[0].clone();
        again.host = "b".to_owned();
        twice.hosts.push(again);
        assert_eq!(codes(&twice), [""; 0]);
    }

    #[test]
    fn what_a_side_used_must_be_known() {
        let mut foreign = round(0.5, 0.2);
        foreign.testee.clear();
        assert_eq!(codes(&foreign), ["steal"]);
        let mut unknown = round(0.5, 0.0);
        unknown.testee[0].process.cpu_ns = None;
        assert_eq!(codes(&unknown), [""; 0]);
    }
}
