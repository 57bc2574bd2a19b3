//! What a run tells while it is conducted, and to whom.

use report::document::{self, AppliedProfile, Document, Interval, Message, RampPoint};
use report::findings::Finding;

/// Watches a run. Every method is called on the conducting thread.
pub trait Observer {
    /// A round begins; `number` counts from 1.
    fn round_started(&mut self, number: u32, of: u32) {
        let _ = (number, of);
    }

    /// Of the ranks that are awaited: where they join, and who has come.
    fn ranks(&mut self, news: &str) {
        let _ = news;
    }

    /// An agent is prepared: its engine and why this one.
    fn prepared(&mut self, agent: &str, engine: &str, reason: &str) {
        let _ = (agent, engine, reason);
    }

    /// A host has its profile, in the first round.
    fn profile(&mut self, host: &str, profile: &AppliedProfile) {
        let _ = (host, profile);
    }

    /// The round has reached another phase.
    fn phase(&mut self, phase: Phase) {
        let _ = phase;
    }

    /// A part of a load agent's window has passed.
    fn interval(&mut self, round: u32, agent: &str, interval: &Interval) {
        let _ = (round, agent, interval);
    }

    /// A part of the window has passed for all load agents: what they did in it together.
    fn window_part(&mut self, round: u32, part: &Interval) {
        let _ = (round, part);
    }

    /// What `doctor` would say of a host, told before anything is measured: warnings and problems. It comes as a
    /// [warning](Observer::warning) too.
    fn finding(&mut self, host: &str, finding: &Finding) {
        let _ = (host, finding);
    }

    /// Connections are held: how many stand, and how many have been lost so far.
    fn held(&mut self, standing: u64, lost: u64) {
        let _ = (standing, lost);
    }

    /// Clients come up: how many there are so far.
    fn joining(&mut self, point: &RampPoint) {
        let _ = point;
    }

    /// Something to know before believing the numbers; it is in the document too.
    fn warning(&mut self, warning: &Message) {
        let _ = warning;
    }

    /// A round is over.
    fn round_ended(&mut self, round: &document::Round) {
        let _ = round;
    }

    /// What was measured so far, with the round that is over as the last one; the next has not begun.
    fn recorded(&mut self, so_far: &Document) {
        let _ = so_far;
    }
}

/// Where a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Agents start, the testee listens, the load connects.
    Preparing,
    /// Traffic flows and is not counted yet.
    WarmingUp,
    /// The window.
    Measuring,
    /// Every connection is established or has failed, and they are held.
    Holding,
    /// What was held is being closed.
    Closing,
    /// The user ended the round; results are being collected.
    Stopping,
}
