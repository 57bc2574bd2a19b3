//! The shape of `connect`: how connections are opened, for how long they are held, and how they are closed.

use super::PlanError;
use super::checks::{duration, in_range, refuse};
use engine::load::CONNECTS_AT_ONCE;
use engine::shape::Ramp;
use report::document::{Closing, Dialing, Finite};
use serde::{Deserialize, Serialize};

/// Connections where nobody says how many.
pub(super) const CONNECTIONS: u32 = 100;
/// Between two connections where nobody says when, ns.
const DELAY_NS: u64 = 10_000_000;
/// For how long connections are held where nobody says so, ns: long enough to see who closes what it accepts.
const HOLD_NS: u64 = 1_000_000_000;
/// Between the beginnings of two batches, ns.
const BATCH_DELAY_NS: u64 = 600_000_000;
const RATE_MAX_PER_SECOND: f64 = 1e9;
const BATCH_MAX: u32 = 1_000_000;
/// The largest backlog that a listener can have (`somaxconn` is capped at 65,535 by struct inet_connection_sock).
const AT_ONCE_MAX: u32 = 65_535;

/// The shape of `connect`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectRequest {
    /// Between two connections, ns; 0: as fast as they go. Default 10 ms.
    pub delay_ns: Option<u64>,
    /// Connections per second, instead.
    pub rate_per_second: Option<f64>,
    /// Connections that come due together, instead.
    pub batch: Option<u32>,
    /// From the beginning of one batch to the next, ns; default 600 ms.
    pub batch_delay_ns: Option<u64>,
    /// Connects under way at the same time for each thread, at most; default 128, or the batch if that is more.
    pub at_once: Option<u32>,
    /// For how long connections are held, ns; default 1 s.
    pub hold_ns: Option<u64>,
    /// They are held until somebody ends it.
    pub hold_until_told: bool,
    /// How they are closed; default all at once.
    pub closing: Option<Closing>,
}

/// How connections are held and closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hold {
    /// For how long, ns; `None`: until somebody ends it.
    pub ns: Option<u64>,
    /// When each is closed, from the order to.
    pub closing: Ramp,
    /// Connects under way at the same time for each thread, at most.
    pub at_once: u32,
}

impl ConnectRequest {
    /// When connections are opened, how they are held, and both as the document says it.
    pub(super) fn resolve(&self) -> Result<(Ramp, Hold, Dialing), PlanError> {
        let ramp = self.ramp()?;
        let own = self.batch.unwrap_or(0).clamp(CONNECTS_AT_ONCE, AT_ONCE_MAX);
        let at_once = in_range("--at-once", self.at_once.unwrap_or(own), 1, AT_ONCE_MAX)?;
        let ns = match self.hold_until_told {
            true => None,
            false => Some(duration("--hold", self.hold_ns, HOLD_NS, 0)?),
        };
        let closing = self.closing.unwrap_or(Closing::AllAtOnce);
        refuse(
            &[(
                "--close ramp",
                closing == Closing::Ramp && ramp == Ramp::AtOnce,
            )],
            "--delay 0",
            "connections are closed as they were opened, and these are opened all at once: give a --delay, a --rate or \
             a --batch",
        )?;
        let (rate_per_second, batch, batch_delay_ns) = match ramp {
            Ramp::AtOnce => (None, None, None),
            Ramp::PerSecond(rate) => (Finite::new(rate), None, None),
            Ramp::Batches {
                connections,
                pause_ns,
            } => (None, Some(connections.into()), Some(pause_ns)),
        };
        let hold = Hold {
            ns,
            closing: match closing {
                Closing::AllAtOnce => Ramp::AtOnce,
                Closing::Ramp => ramp,
            },
            at_once,
        };
        let dialing = Dialing {
            rate_per_second,
            batch,
            batch_delay_ns,
            at_once: at_once.into(),
            hold_ns: ns,
            closing,
        };
        Ok((ramp, hold, dialing))
    }

    fn ramp(&self) -> Result<Ramp, PlanError> {
        let given = [
            ("--rate", self.rate_per_second.is_some()),
            ("--batch", self.batch.is_some()),
            ("--delay", self.delay_ns.is_some()),
        ];
        let mut named = given.iter().filter(|(_, given)| *given);
        if let (Some((one, _)), Some((other, _))) = (named.next(), named.next()) {
            return Err(PlanError::Conflict {
                option: one,
                with: (*other).to_owned(),
                cure: "each says when connections are opened; choose one",
            });
        }
        if self.batch.is_none() && self.batch_delay_ns.is_some() {
            return Err(PlanError::Missing {
                option: "--batch-delay",
                needs: "--batch",
                cure: "say how many connections are opened together, for example --batch 1000",
            });
        }
        if let Some(rate) = self.rate_per_second {
            return match rate > 0.0 && rate <= RATE_MAX_PER_SECOND {
                true => Ok(Ramp::PerSecond(rate)),
                false => Err(PlanError::OutOfRange {
                    option: "--rate",
                    value: rate.to_string(),
                    range: "above 0 and at most 10^9 connections per second".to_owned(),
                    cure: "use --delay 0 to open them as fast as they go",
                }),
            };
        }
        if let Some(connections) = self.batch {
            return Ok(Ramp::Batches {
                connections: in_range("--batch", connections, 1, BATCH_MAX)?,
                pause_ns: duration("--batch-delay", self.batch_delay_ns, BATCH_DELAY_NS, 0)?,
            });
        }
        Ok(match duration("--delay", self.delay_ns, DELAY_NS, 0)? {
            0 => Ramp::AtOnce,
            ns => Ramp::PerSecond(1e9 / ns as f64),
        })
    }
}
