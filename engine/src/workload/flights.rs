//! The operations in flight on one connection whose answers come in order.

use crate::load::Loss;
use crate::meter::Meter;

/// One operation in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flight {
    /// When it was due, ns; in closed loop the same as `sent_ns`.
    pub intended_ns: u64,
    /// When it was sent, ns.
    pub sent_ns: u64,
}

/// A ring of [`Flight`]s of fixed capacity: responses come in the order of their requests.
#[derive(Debug)]
pub struct Flights {
    ring: Box<[Flight]>,
    head: u32,
    len: u32,
}

impl Flights {
    /// Room for `depth` operations, at least 1.
    pub fn with_depth(depth: u32) -> Self {
        Self {
            ring: vec![Flight::default(); depth.max(1) as usize].into_boxed_slice(),
            head: 0,
            len: 0,
        }
    }

    /// How many are in flight.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// None are in flight.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No more fit.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len as usize == self.ring.len()
    }

    /// Adds the newest. Panics when full: sessions check first.
    #[inline]
    pub fn push(&mut self, flight: Flight) {
        assert!(!self.is_full(), "more operations in flight than the depth");
        let mut at = self.head as usize + self.len as usize;
        if at >= self.ring.len() {
            at -= self.ring.len();
        }
        self.ring[at] = flight;
        self.len += 1;
    }

    /// Removes the oldest.
    #[inline]
    pub fn pop(&mut self) -> Option<Flight> {
        if self.len == 0 {
            return None;
        }
        let flight = self.ring[self.head as usize];
        self.head += 1;
        if self.head as usize == self.ring.len() {
            self.head = 0;
        }
        self.len -= 1;
        Some(flight)
    }

    /// The oldest.
    #[inline]
    pub fn oldest(&self) -> Option<Flight> {
        (self.len > 0).then(|| self.ring[self.head as usize])
    }

    /// All of them have failed for this reason. Returns how many they were.
    pub fn fail(&mut self, loss: &Loss, now_ns: u64, meter: &mut Meter) -> u64 {
        fail(std::iter::from_fn(|| self.pop()), loss, now_ns, meter)
    }

    /// The run is over, and none of them was answered. Returns how many they were.
    pub fn abandon(&mut self, now_ns: u64, meter: &mut Meter) -> u64 {
        abandon(std::iter::from_fn(|| self.pop()), now_ns, meter)
    }
}

/// Counts each of these as failed for this reason. Returns how many they were.
pub(super) fn fail(
    flights: impl Iterator<Item = Flight>,
    loss: &Loss,
    now_ns: u64,
    meter: &mut Meter,
) -> u64 {
    let fail_one = |flight: Flight| {
        let text = || loss.text.clone();
        meter.failure(loss.kind, Some(flight.intended_ns), now_ns, text);
    };
    flights.map(fail_one).count() as u64
}

/// Counts each of these as never answered. Returns how many they were.
pub(super) fn abandon(
    flights: impl Iterator<Item = Flight>,
    now_ns: u64,
    meter: &mut Meter,
) -> u64 {
    let abandon_one = |flight: Flight| meter.unfinished(flight.intended_ns, now_ns, true);
    flights.map(abandon_one).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flights_are_a_ring() {
        let mut flights = Flights::with_depth(3);
        let flight = |sent_ns| Flight {
            intended_ns: sent_ns,
            sent_ns,
        };
        for round in 0..10 {
            (0..3).for_each(|i| flights.push(flight(round * 3 + i)));
            assert!(flights.is_full());
            let popped: Vec<_> = (0..3).map(|_| flights.pop().unwrap().sent_ns).collect();
            assert_eq!(popped, [round * 3, round * 3 + 1, round * 3 + 2]);
            assert!(flights.pop().is_none());
        }
    }

    #[test]
    fn a_lost_connection_fails_each_operation_in_flight_once() {
        let mut meter = Meter::for_tests();
        let mut flights = Flights::with_depth(3);
        (0..3).for_each(|_| flights.push(Flight::default()));
        let loss = Loss::no_answer(None);
        assert_eq!(flights.fail(&loss, 1_000, &mut meter), 3);
        assert_eq!(flights.fail(&loss, 1_000, &mut meter), 0);
        let recorded = meter.into_recorded();
        assert_eq!((recorded.errors_total(), recorded.failed.len()), (3, 3));
    }
}
