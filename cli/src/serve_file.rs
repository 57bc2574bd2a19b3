//! The TOML file of `serve --config`: what the command line can say, and a listener's own settings. Keys are
//! named as the options.
//!
//! It has an equivalent for everything in the configuration of Crossbar.io's Stream Testee: `id`,
//! `endpoint` as a table of `type`, `port`, `interface`, `path` and `backlog`, and `debug`.

use std::path::{Path, PathBuf};

use report::document::CloseHow;
use report::units::{UnitError, parse_duration_ns, parse_size};
use runner::plan::{ListenerRequest, RoleName, ServeRequest, SocketRequest};
use serde::Deserialize;
use sysctl_profiles::given;

use crate::problem::Problem;

/// Reads a configuration file.
///
/// # Errors
/// When it cannot be read or is no such file; the line and what is wrong with it.
pub fn read(path: &Path) -> Result<ServeRequest, Problem> {
    let text = given::read(path, given::TEXT_LIMIT_BYTES).map_err(|error| {
        Problem::usage(format!("cannot read {}: {error}", path.display()))
            .with_cure("`linerate serve --help` shows an example")
    })?;
    parse(&text).map_err(|why| {
        Problem::usage(format!("configuration file {}: {why}", path.display()))
            .with_cure("`linerate serve --help` shows an example")
    })
}

fn parse(text: &str) -> Result<ServeRequest, String> {
    let file: File = toml::from_str(text).map_err(|error| given::toml_error(text, &error))?;
    let listeners = file.listener.into_iter().map(Listener::request);
    Ok(ServeRequest {
        listeners: listeners.collect::<Result<_, _>>()?,
        max_connections: file.max_connections,
        idle_timeout_ns: duration(file.idle_timeout)?,
        one_off: file.one_off,
        drain_ns: duration(file.drain)?,
        processes: file.processes,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    listener: Vec<Listener>,
    max_connections: Option<u32>,
    idle_timeout: Option<String>,
    #[serde(default)]
    one_off: bool,
    drain: Option<String>,
    processes: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Listener {
    id: Option<String>,
    endpoint: Endpoint,
    /// The seed's testee echoes, and so does a listener that says nothing else.
    #[serde(default = "echo")]
    role: RoleName,
    request: Option<Size>,
    response: Option<Size>,
    size: Option<Size>,
    max_message: Option<Size>,
    close_after: Option<u32>,
    close: Option<CloseHow>,
    backlog: Option<u32>,
    #[serde(default)]
    debug: bool,
    engine: Option<String>,
    threads: Option<u32>,
    cpus: Option<Cpus>,
    accept: Option<String>,
    #[serde(default)]
    socket: Socket,
}

fn echo() -> RoleName {
    RoleName::Echo
}

/// `"tcp://127.0.0.1:9000"`, or a table as in the seed.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "an endpoint is \"tcp://HOST:PORT\", \"unix:///PATH\", { type = \"tcp\", port = N } or { type = \"unix\", path = \"...\" }, with interface and backlog if wanted"
)]
enum Endpoint {
    Text(String),
    Table(EndpointTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    r#type: String,
    interface: Option<String>,
    port: Option<u32>,
    path: Option<PathBuf>,
    backlog: Option<u32>,
}

/// `65536` or `"64K"`.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a size is a number of bytes or a text such as \"64K\""
)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// `2` or `"0-3"`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "CPUs are a number or a text such as \"0-3\"")]
enum Cpus {
    One(u32),
    List(String),
}

/// Options of the listener's sockets.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Socket {
    nodelay: Option<bool>,
    sndbuf: Option<Size>,
    rcvbuf: Option<Size>,
    congestion: Option<String>,
    mss: Option<u32>,
    tos: Option<u8>,
    busy_poll: Option<String>,
    fast_open: bool,
    keepalive: Option<String>,
}

impl Listener {
    fn request(self) -> Result<ListenerRequest, String> {
        let mut request = ListenerRequest::new("", self.role);
        match self.endpoint {
            Endpoint::Text(text) => request.endpoint = Some(text),
            Endpoint::Table(table) => table.fill(&mut request)?,
        }
        if request.backlog.is_some() && self.backlog.is_some() {
            return Err(
                "backlog stands both in a listener and in its endpoint; leave one out".to_owned(),
            );
        }
        request.id = self.id;
        request.backlog = self.backlog.or(request.backlog);
        request.request_bytes = size(self.request)?;
        request.response_bytes = size(self.response)?;
        request.message_bytes = size(self.size)?;
        request.max_message_bytes = size(self.max_message)?;
        request.close_after = self.close_after;
        request.close = self.close;
        request.debug = self.debug;
        request.engine = self.engine;
        request.threads = self.threads;
        request.cpus = self.cpus.map(|cpus| match cpus {
            Cpus::One(cpu) => cpu.to_string(),
            Cpus::List(text) => text,
        });
        request.accept = self.accept;
        request.socket = self.socket.request()?;
        Ok(request)
    }
}

impl EndpointTable {
    fn fill(self, request: &mut ListenerRequest) -> Result<(), String> {
        let foreign = match self.r#type.as_str() {
            "tcp" if self.path.is_some() => Some("path belongs to type = \"unix\""),
            "unix" if self.port.is_some() => Some("port belongs to type = \"tcp\""),
            "unix" if self.interface.is_some() => Some("interface belongs to type = \"tcp\""),
            _ => None,
        };
        if let Some(text) = foreign {
            return Err(text.to_owned());
        }
        request.endpoint = None;
        request.kind = Some(self.r#type);
        request.interface = self.interface;
        request.port = self.port;
        request.path = self.path;
        request.backlog = self.backlog;
        Ok(())
    }
}

