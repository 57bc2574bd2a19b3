//! The plan as it stands in the result document.

use super::{PlacementKind, Plan, TargetPlan};
use engine::address::Address;
use engine::endpoint::Endpoint;
use engine::shape::Pace;
use report::document::{self, EngineRequest, Finite, PlacementRequest, Target};
use report::units::{format_rate, format_size};
use std::collections::BTreeMap;

impl Plan {
    /// The resolved plan as documents carry it. The target's endpoint is the one that was asked
    /// for until [`crate::conduct`] knows the one that was used.
    pub fn document(&self) -> document::Plan {
        let (shape, common) = (&self.shape.described, &self.request.common);
        document::Plan {
            workload: self.workload(),
            direction: shape.direction,
            target: self.document_target(),
            load_agents: self.load_agents,
            load_via: common.load_via.clone(),
            ranks: common.ranks,
            connections: u64::from(self.connections),
            threads: self.threads,
            testee_threads: self.testee().map(|testee| testee.threads),
            testee_agents: self.testee().map(|testee| testee.agents),
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
            queue: shape.queue,
            dialing: shape.dialing,
            web_socket: shape.web_socket.clone(),
            bitrate_bits_per_second: shape.bitrate_bits_per_second,
            pacing_rate_bits_per_second: shape.pacing_rate_bits_per_second,
            depth: self.depth(),
            sizes: shape.sizes,
            timeout_ns: self.operation_timeout_ns,
            connect_timeout_ns: self.connect_timeout_ns,
            verify: shape.verify,
            closer: shape.closer,
            close: shape.close,
            socket_options: self.requested_socket_options(),
            sources: self.sources.iter().map(ToString::to_string).collect(),
            placement: PlacementRequest {
                load: placement_words(common.client_cpus.as_deref(), self.placement),
                testee: self
                    .testee()
                    .map(|_| placement_words(common.testee_cpus.as_deref(), self.placement)),
            },
        }
    }

    pub(super) fn document_target(&self) -> Target {
        let (endpoint, via) = match &self.target {
            TargetPlan::Foreign(endpoint) => (endpoint, None),
            TargetPlan::Own(testee) => (
                &testee.hosts[0].listen,
                self.request.common.testee_via.first().cloned(),
            ),
        };
        Target {
            endpoint: endpoint.to_string(),
            address: None,
            addresses: Vec::new(),
            transport: endpoint.kind().to_owned(),
            loopback: is_loopback(endpoint),
            own_testee: self.has_own_testee(),
            testee_via: via,
            more_testee_via: self
                .request
                .common
                .testee_via
                .iter()
                .skip(1)
                .cloned()
                .collect(),
        }
    }

    fn document_pace(&self) -> document::Pace {
        let finite = |rate| Finite::new(rate).unwrap_or_default();
        match self.shape.pace {
            Pace::Closed => document::Pace::Closed,
            Pace::Constant(rate) => document::Pace::Constant {
                rate_per_second: finite(rate),
            },
            Pace::Each(every_ns) => document::Pace::Each {
                every_ns,
                rate_per_second: finite(f64::from(self.connections) * 1e9 / every_ns as f64),
            },
            Pace::Poisson(rate) => document::Pace::Poisson {
                rate_per_second: finite(rate),
                // Each round has its own.
                seed: None,
            },
        }
    }

    /// Socket options that the user asked for, name to value.
    pub(crate) fn requested_socket_options(&self) -> BTreeMap<String, String> {
        let asked = &self.request.common.socket;
        let pacing = self.shape.described.pacing_rate_bits_per_second;
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
                    .parse::<Address>()
                    .is_ok_and(|address| address.ip().to_canonical().is_loopback())
        }
    }
}
