//! When operations start.

use super::PlanError;
use engine::shape::Pace;
use report::document::Queue;
use serde::{Deserialize, Serialize};

const RATE_MAX_PER_SECOND: f64 = 1e9;

/// When operations start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaceRequest {
    /// Open loop: operations per second in total. None: closed loop.
    pub rate_per_second: Option<f64>,
    /// Open loop with exponential instead of equal gaps.
    pub poisson: bool,
    /// Open loop: where what is due waits for a connection; default: each connection has a queue of its own.
    pub queue: Option<Queue>,
}

impl PaceRequest {
    pub(super) fn resolve(&self) -> Result<Pace, PlanError> {
        let Some(rate) = self.rate_per_second else {
            return match self.poisson {
                false => Ok(Pace::Closed),
                true => Err(PlanError::Missing {
                    option: "--arrival poisson",
                    needs: "--rate",
                    cure: "a schedule needs a rate, for example --rate 10k",
                }),
            };
        };
        if !(rate > 0.0 && rate <= RATE_MAX_PER_SECOND) {
            return Err(PlanError::OutOfRange {
                option: "--rate",
                value: rate.to_string(),
                range: "above 0 and at most 10^9 operations per second".to_owned(),
                cure: "leave --rate out for a closed loop, which goes as fast as it can",
            });
        }
        Ok(match self.poisson {
            true => Pace::Poisson(rate),
            false => Pace::Constant(rate),
        })
    }

    pub(super) fn queue(&self) -> Result<Option<Queue>, PlanError> {
        match (self.rate_per_second, self.queue) {
            (None, Some(_)) => Err(PlanError::Missing {
                option: "--queue",
                needs: "--rate",
                cure: "in a closed loop nothing is due, and so nothing waits",
            }),
            (None, None) => Ok(None),
            (Some(_), queue) => Ok(Some(queue.unwrap_or(Queue::Own))),
        }
    }
}
