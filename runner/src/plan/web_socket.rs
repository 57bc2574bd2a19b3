//! The shape of `ws`: who asks for a WebSocket, when, and what is said over it.

use super::PlanError;
use super::checks::{duration, in_range, refuse, size};
use super::pace::PaceRequest;
use engine::endpoint::Endpoint;
use engine::shape::{Pace, Ramp};
use engine::websocket::frame::Kind;
use engine::websocket::handshake::Opening;
use engine::workload::NUMBER_BYTES;
use report::document::{MessageKind, WebSocketPlan};
use serde::{Deserialize, Serialize};

/// Bytes of a message that a testee takes, unless asked otherwise.
pub(super) const LIMIT_MESSAGE_BYTES: u64 = 64 << 20;
/// Bytes of a message that a testee can be made to take at most: 1 GiB, as everywhere.
pub(super) const LIMIT_MESSAGE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a message where nobody says how many.
const MESSAGE_BYTES: u64 = 64;
/// Messages in flight per client on a schedule, where nobody says how many.
const DEPTH_ON_SCHEDULE: u32 = 16;
const PORT: u16 = 80;

/// The shape of `ws`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocketRequest {
    /// Between the openings of two clients, ns; default 0: as fast as they go.
    pub ramp_ns: Option<u64>,
    /// Each client sends a message so often, ns, answered or not, the first as soon as it is opened.
    pub message_every_ns: Option<u64>,
    /// Instead: all of them together.
    pub pace: PaceRequest,
    /// Messages in flight per client; default 1, on a schedule 16.
    pub depth: Option<u32>,
    /// Bytes of a message, at least 8; default 64.
    pub message_bytes: Option<u64>,
    /// Bytes of the payload of a frame at most: longer messages go in fragments. Default: a message is a frame.
    pub fragment_bytes: Option<u64>,
    /// Send text instead of bytes.
    pub text: bool,
    /// Compare every byte that comes back; default on.
    pub verify: Option<bool>,
    /// Path and query; default that of the target, or `/`.
    pub path: Option<String>,
    /// Further fields of the request, `Name: value`.
    pub headers: Vec<String>,
    /// The field Origin.
    pub origin: Option<String>,
    /// Subprotocols that are asked for.
    pub subprotocols: Vec<String>,
}

/// What else was asked for that a handshake, or a default, depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around<'a> {
    /// The target as it was written.
    pub target: Option<&'a str>,
    /// The load's engine as it was written.
    pub engine: Option<&'a str>,
}

impl Around<'_> {
    fn is_blocking(&self) -> bool {
        let name = self.engine.and_then(|engine| engine.split(':').next());
        name == Some("blocking")
    }
}

/// What is said over each WebSocket, and when each comes up.
#[derive(Debug)]
pub(super) struct Conversation {
    pub opening: Opening,
    pub message_bytes: u32,
    /// Bytes of the payload of a frame at most.
    pub frame_bytes: u32,
    pub kind: Kind,
    pub pace: Pace,
    /// Messages in flight per client, where nobody says how many.
    pub default_depth: u32,
    pub ramp: Ramp,
    /// In the document's words.
    pub described: WebSocketPlan,
}

impl WebSocketRequest {
    pub(super) fn resolve(&self, around: &Around) -> Result<Conversation, PlanError> {
        let asked = self.message_bytes.unwrap_or(MESSAGE_BYTES);
        let message_bytes = size("--size", asked.max(1))?;
        if asked < NUMBER_BYTES as u64 {
            return Err(PlanError::OutOfRange {
                option: "--size",
                value: asked.to_string(),
                range: format!("at least {NUMBER_BYTES} bytes"),
                cure: "a message carries a number of 8 bytes by which its echo is known",
            });
        }
        let fragment = self.fragment_bytes.map(|bytes| {
            in_range("--fragment", bytes, 1, LIMIT_MESSAGE_BYTES_MAX).map(|bytes| bytes as u32)
        });
        let pace = self.pace()?;
        // A thread for each connection has one operation at a time.
        let has_depth = pace.is_open() && !around.is_blocking();
        let opening = self.opening(around)?;
        Ok(Conversation {
            message_bytes,
            frame_bytes: fragment.transpose()?.unwrap_or(message_bytes),
            kind: if self.text { Kind::Text } else { Kind::Binary },
            pace,
            default_depth: if has_depth { DEPTH_ON_SCHEDULE } else { 1 },
            ramp: match duration("--ramp", self.ramp_ns, 0, 0)? {
                0 => Ramp::AtOnce,
                ns => Ramp::PerSecond(1e9 / ns as f64),
            },
            described: self.described(&opening, pace),
            opening,
        })
    }

