//! What an agent reports of its host: the environment, where threads go, and what the kernel counts.
//!
//! Everything here reads; nothing is changed (some datagrams over loopback show whether connections are tracked). What cannot be read is a reason in words and never a failure:
//! a measurement in a bare container, on FreeBSD or on macOS is still one.

mod cgroup;
mod conntrack;
mod counter_texts;
mod counters;
mod cpu_list;
mod described;
mod environment;
mod files;
mod interface;
mod machine;
mod memory;
mod neighbours;
mod netfilter;
mod placement;
mod programs;
mod queues;
mod reasons;
mod routes;
mod topology;

pub use counter_texts::CpuTimes;
pub use counters::{
    CounterDelta, CounterSnapshot, CpuActivity, ProcessMemory, THROTTLED, process_memory,
};
pub use cpu_list::{CpuListError, format_cpu_list, parse_cpu_list};
pub(crate) use described::describe_host;
pub use environment::describe;
pub use interface::Traffic;
pub use memory::available_bytes;
pub use neighbours::ProcessTimes;
pub use placement::{Placement, default_placement};
pub use topology::{LogicalCpu, Topology, allowed_cpus};
