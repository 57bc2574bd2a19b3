//! Everything that users meet, in one binary: one to link, and tests that wait for clocks wait together.
//!
//! Tests of time itself run alone: see [`linerate_tests::alone`]. What counts allocations, descriptors or
//! threads of its whole process has a binary of its own beside this one.

mod browser;
mod command_line;
mod conformance;
mod partners;
mod profiles;