    fn pace(&self) -> Result<Pace, PlanError> {
        let Some(every_ns) = self.message_every_ns else {
            return self.pace.resolve();
        };
        refuse(
            &[
                ("--rate", self.pace.rate_per_second.is_some()),
                ("--arrival poisson", self.pace.poisson),
                ("--queue", self.pace.queue.is_some()),
            ],
            "--message-every",
            "either each client has a schedule of its own, or all have one together; choose one",
        )?;
        duration("--message-every", Some(every_ns), every_ns, 1_000).map(Pace::Each)
    }

    fn described(&self, opening: &Opening, pace: Pace) -> WebSocketPlan {
        WebSocketPlan {
            path: opening.path.clone(),
            origin: self.origin.clone(),
            subprotocols: self.subprotocols.clone(),
            headers: self.headers.clone(),
            sends: match self.text {
                true => MessageKind::Text,
                false => MessageKind::Binary,
            },
            fragment_bytes: self.fragment_bytes,
            client_every_ns: self.ramp_ns.filter(|ns| *ns > 0),
            message_every_ns: match pace {
                Pace::Each(every_ns) => Some(every_ns),
                Pace::Closed | Pace::Constant(_) | Pace::Poisson(_) => None,
            },
        }
    }

    // ---- the handshake ---------------------------------------------------------------------

    fn opening(&self, around: &Around) -> Result<Opening, PlanError> {
        let target = around.target;
        let url_path = target.and_then(|text| split_url(text).ok().flatten());
        let url_path = url_path.map(|(_, path)| path);
        let path = match (&self.path, url_path) {
            (Some(_), Some(path)) if path != "/" => {
                return Err(PlanError::Conflict {
                    option: "--path",
                    with: format!("the target {}", target.unwrap_or_default()),
                    cure: "the target has a path of its own; leave one of them out",
                });
            }
            (Some(path), _) => path.clone(),
            (None, path) => path.unwrap_or_else(|| "/".to_owned()),
        };
        if !path.starts_with('/') || path.contains(|c: char| !c.is_ascii_graphic() || c == '#') {
            return Err(PlanError::Unreadable {
                option: "--path",
                value: path,
                why: "it begins with / and has neither spaces nor a fragment; write other characters as %XX".to_owned(),
            });
        }
        let fields = self.headers.iter().map(|line| field(line));
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let own_host = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = own_host.map_or_else(|| host(target), |(_, value)| value.clone());
        check_value("--origin", self.origin.as_deref().unwrap_or_default())?;
        for name in &self.subprotocols {
            check_token("--subprotocol", name)?;
        }
        Ok(Opening {
            host,
            path,
            origin: self.origin.clone(),
            subprotocols: self.subprotocols.clone(),
            fields: fields
                .into_iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
                .collect(),
        })
    }
}

/// What stands in Host: the target as it was written, its port unless it is that of HTTP.
fn host(target: Option<&str>) -> String {
    let endpoint = target.and_then(|text| endpoint_of(text).ok());
    match endpoint {
        Some(Endpoint::Tcp { host, port }) => {
            // A zone means something on this host only.
            let name = host.split('%').next().unwrap_or_default();
            let name = match name.contains(':') {
                true => format!("[{name}]"),
                false => name.to_owned(),
            };
            match port {
                PORT => name,
                port => format!("{name}:{port}"),
            }
        }
        Some(Endpoint::Unix(_)) | None => "localhost".to_owned(),
    }
}

/// A target of `ws`: an endpoint, or a URL.
pub(super) fn endpoint_of(text: &str) -> Result<Endpoint, PlanError> {
    match split_url(text)? {
        Some((endpoint, _)) => Ok(endpoint),
        None => text.parse().map_err(|why: String| {
            PlanError::Endpoint(why.replace(
                "write tcp://HOST:PORT or",
                "write ws://HOST:PORT/PATH, tcp://HOST:PORT or",
            ))
        }),
    }
}

