//! The binary as its users meet it: what it refuses, what it measures, how it ends, what it leaves.

mod addresses;
mod comparing;
mod connecting;
mod doctor;
mod documents;
mod endings;
mod event_record;
#[cfg(target_os = "linux")]
mod examples;
#[cfg(target_os = "linux")]
mod limits;
mod measuring;
mod outputs;
#[cfg(target_os = "linux")]
mod ranks;
mod refusals;
mod serving;
#[cfg(target_os = "linux")]
mod several_hosts;
mod trial_logs;
mod two_hosts;
mod web_sockets;
