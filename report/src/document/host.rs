//! The machines that took part.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppliedProfile, Limits, Role, Unknown};

/// One machine or network namespace, as it was when the run began.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Name by which sides and activities refer to it, unique in the document.
    pub id: String,
    /// What it did in this run.
    pub roles: Vec<Role>,
    /// The command prefix through which agents were started there; left out for the host that conducts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Address that its agent joined from, where it is a rank that something else started; left out for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_from: Option<String>,
    /// Its host name.
    pub name: Option<String>,
    /// Kernel name and release, for example `Linux 6.18.44`.
    pub kernel: Option<String>,
    /// Distribution or system, for example `Debian GNU/Linux 13`.
    pub os: Option<String>,
    /// Machine type, for example `x86_64`.
    pub architecture: Option<String>,
    /// Processor as it names itself.
    pub cpu_model: Option<String>,
    /// Logical CPUs online.
    pub cpu_count: Option<u32>,
    /// Physical cores online.
    pub physical_cores: Option<u32>,
    /// Frequency governor, or all of them if CPUs differ.
    pub governor: Option<String>,
    /// Current clock source of the kernel.
    pub clocksource: Option<String>,
    /// Processor vulnerability to what the kernel does about it.
    pub mitigations: BTreeMap<String, String>,
    /// Default TCP congestion control.
    pub congestion_control: Option<String>,
    /// The interface that the traffic used.
    pub interface: Option<NetworkInterface>,
    /// Relevant sysctls as read back, key to value.
    pub sysctls: BTreeMap<String, String>,
    /// The profile that was applied before the run (`--profile`).
    #[serde(default)]
    pub profile: Option<AppliedProfile>,
    /// Resource limits of the agent.
    pub limits: Option<Limits>,
    /// Whether io_uring works here, and if not, which wall was hit.
    pub io_uring: Option<IoUringState>,
    /// Hypervisor if known; `none` on bare metal.
    pub hypervisor: Option<String>,
    /// This host's clock against that of the host that conducts.
    pub clock_offset: Option<ClockOffset>,
    /// What else can change a measurement, fact to value: memory, transparent huge pages, SMT,
    /// turbo, allowed CPUs, cgroup quota, seccomp, connection tracking ...
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Sysctls and facts that could not be read, each with the reason.
    #[serde(default)]
    pub missing: BTreeMap<String, String>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// The interface that the traffic used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetworkInterface {
    /// Its name, for example `lo` or `eth0`.
    pub name: String,
    /// Largest packet without link header.
    pub mtu_bytes: Option<u32>,
    /// Queueing discipline at its root.
    pub qdisc: Option<String>,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// Whether io_uring works on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct IoUringState {
    /// True if a ring could be set up and has what the engine needs.
    pub available: bool,
    /// `kernel.io_uring_disabled`: 0 for all, 1 for privileged, 2 for nobody.
    pub disabled_sysctl: Option<i64>,
    /// What the probe found: `ok`, or the call and what the system answered.
    pub probe: String,
    /// Why fields of this object are null.
    pub unknown: Vec<Unknown>,
}

/// A clock against another, from the exchange with the smallest round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockOffset {
    /// How far this clock is ahead.
    pub offset_ns: i64,
    /// The offset is known to plus or minus this: half the round trip.
    pub error_ns: u64,
}
