//! Clients that come up: how many there are of all loads.

use report::document::RampPoint;

/// The last that each load of a round has said.
pub(super) struct Joining(Vec<RampPoint>);

impl Joining {
    /// Of so many loads, none of which has said anything.
    pub fn new(loads: usize) -> Self {
        Self(vec![RampPoint::default(); loads])
    }

    /// Load number `load` says how its clients have come up. Those of all, where it is the last to say so: each
    /// says it once a second.
    pub fn add(&mut self, load: usize, point: RampPoint) -> Option<RampPoint> {
        *self.0.get_mut(load)? = point;
        let is_last = self.0.iter().all(|other| other.at_ns <= point.at_ns);
        let all = self.0.iter().copied().reduce(RampPoint::and);
        all.filter(|_| is_last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_told_together() {
        let mut joining = Joining::new(2);
        let point = |at_ns, opened| RampPoint {
            at_ns,
            opened,
            ..RampPoint::default()
        };
        assert_eq!(joining.add(0, point(10, 3)), Some(point(10, 3)));
        assert_eq!(joining.add(1, point(11, 4)), Some(point(11, 7)));
        assert_eq!(
            joining.add(0, point(9, 5)),
            None,
            "older than what was told"
        );
        assert_eq!(joining.add(7, point(20, 1)), None, "nobody");
    }
}
