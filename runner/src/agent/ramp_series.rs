//! How clients come up, from the go on: a few loads every so often, until each of them is opened or has failed.

use crate::plan::{AgentPlan, Plan};
use engine::meter::Published;
use report::document::RampPoint;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A picture has no more columns.
const POINTS: u64 = 200;
const STEP_MIN_NS: u64 = 5_000_000;

/// See the module's text.
#[derive(Debug)]
pub(super) struct RampSeries {
    workers: Vec<Arc<Published>>,
    clients: u64,
    go_ns: u64,
    step_ns: u64,
    /// When it is looked next; `None` once there is nothing more to see.
    next_ns: Option<u64>,
    /// Until then each must have been opened, or have failed.
    until_ns: u64,
    points: Vec<RampPoint>,
    /// When it is told next how they have come up so far, monotonic ns.
    tell_at_ns: u64,
}

/// People look at it.
const TELL_EVERY_NS: u64 = 1_000_000_000;

impl RampSeries {
    /// `None` unless connections are clients.
    pub fn of(
        plan: &Plan,
        agent: &AgentPlan,
        workers: &[Arc<Published>],
        go_ns: u64,
    ) -> Option<Self> {
        if !plan.workload().joins() {
            return None;
        }
        let last = plan.connections().saturating_sub(1);
        let ramp_ns = plan.load_spec().ramp().offset_ns(last);
        // The same for all agents, so that what they saw adds up.
        let step_ns = (ramp_ns / POINTS).max(STEP_MIN_NS);
        Some(Self {
            workers: workers.to_vec(),
            clients: agent.share.connections.into(),
            go_ns,
            step_ns,
            next_ns: Some(go_ns + step_ns),
            until_ns: go_ns + ramp_ns + plan.connect_timeout_ns + step_ns,
            points: Vec::with_capacity(2 * POINTS as usize),
            tell_at_ns: go_ns + TELL_EVERY_NS,
        })
    }

    /// When to look next, monotonic ns; `u64::MAX` once there is nothing more to see.
    pub fn next_ns(&self) -> u64 {
        self.next_ns.unwrap_or(u64::MAX)
    }

    /// Looks, if it is time, and returns what it is time to tell.
    pub fn look(&mut self, now_ns: u64) -> Option<RampPoint> {
        if now_ns < self.next_ns() {
            return None;
        }
        let point = self.read(now_ns);
        let is_settled = point.opened + point.failed >= self.clients;
        self.points.push(point);
        let passed = (now_ns - self.go_ns) / self.step_ns;
        let next_ns = self.go_ns + (passed + 1) * self.step_ns;
        self.next_ns = (!is_settled && next_ns <= self.until_ns).then_some(next_ns);
        let is_due = is_settled || now_ns >= self.tell_at_ns;
        is_due.then(|| {
            self.tell_at_ns = now_ns + TELL_EVERY_NS;
            point
        })
    }

    fn read(&self, now_ns: u64) -> RampPoint {
        let sum = |pick: fn(&Published) -> &std::sync::atomic::AtomicU64| {
            let workers = self.workers.iter();
            workers
                .map(|worker| pick(worker).load(Relaxed))
                .sum::<u64>()
        };
        // The ends before the beginnings: none may seem to have ended that has not begun.
        let (lost, failed) = (sum(|p| &p.connections_lost), sum(|p| &p.connections_failed));
        let opened = sum(|p| &p.connections_opened);
        RampPoint {
            at_ns: now_ns - self.go_ns,
            started: sum(|p| &p.connections_started),
            opened,
            failed,
            lost,
        }
    }

    /// What was seen, and how it stands now that the workers have returned.
    pub fn into_points(mut self) -> Vec<RampPoint> {
        let now = self.read(engine::clock::now_ns());
        match self.points.last_mut() {
            // How it stands, at the instant from which on it stood so.
            Some(last) if (last.opened, last.failed) == (now.opened, now.failed) => {}
            _ => self.points.push(now),
        }
        self.points
    }
}
