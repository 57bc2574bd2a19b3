//! The list of comparisons, and how one is run: A B A B, at least as many pairs as asked for.

use crate::compare::{Pairs, Row};
use crate::contender::{Contender, Kind, Placement, Setting};

/// Connections of the comparisons with the floors.
const CONNECTIONS: [usize; 3] = [1, 16, 256];
/// The group of comparisons in which every operation has a connection of its own.
const CHURN: &str = "churn/";
/// Connections at a time there.
const CHURN_CONNECTIONS: [usize; 2] = [1, 16];
/// Sizes of one send in the comparisons with iperf3.
const STREAM_SIZES: [(usize, &str); 3] = [(16_384, "16K"), (131_072, "128K"), (1_048_576, "1M")];
/// sockperf cannot send less, because its header has this many bytes.
const SOCKPERF_SIZE_BYTES: usize = 14;

const TRANSACTIONS: &str = "transactions/s";
const BITS: &str = "bit/s";

/// A comparison of A with B in one setting.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// `group/what/.../placement`.
    pub name: String,
    /// Unit of both rates.
    pub unit: &'static str,
    /// The ratio to reach, where the project has set one.
    pub target: Option<f64>,
    /// The first of each pair.
    pub a: Contender,
    /// The second of each pair.
    pub b: Contender,
    /// Connections.
    pub connections: usize,
    /// Bytes of a message or of a send.
    pub size_bytes: usize,
    /// A connection an operation.
    pub churn: bool,
    /// Where the two sides run.
    pub placement: Placement,
}

/// Every comparison, for the two CPUs given: all of them on both, and all of them on the first.
pub fn all(server_cpu: usize, client_cpu: usize) -> Vec<Experiment> {
    let cross_core = Placement {
        server_cpu,
        client_cpu,
    };
    let same_core = Placement {
        server_cpu,
        client_cpu: server_cpu,
    };
    let mut list = Vec::new();
    for (placement, label) in [(cross_core, "cross-core"), (same_core, "same-core")] {
        let mut add = |name: String, a, b, connections, size_bytes, target| {
            list.push(Experiment {
                churn: name.starts_with(CHURN),
                name: format!("{name}/{label}"),
                unit: if matches!(b, Contender::Iperf3) {
                    BITS
                } else {
                    TRANSACTIONS
                },
                target,
                a,
                b,
                connections,
                size_bytes,
                placement,
            });
        };
        for kind in Kind::ALL {
            against_floor(kind, &mut add);
        }
        for kind in Kind::ALL {
            against_peers(kind, &mut add);
        }
        for connections in CONNECTIONS {
            let (a, b) = (
                Contender::LinerateRr(Kind::Uring),
                Contender::LinerateRr(Kind::Epoll),
            );
            let name = format!("engines/uring-epoll/{connections}");
            add(name, a, b, connections, 1, None);
        }
    }
    list
}

type Add<'a> = dyn FnMut(String, Contender, Contender, usize, usize, Option<f64>) + 'a;

fn against_floor(kind: Kind, add: &mut Add<'_>) {
    let (engine, floor) = (kind.name(), Contender::Floor(kind));
    // The floor beside itself: what this machine calls no difference.
    add(format!("control/{engine}/16"), floor, floor, 16, 1, None);
    for n in CONNECTIONS {
        let whole = Contender::LinerateRr(kind);
        add(
            format!("floor/{engine}/{n}"),
            whole,
            floor,
            n,
            1,
            Some(0.95),
        );
        // One side exchanged at a time, to see which side the difference is on.
        let load = Contender::LinerateLoad(kind);
        add(format!("mixed/load/{engine}/{n}"), load, floor, n, 1, None);
        let testee = Contender::LinerateTestee(kind);
        add(
            format!("mixed/testee/{engine}/{n}"),
            testee,
            floor,
            n,
            1,
            None,
        );
    }
    for n in CHURN_CONNECTIONS {
        for (a, what, target) in [
            (Contender::LinerateRr(kind), "", Some(0.95)),
            (Contender::LinerateLoad(kind), "load/", None),
            (Contender::LinerateTestee(kind), "testee/", None),
        ] {
            let name = format!("{CHURN}{what}{engine}/{n}");
            add(name, a, floor, n, 1, target);
        }
    }
}

fn against_peers(kind: Kind, add: &mut Add<'_>) {
    let engine = kind.name();
    for (size_bytes, label) in STREAM_SIZES {
        let (a, name) = (
            Contender::LinerateStream(kind),
            format!("stream/iperf3/{engine}/{label}"),
        );
        add(name, a, Contender::Iperf3, 1, size_bytes, Some(1.0));
    }
    // With a spin, across cores nobody has to be woken; on one core it can only lose.
    for (rr, label) in [
        (Contender::LinerateRr(kind), engine.to_owned()),
        (Contender::LinerateSpun(kind), format!("{engine}-spin")),
    ] {
        for (peer, name, size_bytes) in [
            (Contender::Sockperf, "sockperf", SOCKPERF_SIZE_BYTES),
            (Contender::Qperf, "qperf", 1),
        ] {
            add(
                format!("rr/{name}/{label}"),
                rr,
                peer,
                1,
                size_bytes,
                Some(1.1),
            );
        }
    }
}

/// How every comparison is run.
#[derive(Debug, Clone)]
pub struct Method {
    /// Pairs per comparison.
    pub pairs: usize,
    /// Length of each window.
    pub seconds: u64,
    /// The binary `linerate`.
    pub linerate: std::path::PathBuf,
    /// The directory of the floors.
    pub floors: std::path::PathBuf,
}

impl Experiment {
    /// Runs all pairs in turn. The first failure ends the comparison and becomes its outcome.
    pub fn run(&self, method: &Method, mut progress: impl FnMut(usize, f64, f64)) -> Row {
        let mut commands = Vec::new();
        let outcome = self.pairs(method, &mut commands, &mut progress);
        Row {
            name: self.name.clone(),
            unit: self.unit,
            target: self.target,
            outcome,
            commands,
        }
    }

    fn pairs(
        &self,
        method: &Method,
        commands: &mut Vec<String>,
        progress: &mut impl FnMut(usize, f64, f64),
    ) -> Result<Pairs, String> {
        let setting = Setting {
            connections: self.connections,
            size_bytes: self.size_bytes,
            churn: self.churn,
            placement: self.placement,
            seconds: method.seconds,
            linerate: method.linerate.clone(),
            floors: method.floors.clone(),
        };
        let mut pairs = Pairs::default();
        for index in 0..method.pairs {
            let a = self.a.measure(&setting)?;
            let b = self.b.measure(&setting)?;
            progress(index + 1, a.rate, b.rate);
            pairs.rates.push((a.rate, b.rate));
            if index == 0 {
                commands.extend(a.commands.iter().map(|line| format!("A: {line}")));
                commands.extend(b.commands.iter().map(|line| format!("B: {line}")));
            }
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_target_has_both_placements() {
        let list = all(0, 1);
        let mut names: Vec<&str> = list.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let of = |end: &str| list.iter().filter(|one| one.name.ends_with(end)).count();
        assert_eq!(of("/cross-core"), of("/same-core"));
        let floors = list.iter().filter(|one| one.target == Some(0.95));
        assert_eq!(floors.count(), 2 * 3 * (3 + 2));
    }
}
