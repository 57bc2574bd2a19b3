//! Comparisons: several plans, measured in interleaved rounds of one run each.
//!
//! An [`Experiment`] has cells (one question each, for example a number of connections). In every
//! round of a cell each arm runs once, in an order that is random and balanced (Williams designs), with
//! fresh processes and sockets; the first arm, the baseline, runs twice, so that what it seems to
//! differ by from itself says how much is noise. The first round is discarded. A cell ends after
//! its rounds, when the time is used up, or when its confidence intervals are as narrow as asked
//! for; never because of what a test said, which would make false alarms likely.
//!
//! Every finished round is in a [trial log](crate::trials) before the next begins. A comparison that was killed is
//! analysed as far as it came ([`again`]), or goes on where it stopped: the orders follow from the seed, so that the
//! loop that conducts it takes the rounds that are there from the log ([`Book`]) instead of measuring them.
//!
//! What the rounds mean is computed in [`report::comparison`].

mod book;
mod cell;
mod conduct;
mod differences;
mod drift;
mod engine_list;
mod experiment;
mod length;
mod order;
mod record;
mod request;
mod saved;
mod trial;

pub use book::{Book, Earlier};
pub use conduct::{Observer, Position, again, conduct};
pub use engine_list::engines;
pub use experiment::Experiment;
pub use length::Length;
pub use record::Outcome;
pub use request::{ArmRequest, CellRequest, ExperimentRequest};
pub use saved::{SavedMethod, SavedRun, saved};

#[cfg(test)]
mod tests;
