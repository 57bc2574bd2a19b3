//! What to serve: listeners with their roles, from arguments or from a TOML file.

use super::build::{common_options, cpus, engine_choice};
use super::checks::{duration, in_range, refuse, size};
use super::web_socket::{LIMIT_MESSAGE_BYTES, LIMIT_MESSAGE_BYTES_MAX};
use super::{PlanError, SocketRequest};
use crate::engines::EngineChoice;
use crate::listening::reuseport_balances;
use engine::driver::AcceptStrategy;
use engine::endpoint::Endpoint;
use engine::session::How;
use engine::socket::SocketOptions;
use engine::workload::ServeSpec;
use report::document::CloseHow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Connections of one worker at once, unless asked otherwise.
const CONNECTIONS_DEFAULT: u32 = 16_384;
const CONNECTIONS_MAX: u32 = 4_000_000;
/// Linux' own default of net.core.somaxconn, which caps it anyway.
const BACKLOG_DEFAULT: u32 = 4096;
/// More than the processors of any machine of today can keep busy.
const PROCESSES_MAX: u32 = 256;
const DRAIN_DEFAULT_NS: u64 = 2_000_000_000;

/// A testee's role by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// Sends back what it receives.
    Echo,
    /// Reads and drops.
    Discard,
    /// Sends as fast as the peer reads.
    Source,
    /// Both at once.
    Duplex,
    /// Answers every request of n bytes with m bytes.
    Rr,
    /// Sends back the messages of WebSockets.
    Ws,
}

impl std::str::FromStr for RoleName {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text {
            "echo" => Ok(Self::Echo),
            "discard" => Ok(Self::Discard),
            "source" => Ok(Self::Source),
            "duplex" => Ok(Self::Duplex),
            "rr" => Ok(Self::Rr),
            "ws" => Ok(Self::Ws),
            _ => Err(PlanError::Unreadable {
                option: "--role",
                value: text.to_owned(),
                why: "roles are echo, discard, source, duplex, rr and ws".to_owned(),
            }),
        }
    }
}

/// One listener as asked for. `None` asks for the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerRequest {
    /// Name in totals and messages; default the endpoint.
    #[serde(default)]
    pub id: Option<String>,
    /// `tcp://HOST:PORT` or `unix:///PATH`. Exactly one of this and the `type` form is given.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// `tcp` or `unix`: the long form of `endpoint`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Address to bind, for `type = "tcp"`; default 127.0.0.1.
    #[serde(default)]
    pub interface: Option<String>,
    /// Port, for `type = "tcp"`.
    #[serde(default)]
    pub port: Option<u32>,
    /// Path, for `type = "unix"`.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Connections that the kernel queues; default 4096.
    #[serde(default)]
    pub backlog: Option<u32>,
    /// What to do with connections.
    pub role: RoleName,
    /// Bytes of a request (rr); default 1.
    #[serde(default)]
    pub request_bytes: Option<u64>,
    /// Bytes of a response (rr); default 1.
    #[serde(default)]
    pub response_bytes: Option<u64>,
    /// Bytes of one write (source, duplex); default 128 KiB.
    #[serde(default)]
    pub message_bytes: Option<u64>,
    /// Bytes of a message at most (ws); default 64 MiB.
    #[serde(default)]
    pub max_message_bytes: Option<u64>,
    /// Close after so many responses (rr); default never.
    #[serde(default)]
    pub close_after: Option<u32>,
    /// How to close then.
    #[serde(default)]
    pub close: Option<CloseHow>,
    /// Report what happens on this listener once a second.
    #[serde(default)]
    pub debug: bool,
    /// Engine, `NAME` or `NAME:key=value,...`; default `auto`.
    #[serde(default)]
    pub engine: Option<String>,
    /// Threads; default 1.
    #[serde(default)]
    pub threads: Option<u32>,
    /// CPUs of the threads; default unpinned.
    #[serde(default)]
    pub cpus: Option<String>,
    /// `reuseport`, `shared` or `handoff`; default what suits the system.
    #[serde(default)]
    pub accept: Option<String>,
    /// Options of every socket.
    #[serde(default)]
    pub socket: SocketRequest,
}

