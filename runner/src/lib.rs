//! Conducts a measurement: a validated [`plan`], the registry of [`engines`], [`agent`]s and the
//! protocol between them ([`wire`]), rounds ([`conduct`](mod@conduct)), interleaved experiments
//! ([`compare`]), the [log](trials) of what was measured so far, the environment of every [`host`],
//! and what it means for a measurement ([`doctor`]).
//!
//! No argument parsing and no printing live here.

pub mod agent;
mod boot;
pub mod build_info;
pub mod cancel;
pub mod compare;
pub mod conduct;
pub mod doctor;
pub mod engines;
pub mod error;
pub mod event_record;
pub mod host;
mod lines;
mod listening;
pub mod plan;
mod process_group;
pub mod profile;
pub mod protocol;
pub mod ranks;
pub mod serve;
mod serve_counts;
pub mod testee_process;
pub mod trials;
mod workers;
