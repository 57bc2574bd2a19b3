//! What each subcommand does with its arguments.

pub mod agent;
pub mod compare;
pub mod doctor;
pub mod engines;
pub mod events;
pub mod report;
pub mod run;
pub mod serve;
pub mod supervise;
pub mod sysctl;