impl ListenerRequest {
    /// A listener with defaults for everything else.
    pub fn new(endpoint: &str, role: RoleName) -> Self {
        Self {
            id: None,
            endpoint: Some(endpoint.to_owned()),
            kind: None,
            interface: None,
            port: None,
            path: None,
            backlog: None,
            role,
            request_bytes: None,
            response_bytes: None,
            message_bytes: None,
            max_message_bytes: None,
            close_after: None,
            close: None,
            debug: false,
            engine: None,
            threads: None,
            cpus: None,
            accept: None,
            socket: SocketRequest::default(),
        }
    }
}

/// Everything `serve` does, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeRequest {
    /// The listeners, `[[listener]]` in a file.
    #[serde(rename = "listener")]
    pub listeners: Vec<ListenerRequest>,
    /// Connections at once per worker; default 16384.
    pub max_connections: Option<u32>,
    /// A connection without traffic for so long is closed, ns.
    pub idle_timeout_ns: Option<u64>,
    /// End after the first connection has closed.
    pub one_off: bool,
    /// How long connections may go on after a stop, ns; default 2 s.
    pub drain_ns: Option<u64>,
    /// Processes that listen together; default 1, or as many as `max_connections` needs.
    pub processes: Option<u32>,
}

/// A configuration file of `serve`: the same as [`ServeRequest`].
pub type ServeFile = ServeRequest;

/// A validated plan of `serve`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "ServeRequest", into = "ServeRequest")]
pub struct ServePlan {
    pub(crate) request: ServeRequest,
    pub(crate) listeners: Vec<ListenerPlan>,
    pub(crate) max_connections: u32,
    pub(crate) idle_timeout_ns: Option<u64>,
    pub(crate) one_off: bool,
    pub(crate) drain_ns: u64,
    pub(crate) processes: Option<u32>,
}

/// A validated listener.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    pub(crate) id: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) backlog: u32,
    pub(crate) role: ServeSpec,
    pub(crate) debug: bool,
    pub(crate) engine: EngineChoice,
    pub(crate) threads: u32,
    pub(crate) cpus: Option<Vec<u32>>,
    pub(crate) accept: Option<AcceptStrategy>,
    pub(crate) socket: SocketOptions,
    pub(crate) message_bytes: Option<u32>,
}

impl ServePlan {
    /// Validates `request` and fills in every default.
    ///
    /// # Errors
    /// What cannot be served, with what to write instead.
    pub fn new(request: ServeRequest) -> Result<Self, PlanError> {
        if request.listeners.is_empty() {
            return Err(PlanError::Missing {
                option: "serve",
                needs: "a listener",
                cure: "write for example --listen tcp://127.0.0.1:9000 --role echo",
            });
        }
        let listeners = request
            .listeners
            .iter()
            .map(listener)
            .collect::<Result<Vec<_>, _>>()?;
        check_unique(&listeners)?;
        let processes = processes(&request, &listeners)?;
        let max_connections = request.max_connections.unwrap_or(CONNECTIONS_DEFAULT);
        let idle_timeout_ns = request
            .idle_timeout_ns
            .map(|ns| duration("--idle-timeout", Some(ns), 0, 1_000_000))
            .transpose()?;
        Ok(Self {
            max_connections: in_range("--max-connections", max_connections, 1, CONNECTIONS_MAX)?,
            idle_timeout_ns,
            one_off: request.one_off,
            drain_ns: duration("--drain", request.drain_ns, DRAIN_DEFAULT_NS, 0)?,
            listeners,
            processes,
            request,
        })
    }

    /// Whether several processes can listen on all of its ports together.
    pub(crate) fn may_share_ports(&self) -> bool {
        !self.one_off && self.listeners.iter().all(ListenerPlan::may_share_port)
    }

    /// The listeners.
    pub fn listeners(&self) -> &[ListenerPlan] {
        &self.listeners
    }
}