impl Socket {
    fn request(self) -> Result<SocketRequest, String> {
        let text = |result: Result<u32, String>| result.map(Some);
        Ok(SocketRequest {
            nodelay: self.nodelay,
            send_buffer_bytes: size(self.sndbuf)?,
            receive_buffer_bytes: size(self.rcvbuf)?,
            congestion_control: self.congestion,
            mss_bytes: self.mss,
            tos: self.tos,
            busy_poll_us: self
                .busy_poll
                .map_or(Ok(None), |given| text(crate::args::whole_us(&given)))?,
            fast_open: self.fast_open,
            keepalive_s: self
                .keepalive
                .map_or(Ok(None), |given| text(crate::args::whole_s(&given)))?,
        })
    }
}

fn size(given: Option<Size>) -> Result<Option<u64>, String> {
    match given {
        None => Ok(None),
        Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Size::Text(text)) => quantity(parse_size(&text)),
    }
}

fn duration(given: Option<String>) -> Result<Option<u64>, String> {
    given.map_or(Ok(None), |text| quantity(parse_duration_ns(&text)))
}

fn quantity(parsed: Result<u64, UnitError>) -> Result<Option<u64>, String> {
    parsed.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner::plan::ServePlan;

    fn plan(text: &str) -> Result<ServePlan, String> {
        ServePlan::new(parse(text)?).map_err(|error| error.to_string())
    }

    #[test]
    fn the_seed_s_example_in_toml() {
        let request = parse(
            r#"
            [[listener]]
            id = "transport1"
            endpoint = { type = "tcp", port = 9000, backlog = 1024 }
            debug = true
            "#,
        )
        .unwrap();
        let listener = &request.listeners[0];
        assert_eq!(listener.id.as_deref(), Some("transport1"));
        assert_eq!((listener.port, listener.backlog), (Some(9000), Some(1024)));
        assert!(listener.debug && listener.role == RoleName::Echo);
        let plan = ServePlan::new(request).unwrap();
        assert_eq!(
            plan.listeners()[0].endpoint().to_string(),
            "tcp://127.0.0.1:9000"
        );
    }

    #[test]
    fn everything_at_once() {
        let request = parse(
            r#"
            max-connections = 100
            idle-timeout = "1m"
            one-off = true
            drain = "500ms"

            [[listener]]
            endpoint = "tcp://[::1]:9000"
            role = "rr"
            request = 1
            response = "64K"
            close-after = 1
            close = "rst"
            engine = "epoll"
            threads = 2
            cpus = "0-1"
            accept = "shared"
            socket = { sndbuf = "1M", nodelay = false, keepalive = "30s" }

            [[listener]]
            endpoint = { type = "unix", path = "/run/x.sock" }
            role = "source"
            size = "1M"
            cpus = 3
            "#,
        )
        .unwrap();
        assert_eq!(request.idle_timeout_ns, Some(60_000_000_000));
        assert_eq!(request.drain_ns, Some(500_000_000));
        assert!(request.one_off && request.max_connections == Some(100));
        let [rr, source] = &request.listeners[..] else {
            panic!("two listeners")
        };
        assert_eq!(
            (rr.request_bytes, rr.response_bytes),
            (Some(1), Some(65_536))
        );
        assert_eq!(rr.close, Some(CloseHow::Rst));
        assert_eq!(rr.socket.send_buffer_bytes, Some(1 << 20));
        assert_eq!(rr.socket.keepalive_s, Some(30));
        assert_eq!(source.message_bytes, Some(1 << 20));
        assert_eq!(source.cpus.as_deref(), Some("3"));
        ServePlan::new(request).unwrap();
    }

    #[test]
    fn mistakes_name_their_line_or_their_cure() {
        let cases = [
            (
                "[[listener]]\nendpoint = \"tcp://127.0.0.1:1\"\nrole = \"loop\"",
                "line 3",
            ),
            (
                "[[listener]]\nendpoint = \"tcp://127.0.0.1:1\"\nport = 9",
                "line 3",
            ),
            ("[[listener]]\nrole = \"echo\"", "endpoint"),
            ("[[listener]]\nendpoint = 9000", "tcp://HOST:PORT"),
            (
                "[[listener]]\nendpoint = { type = \"udp\", port = 1 }",
                "tcp or unix",
            ),
            ("[[listener]]\nendpoint = { type = \"tcp\" }", "port = 9000"),
            (
                "[[listener]]\nendpoint = { type = \"unix\", port = 1 }",
                "port belongs",
            ),
            (
                "[[listener]]\nendpoint = { type = \"tcp\", port = 70000 }",
                "not a port",
            ),
            (
                "[[listener]]\nendpoint = \"unix:///x\"\nsize = \"1K\"",
                "source and duplex",
            ),
            (
                "[[listener]]\nendpoint = \"unix:///x\"\nrole = \"source\"\nsize = \"1KB\"",
                "powers of 1000",
            ),
            ("idle-timeout = \"10\"", "the unit is missing"),
            ("not toml", "line 1"),
            ("", "--listen tcp://127.0.0.1:9000 --role echo"),
        ];
        for (text, part) in cases {
            let error = plan(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_one_line() {
        let problem = read(Path::new("/nonexistent/testee.toml")).unwrap_err();
        assert!(
            problem
                .line()
                .starts_with("linerate: cannot read /nonexistent/testee.toml: ")
        );
    }
}
