//! The plan as it stands in the result document.

use super::{PlacementKind, Plan, TargetPlan};
use engine::endpoint::Endpoint;
use engine::session::How;
use engine::shape::{POISSON_SEED, Pace};
use engine::workload::{Closer, Direction, LoadSpec};
use report::document::{self, EngineRequest, Finite, PlacementRequest, Sizes, Target, Workload};
use report::units::{format_rate, format_size};
use std::collections::BTreeMap;

impl Plan {
    /// The resolved plan as documents carry it. The target's endpoint is the one that was asked
    /// for until [`crate::conduct`] knows the one that was used.
    pub fn document(&self) -> document::Plan {
        let (direction, closer, close) = self.document_shape();
        document::Plan {
            workload: self.workload,
            direction,
            target: self.document_target(),
            load_agents: 1,
            connections: u64::from(self.connections),
            threads: self.threads,
            testee_threads: self.testee().map(|testee| testee.threads),
            engine: EngineRequest {
                load: self.engine.to_string(),
                testee: self.testee().map(|testee| testee.engine.to_string()),
            },
            duration_ns: self.duration_ns(),
            count: self.count(),
            warmup_ns: self.warmup_ns,
            interval_ns: self.interval_ns,
            repeat: self.repeat,
            pace: self.document_pace(),
            bitrate_bits_per_second: self.request.bitrate_bits_per_second,
            pacing_rate_bits_per_second: self.request.pacing_rate_bits_per_second,
            depth: self.depth(),
            sizes: self.document_sizes(),
            timeout_ns: self.operation_timeout_ns,
            connect_timeout_ns: self.connect_timeout_ns,
            verify: matches!(self.load, LoadSpec::RequestResponse { verify: true, .. }),
            closer,
            close,
            socket_options: self.requested_socket_options(),
            sources: self.sources.iter().map(ToString::to_string).collect(),
            placement: PlacementRequest {
                load: placement_words(self.request.client_cpus.as_deref(), self.placement),
                testee: self
                    .testee()
                    .map(|_| placement_words(self.request.testee_cpus.as_deref(), self.placement)),
            },
        }
    }

    fn document_target(&self) -> Target {
        let (endpoint, via) = match &self.target {
            TargetPlan::Foreign(endpoint) => (endpoint, None),
            TargetPlan::Own(testee) => (&testee.listen, self.request.testee_via.clone()),
        };
        Target {
            endpoint: endpoint.to_string(),
            transport: endpoint.kind().to_owned(),
            loopback: is_loopback(endpoint),
            own_testee: self.has_own_testee(),
            testee_via: via,
        }
    }

    fn document_pace(&self) -> document::Pace {
        let finite = |rate| Finite::new(rate).unwrap_or_default();
        match self.pace() {
            Pace::Closed => document::Pace::Closed,
            Pace::Constant(rate) => document::Pace::Constant {
                rate_per_second: finite(rate),
            },
            Pace::Poisson(rate) => document::Pace::Poisson {
                rate_per_second: finite(rate),
                seed: Some(POISSON_SEED),
            },
        }
    }

    fn depth(&self) -> u32 {
        match self.load {
            LoadSpec::RequestResponse { depth, .. } => depth,
            _ => 1,
        }
    }

    fn document_sizes(&self) -> Sizes {
        let mut sizes = Sizes::default();
        match self.load {
            LoadSpec::RequestResponse {
                request_bytes,
                echo: true,
                ..
            } => sizes.message_bytes = Some(u64::from(request_bytes)),
            LoadSpec::RequestResponse {
                request_bytes,
                response_bytes,
                ..
            }
            | LoadSpec::Transaction {
                exchange: Some((request_bytes, response_bytes)),
                ..
            } => {
                sizes.request_bytes = Some(u64::from(request_bytes));
                sizes.response_bytes = Some(u64::from(response_bytes));
            }
            LoadSpec::Stream { message_bytes, .. } => {
                sizes.message_bytes = Some(u64::from(message_bytes));
            }
            LoadSpec::Transaction { exchange: None, .. } => {}
        }
        sizes
    }

    fn document_shape(
        &self,
    ) -> (
        Option<document::Direction>,
        Option<document::Closer>,
        Option<document::CloseHow>,
    ) {
        match self.load {
            LoadSpec::RequestResponse { .. } => (None, None, None),
            LoadSpec::Stream { direction, .. } => {
                let direction = match direction {
                    Direction::Send => document::Direction::Send,
                    Direction::Receive => document::Direction::Receive,
                    Direction::Both => document::Direction::Both,
                };
                (Some(direction), None, None)
            }
            LoadSpec::Transaction { closer, how, .. } => {
                let closer = match closer {
                    Closer::Client => document::Closer::Client,
                    Closer::Server => document::Closer::Server,
                };
                let how = match how {
                    How::Fin => document::CloseHow::Fin,
                    How::Rst => document::CloseHow::Rst,
                };
                (None, Some(closer), Some(how))
            }
        }
    }

    /// Socket options that the user asked for, name to value.
    pub(crate) fn requested_socket_options(&self) -> BTreeMap<String, String> {
        let asked = &self.request.socket;
        let pacing = self.request.pacing_rate_bits_per_second;
        let options = [
            ("nodelay", asked.nodelay.map(|on| on.to_string())),
            ("sndbuf", asked.send_buffer_bytes.map(format_size)),
            ("rcvbuf", asked.receive_buffer_bytes.map(format_size)),
            ("congestion", asked.congestion_control.clone()),
            ("mss", asked.mss_bytes.map(|bytes| bytes.to_string())),
            ("tos", asked.tos.map(|tos| format!("{tos:#04x}"))),
            ("busy-poll", asked.busy_poll_us.map(|us| us.to_string())),
            ("fast-open", asked.fast_open.then(|| "true".to_owned())),
            ("keepalive", asked.keepalive_s.map(|s| format!("{s}s"))),
            ("pacing-rate", pacing.map(format_rate)),
        ];
        options
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

fn placement_words(cpus: Option<&str>, placement: PlacementKind) -> String {
    cpus.map_or_else(|| placement.words().to_owned(), str::to_owned)
}

/// Whether traffic to the endpoint never leaves the machine, as far as its text tells.
pub(crate) fn is_loopback(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Unix(_) => true,
        Endpoint::Tcp { host, .. } => {
            host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.to_canonical().is_loopback())
        }
    }
}

/// Whether the workload's operations open and close connections.
pub(crate) fn document_reconnects(workload: Workload) -> bool {
    matches!(workload, Workload::Crr | Workload::Cc)
}