/// Processes that were asked for, if they can share their ports.
fn processes(request: &ServeRequest, listeners: &[ListenerPlan]) -> Result<Option<u32>, PlanError> {
    let Some(processes) = request.processes else {
        return Ok(None);
    };
    let processes = in_range("--processes", processes, 1, PROCESSES_MAX)?;
    let shares = listeners.iter().all(ListenerPlan::may_share_port);
    let cure = "processes listen together on TCP ports over which the kernel spreads connections (--accept reuseport on \
                Linux and FreeBSD): use --threads";
    refuse(
        &[("--processes", processes > 1 && !shares)],
        "a listener that cannot be shared",
        cure,
    )?;
    refuse(
        &[("--processes", processes > 1 && request.one_off)],
        "--one-off",
        "the first connection ends one process, and the others would stay",
    )?;
    Ok(Some(processes))
}

impl TryFrom<ServeRequest> for ServePlan {
    type Error = PlanError;

    fn try_from(request: ServeRequest) -> Result<Self, PlanError> {
        Self::new(request)
    }
}

impl From<ServePlan> for ServeRequest {
    fn from(plan: ServePlan) -> Self {
        plan.request
    }
}

impl ListenerPlan {
    fn may_share_port(&self) -> bool {
        let spreads = matches!(self.accept, None | Some(AcceptStrategy::Reuseport));
        matches!(self.endpoint, Endpoint::Tcp { .. }) && spreads && reuseport_balances()
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What it does with connections.
    pub fn role(&self) -> &ServeSpec {
        &self.role
    }
}

fn check_unique(listeners: &[ListenerPlan]) -> Result<(), PlanError> {
    let mut ids = BTreeSet::new();
    for listener in listeners {
        if !ids.insert(&listener.id) {
            return Err(PlanError::Conflict {
                option: "a listener",
                with: format!("another of the same id, '{}'", listener.id),
                cure: "give every listener an id of its own",
            });
        }
    }
    Ok(())
}

fn listener(request: &ListenerRequest) -> Result<ListenerPlan, PlanError> {
    let endpoint = endpoint(request)?;
    check_role_options(request)?;
    let threads = in_range("--threads", request.threads.unwrap_or(1), 1, 1024)?;
    let backlog = request.backlog.unwrap_or(BACKLOG_DEFAULT);
    Ok(ListenerPlan {
        id: request.id.clone().unwrap_or_else(|| endpoint.to_string()),
        backlog: in_range("--backlog", backlog, 1, i32::MAX as u32)?,
        role: role(request)?,
        debug: request.debug,
        engine: engine_choice("--engine", request.engine.as_deref(), true)?,
        threads,
        cpus: cpus("--cpus", request.cpus.as_deref())?,
        accept: accept(request, &endpoint, threads)?,
        socket: common_options(&request.socket)?,
        message_bytes: match request.role {
            RoleName::Rr => request.request_bytes.map(|bytes| bytes as u32),
            _ => None,
        },
        endpoint,
    })
}

fn endpoint(request: &ListenerRequest) -> Result<Endpoint, PlanError> {
    let parse = |text: &str| text.parse::<Endpoint>().map_err(PlanError::Endpoint);
    match (&request.endpoint, request.kind.as_deref()) {
        (Some(text), None) => parse(text),
        (Some(_), Some(_)) => Err(PlanError::Conflict {
            option: "endpoint",
            with: "type".to_owned(),
            cure: "write either endpoint = \"tcp://HOST:PORT\" or type, port and path",
        }),
        (None, Some("tcp")) => {
            let host = request.interface.as_deref().unwrap_or("127.0.0.1");
            let port = request.port.ok_or(PlanError::Missing {
                option: "type = \"tcp\"",
                needs: "port",
                cure: "write for example port = 9000",
            })?;
            parse(&match host.contains(':') {
                true => format!("tcp://[{host}]:{port}"),
                false => format!("tcp://{host}:{port}"),
            })
        }
        (None, Some("unix")) => {
            let path = request.path.as_ref().ok_or(PlanError::Missing {
                option: "type = \"unix\"",
                needs: "path",
                cure: "write for example path = \"/run/linerate.sock\"",
            })?;
            parse(&format!("unix://{}", path.display()))
        }
        (None, Some(other)) => Err(PlanError::Unreadable {
            option: "type",
            value: other.to_owned(),
            why: "endpoints are of type tcp or unix".to_owned(),
        }),
        (None, None) => Err(PlanError::Missing {
            option: "a listener",
            needs: "an endpoint",
            cure: "write endpoint = \"tcp://127.0.0.1:9000\" or endpoint = \"unix:///run/x.sock\"",
        }),
    }
}

fn check_role_options(request: &ListenerRequest) -> Result<(), PlanError> {
    let is_rr = request.role == RoleName::Rr;
    let sends = matches!(request.role, RoleName::Source | RoleName::Duplex);
    let wrong = [
        ("--request", request.request_bytes.is_some() && !is_rr),
        ("--response", request.response_bytes.is_some() && !is_rr),
        ("--close-after", request.close_after.is_some() && !is_rr),
        ("--size", request.message_bytes.is_some() && !sends),
        (
            "--max-message",
            request.max_message_bytes.is_some() && request.role != RoleName::Ws,
        ),
    ];
    match wrong.iter().find(|(_, wrong)| *wrong) {
        None => Ok(()),
        Some((option, _)) => Err(PlanError::Conflict {
            option,
            with: format!("the role {:?}", request.role).to_lowercase(),
            cure: "requests, responses and close-after belong to rr, a size to source and duplex, a largest message to ws",
        }),
    }
}

fn role(request: &ListenerRequest) -> Result<ServeSpec, PlanError> {
    let message_bytes = size("--size", request.message_bytes.unwrap_or(128 * 1024))?;
    Ok(match request.role {
        RoleName::Echo => ServeSpec::Echo,
        RoleName::Discard => ServeSpec::Discard,
        RoleName::Ws => ServeSpec::WebSocket {
            limit_message_bytes: in_range(
                "--max-message",
                request.max_message_bytes.unwrap_or(LIMIT_MESSAGE_BYTES),
                1,
                LIMIT_MESSAGE_BYTES_MAX,
            )?,
        },
        RoleName::Source => ServeSpec::Source { message_bytes },
        RoleName::Duplex => ServeSpec::Duplex { message_bytes },
        RoleName::Rr => ServeSpec::Rr {
            request_bytes: size("--request", request.request_bytes.unwrap_or(1))?,
            response_bytes: size("--response", request.response_bytes.unwrap_or(1))?,
            close_after: request.close_after,
            how: match request.close {
                None | Some(CloseHow::Fin) => How::Fin,
                Some(CloseHow::Rst) => How::Rst,
            },
        },
    })
}

fn accept(
    request: &ListenerRequest,
    endpoint: &Endpoint,
    threads: u32,
) -> Result<Option<AcceptStrategy>, PlanError> {
    let Some(text) = request.accept.as_deref() else {
        return Ok(None);
    };
    let strategy = [
        AcceptStrategy::Reuseport,
        AcceptStrategy::Shared,
        AcceptStrategy::Handoff,
    ]
    .into_iter()
    .find(|strategy| strategy.name() == text)
    .ok_or_else(|| PlanError::Unreadable {
        option: "--accept",
        value: text.to_owned(),
        why: "strategies are reuseport, shared and handoff".to_owned(),
    })?;
    if strategy == AcceptStrategy::Reuseport && matches!(endpoint, Endpoint::Unix(_)) {
        return Err(PlanError::Conflict {
            option: "--accept reuseport",
            with: "a Unix socket".to_owned(),
            cure: "Unix sockets have one listener: use shared or handoff",
        });
    }
    if strategy == AcceptStrategy::Handoff && threads == 1 {
        return Err(PlanError::Conflict {
            option: "--accept handoff",
            with: "one thread".to_owned(),
            cure: "there is nobody to hand connections to: use more --threads",
        });
    }
    Ok(Some(strategy))
}
