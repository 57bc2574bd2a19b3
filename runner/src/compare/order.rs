//! In which order the entrants of a round run: random, balanced, and the same for the same seed.
//!
//! Rows come from Williams designs (E. J. Williams, "Experimental designs balanced for the estimation
//! of residual effects of treatments", Australian Journal of Scientific Research A 2 (1949)): within
//! one design every entrant stands in every place equally often, and behind every other equally
//! often, so that neither a slow start of a round nor what a run leaves behind favours anybody. The
//! entrants are labelled at random and the rows shuffled, and when a design is used up another is
//! drawn.

use report::statistics::SplitMix64;

/// Orders without end.
#[derive(Clone, Debug)]
pub struct Orders {
    entrants: usize,
    random: SplitMix64,
    /// What is left of the current design.
    rows: Vec<Vec<usize>>,
}

impl Orders {
    /// Orders of the entrants `0..entrants`.
    pub fn new(entrants: usize, seed: u64) -> Self {
        Self {
            entrants,
            random: SplitMix64::new(seed),
            rows: Vec::new(),
        }
    }

    /// The order of the next round.
    pub fn next_round(&mut self) -> Vec<usize> {
        if self.rows.is_empty() {
            let mut labels: Vec<usize> = (0..self.entrants).collect();
            self.random.shuffle(&mut labels);
            self.rows = williams(self.entrants);
            for place in self.rows.iter_mut().flatten() {
                *place = labels[*place];
            }
            self.random.shuffle(&mut self.rows);
        }
        self.rows.pop().unwrap_or_default()
    }
}

/// The rows of a Williams design: `n` of them for an even number of entrants, `2 n` for an odd one,
/// where the mirrored rows make up for what one square cannot balance.
fn williams(n: usize) -> Vec<Vec<usize>> {
    // 0, 1, n-1, 2, n-2, ...: all differences of neighbours are distinct.
    let zigzag = |place: usize| {
        if place % 2 == 1 {
            place.div_ceil(2)
        } else {
            (n - place / 2) % n
        }
    };
    let row = |shift: usize| {
        (0..n)
            .map(|place| (zigzag(place) + shift) % n)
            .collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<usize>> = (0..n).map(row).collect();
    if n % 2 == 1 {
        let mirrored = rows.iter().map(|row| row.iter().rev().copied().collect());
        rows = rows.iter().cloned().chain(mirrored).collect();
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_entrant_runs_once_a_round() {
        for entrants in 1..=9 {
            let mut orders = Orders::new(entrants, 7);
            for _ in 0..40 {
                let mut order = orders.next_round();
                order.sort_unstable();
                assert_eq!(order, (0..entrants).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn places_and_predecessors_are_balanced() {
        for entrants in 2..=9 {
            let rows = if entrants % 2 == 0 {
                entrants
            } else {
                2 * entrants
            };
            let mut orders = Orders::new(entrants, 3);
            let (mut places, mut pairs) = (BTreeMap::new(), BTreeMap::new());
            for _ in 0..rows {
                let order = orders.next_round();
                for (place, entrant) in order.iter().enumerate() {
                    *places.entry((place, *entrant)).or_insert(0) += 1;
                }
                for pair in order.windows(2) {
                    *pairs.entry((pair[0], pair[1])).or_insert(0) += 1;
                }
            }
            assert_eq!(places.len(), entrants * entrants);
            assert!(places.values().all(|count| count * entrants == rows));
            assert_eq!(pairs.len(), entrants * (entrants - 1), "{entrants}");
            assert!(pairs.values().all(|count| count * entrants == rows));
        }
    }

    #[test]
    fn a_seed_gives_one_sequence_and_another_seed_another() {
        let sequence = |seed| {
            let mut orders = Orders::new(5, seed);
            (0..24).map(|_| orders.next_round()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
        // Another design follows the first, and not the same again.
        assert_ne!(sequence(1)[..10], sequence(1)[10..20]);
    }
}