/// Endpoint and path of a URL; `None` if it is none.
fn split_url(text: &str) -> Result<Option<(Endpoint, String)>, PlanError> {
    if text.starts_with("wss://") {
        return Err(PlanError::Endpoint(format!(
            "target '{text}': TLS is not there yet; measure the server behind it, over ws://"
        )));
    }
    let Some(rest) = text.strip_prefix("ws://") else {
        return Ok(None);
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = match path.strip_prefix('?') {
        Some(_) => format!("/{path}"),
        None if path.is_empty() => "/".to_owned(),
        None => path.to_owned(),
    };
    let behind_brackets = authority.rsplit(']').next().unwrap_or_default();
    let with_port = match behind_brackets.contains(':') {
        true => authority.to_owned(),
        false => format!("{authority}:{PORT}"),
    };
    let endpoint = format!("tcp://{with_port}").parse();
    endpoint
        .map(|endpoint| Some((endpoint, path)))
        .map_err(|why: String| PlanError::Endpoint(why.replace("tcp://", "ws://")))
}

/// A field of the request.
fn field(line: &str) -> Result<(String, String), PlanError> {
    let Some((name, value)) = line.split_once(':') else {
        return Err(PlanError::Unreadable {
            option: "--header",
            value: line.to_owned(),
            why: "write 'Name: value'".to_owned(),
        });
    };
    check_token("--header", name)?;
    check_value("--header", value)?;
    let ours = [
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "origin",
    ];
    if ours.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(PlanError::Conflict {
            option: "--header",
            with: format!("the field {name}"),
            cure: "the handshake has that one itself; see --origin and --subprotocol",
        });
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// A token is what RFC 9110 section 5.6.2 calls one.
fn check_token(option: &'static str, text: &str) -> Result<(), PlanError> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match !text.is_empty() && text.chars().all(is_token) {
        true => Ok(()),
        false => Err(PlanError::Unreadable {
            option,
            value: text.to_owned(),
            why: "a name has letters, digits and !#$%&'*+-.^_`|~ only".to_owned(),
        }),
    }
}

fn check_value(option: &'static str, text: &str) -> Result<(), PlanError> {
    match text.chars().all(|c| c == '\t' || !c.is_control()) {
        true => Ok(()),
        false => Err(PlanError::Unreadable {
            option,
            value: text.to_owned(),
            why: "a value has no line breaks and no other control characters".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(target: Option<&str>, change: impl FnOnce(&mut WebSocketRequest)) -> Opening {
        let mut request = WebSocketRequest::default();
        change(&mut request);
        let around = Around {
            target,
            ..Around::default()
        };
        request.opening(&around).unwrap()
    }

    #[test]
    fn a_url_is_an_endpoint_and_a_path() {
        let parts = |text: &str| {
            let (endpoint, path) = split_url(text).unwrap().unwrap();
            (endpoint.to_string(), path, host(Some(text)))
        };
        let own = |parts: (&str, &str, &str)| {
            (parts.0.to_owned(), parts.1.to_owned(), parts.2.to_owned())
        };
        for (text, expected) in [
            ("ws://a", ("tcp://a:80", "/", "a")),
            ("ws://a:9001", ("tcp://a:9001", "/", "a:9001")),
            ("ws://a/b?c=d", ("tcp://a:80", "/b?c=d", "a")),
            ("ws://a?c=d", ("tcp://a:80", "/?c=d", "a")),
            ("ws://[::1]/x", ("tcp://[::1]:80", "/x", "[::1]")),
            ("ws://[::1]:90", ("tcp://[::1]:90", "/", "[::1]:90")),
        ] {
            assert_eq!(parts(text), own(expected), "{text}");
        }
        assert!(split_url("tcp://a:1").unwrap().is_none());
        for wrong in ["wss://a", "ws://", "ws://a:x"] {
            let error = split_url(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn the_handshake_has_what_was_asked_for() {
        let asked = opening(Some("ws://a:9001/chat"), |request| {
            request.headers = vec!["X-Test: 1".into(), "host: other".into()];
            request.subprotocols = vec!["chat".into()];
        });
        assert_eq!(
            (asked.host.as_str(), asked.path.as_str()),
            ("other", "/chat")
        );
        assert_eq!(asked.fields, [("X-Test".to_owned(), "1".to_owned())]);
        let own = opening(None, |request| request.path = Some("/x".into()));
        assert_eq!((own.host.as_str(), own.path.as_str()), ("localhost", "/x"));
    }

    #[test]
    fn what_would_break_the_request_is_refused() {
        type Change = fn(&mut WebSocketRequest);
        let wrong: [Change; 8] = [
            |request| request.path = Some("x".into()),
            |request| request.path = Some("/a b".into()),
            |request| request.path = Some("/\r\nX: y".into()),
            |request| request.headers = vec!["no colon".into()],
            |request| request.headers = vec!["A: b\r\nC: d".into()],
            |request| request.headers = vec!["Upgrade: h2c".into()],
            |request| request.origin = Some("a\nb".into()),
            |request| request.subprotocols = vec!["a b".into()],
        ];
        for change in wrong {
            let mut request = WebSocketRequest::default();
            change(&mut request);
            assert!(request.resolve(&Around::default()).is_err(), "{request:?}");
        }
        let around = Around {
            target: Some("ws://a/b"),
            ..Around::default()
        };
        let request = WebSocketRequest {
            path: Some("/c".into()),
            ..WebSocketRequest::default()
        };
        assert!(request.resolve(&around).is_err());
    }

    #[test]
    fn a_message_has_room_for_its_number() {
        let of = |bytes| {
            let request = WebSocketRequest {
                message_bytes: Some(bytes),
                ..WebSocketRequest::default()
            };
            request.resolve(&Around::default())
        };
        assert!(of(8).is_ok());
        for bytes in [0, 7] {
            let error = of(bytes).unwrap_err().to_string();
            assert!(error.contains("at least 8 bytes"), "{error}");
        }
    }
}
