//! The vocabulary and the rules of linerate: what a connection says ([`session`], [`workload`]),
//! when it says it ([`shape`]), how a load's connections live ([`load`]), what is recorded of it ([`meter`], and [`record`] event by event), and the two contracts that an
//! I/O backend can fulfil: [`proactor::Proactor`] (our own loops) and [`driver::Driver`] (everybody).
//!
//! No serde, no clap, no printing and no files live here.

pub mod accepting;
pub mod address;
#[cfg(target_os = "linux")]
pub mod affinity;
pub mod clock;
pub mod control;
pub mod driver;
pub mod endpoint;
pub mod load;
pub mod meter;
pub mod needs;
pub mod options;
pub mod os;
pub mod outbox;
pub mod pattern;
pub mod proactor;
pub mod record;
pub mod region;
pub mod session;
pub mod shape;
pub mod socket;
pub mod speaker;
pub mod tcp_info;
pub mod timers;
pub mod websocket;
pub mod worker;
pub mod workload;
