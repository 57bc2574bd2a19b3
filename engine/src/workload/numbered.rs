//! The operations in flight on one connection whose answers say which they answer, and so may come in any order.

use super::flights::{self, Flight};
use crate::load::Loss;
use crate::meter::Meter;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    flight: Flight,
    is_answered: bool,
}

/// A ring of operations with consecutive numbers. One that is answered out of turn keeps its place until those before
/// it are answered.
#[derive(Debug)]
pub struct NumberedFlights {
    ring: Box<[Entry]>,
    head: u32,
    len: u32,
    /// Number of the first in the ring.
    first: u64,
}

impl NumberedFlights {
    /// Room for `depth` operations, at least 1, the first of which has the number `first`.
    pub fn with_depth(depth: u32, first: u64) -> Self {
        Self {
            ring: vec![Entry::default(); depth.max(1) as usize].into_boxed_slice(),
            head: 0,
            len: 0,
            first,
        }
    }

    /// No more fit.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len as usize == self.ring.len()
    }

    /// None are in flight: the first in the ring is never an answered one.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn slot(&self, place: u64) -> usize {
        let at = self.head as usize + place as usize;
        if at >= self.ring.len() {
            at - self.ring.len()
        } else {
            at
        }
    }

    /// Adds the newest and returns its number. Panics when full: sessions check first.
    #[inline]
    pub fn push(&mut self, flight: Flight) -> u64 {
        assert!(!self.is_full(), "more operations in flight than the depth");
        let at = self.slot(self.len.into());
        self.ring[at] = Entry {
            flight,
            is_answered: false,
        };
        self.len += 1;
        self.first + u64::from(self.len - 1)
    }

    /// The operation with this number is answered; `None` if it is not in flight, or was answered before.
    #[inline]
    pub fn answer(&mut self, number: u64) -> Option<Flight> {
        let place = number.wrapping_sub(self.first);
        if place >= u64::from(self.len) {
            return None;
        }
        let at = self.slot(place);
        let entry = &mut self.ring[at];
        if std::mem::replace(&mut entry.is_answered, true) {
            return None;
        }
        let flight = entry.flight;
        while self.len > 0 && self.ring[self.head as usize].is_answered {
            self.drop_first();
        }
        Some(flight)
    }

    #[inline]
    fn drop_first(&mut self) {
        self.head += 1;
        if self.head as usize == self.ring.len() {
            self.head = 0;
        }
        self.len -= 1;
        self.first += 1;
    }

    /// The oldest without an answer.
    #[inline]
    pub fn oldest(&self) -> Option<Flight> {
        (self.len > 0).then(|| self.ring[self.head as usize].flight)
    }

    /// Removes the oldest without an answer.
    fn pop(&mut self) -> Option<Flight> {
        while self.len > 0 {
            let entry = self.ring[self.head as usize];
            self.drop_first();
            if !entry.is_answered {
                return Some(entry.flight);
            }
        }
        None
    }

    /// All of them have failed for this reason. Returns how many they were.
    pub fn fail(&mut self, loss: &Loss, now_ns: u64, meter: &mut Meter) -> u64 {
        flights::fail(std::iter::from_fn(|| self.pop()), loss, now_ns, meter)
    }

    /// The run is over, and none of them was answered. Returns how many they were.
    pub fn abandon(&mut self, now_ns: u64, meter: &mut Meter) -> u64 {
        flights::abandon(std::iter::from_fn(|| self.pop()), now_ns, meter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn each_is_answered_once_in_whatever_order(
            depth in 1_u32..9,
            first in prop_oneof![Just(0_u64), Just(1_u64 << 40)],
            steps in proptest::collection::vec((any::<bool>(), 0_u64..12), 0..200),
        ) {
            let mut flights = NumberedFlights::with_depth(depth, first);
            let (mut model, mut next, mut sent_ns) = (BTreeMap::new(), first, 0);
            for (sends, back) in steps {
                if sends && !flights.is_full() {
                    sent_ns += 1;
                    let flight = Flight { intended_ns: sent_ns, sent_ns };
                    prop_assert_eq!(flights.push(flight), next);
                    model.insert(next, flight);
                    next += 1;
                } else {
                    let number = next.wrapping_sub(back);
                    prop_assert_eq!(flights.answer(number), model.remove(&number));
                }
                prop_assert_eq!(flights.is_empty(), model.is_empty());
                prop_assert_eq!(flights.oldest(), model.values().next().copied());
                let span = model.keys().next().map_or(0, |oldest| next - oldest);
                prop_assert_eq!(flights.is_full(), span == u64::from(depth));
            }
            let mut meter = Meter::for_tests();
            prop_assert_eq!(flights.abandon(1_000, &mut meter), model.len() as u64);
            prop_assert_eq!(meter.recorded().unfinished.count, model.len() as u64);
        }
    }
}
