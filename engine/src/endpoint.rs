//! Where to listen and where to connect: `tcp://HOST:PORT` and `unix:///PATH`.

use crate::meter::ErrorKind;
use socket2::{Domain, SockAddr};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// An endpoint as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `tcp://host:port`; IPv6 addresses in brackets.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port; 0 lets the kernel choose when listening.
        port: u16,
    },
    /// `unix:///absolute/path`.
    Unix(PathBuf),
}

/// Bytes of a Unix socket path, without the final NUL: `sun_path` is 108 on Linux, 104 on BSD and macOS.
pub const UNIX_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text
            .strip_prefix("unix://")
            .or_else(|| text.strip_prefix("unix:"))
        {
            return parse_unix(text, path);
        }
        match text.strip_prefix("tcp://") {
            Some(rest) => parse_tcp(text, rest),
            None => Err(format!(
                "endpoint '{text}': write tcp://HOST:PORT or unix:///PATH"
            )),
        }
    }
}

fn parse_unix(text: &str, path: &str) -> Result<Endpoint, String> {
    if path.is_empty() {
        return Err(format!(
            "endpoint '{text}': the path is missing; write unix:///run/name.sock"
        ));
    }
    if path.len() > UNIX_PATH_MAX {
        return Err(format!(
            "endpoint '{text}': the path has {} bytes, a Unix socket path may have {UNIX_PATH_MAX}; use a shorter directory",
            path.len()
        ));
    }
    Ok(Endpoint::Unix(PathBuf::from(path)))
}

fn parse_tcp(text: &str, rest: &str) -> Result<Endpoint, String> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:").ok_or_else(|| {
            format!("endpoint '{text}': write an IPv6 address as tcp://[ADDRESS]:PORT")
        })?,
        None => rest.rsplit_once(':').ok_or_else(|| {
            format!("endpoint '{text}': the port is missing; write tcp://HOST:PORT")
        })?,
    };
    if host.is_empty() {
        return Err(format!(
            "endpoint '{text}': the host is missing; write tcp://HOST:PORT"
        ));
    }
    if host.contains(':') && !rest.starts_with('[') {
        return Err(format!(
            "endpoint '{text}': write an IPv6 address in brackets, tcp://[{host}]:{port}"
        ));
    }
    let port = port.parse::<u16>().map_err(|_| {
        format!("endpoint '{text}': '{port}' is not a port, which is a number from 0 to 65535")
    })?;
    Ok(Endpoint::Tcp {
        host: host.to_owned(),
        port,
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Endpoint {
    /// The addresses behind it, in the resolver's order.
    ///
    /// # Errors
    /// When a name cannot be resolved.
    pub fn resolve(&self) -> io::Result<Vec<SockAddr>> {
        match self {
            Self::Unix(path) => Ok(vec![SockAddr::unix(path)?]),
            Self::Tcp { host, port } => Ok((host.as_str(), *port)
                .to_socket_addrs()?
                .map(SockAddr::from)
                .collect()),
        }
    }

    /// `tcp` or `unix`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Unix(_) => "unix",
        }
    }

    /// The endpoint of a bound socket.
    pub fn of_address(address: &SockAddr) -> Option<Self> {
        match address.as_socket() {
            Some(ip) => Some(Self::Tcp {
                host: ip.ip().to_string(),
                port: ip.port(),
            }),
            None => address
                .as_pathname()
                .map(|path| Self::Unix(path.to_owned())),
        }
    }
}

/// A resolved target, and the addresses to connect from.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whom to connect to.
    pub address: SockAddr,
    /// Source addresses, used in turn by connection index; empty lets the kernel choose.
    pub sources: Vec<IpAddr>,
}

/// How many loopback source addresses are tried in turn when ports run out.
const SPARE_LOOPBACK_SOURCES: u8 = 200;

impl Target {
    /// The target's address family.
    pub fn domain(&self) -> Domain {
        self.address.domain()
    }

    /// Whether the target is an IPv4 loopback address, so that 127.0.0.0/8 offers spare sources.
    pub fn has_spare_sources(&self) -> bool {
        self.sources.is_empty()
            && matches!(self.address.as_socket(), Some(SocketAddr::V4(v4)) if v4.ip().is_loopback())
    }

    /// The source for connection `index` after `spare` rotations; `None`: let the kernel choose.
    /// Rotation 0 is the kernel's choice (127.0.0.1), rotation r is 127.0.(r / 250 + 1).(r % 250 + 2).
    pub fn source(&self, index: u32, spare: u32) -> Option<IpAddr> {
        if !self.sources.is_empty() {
            return Some(self.sources[index as usize % self.sources.len()]);
        }
        if spare == 0 || !self.has_spare_sources() {
            return None;
        }
        Some(IpAddr::from([
            127,
            0,
            (spare / 250 + 1) as u8,
            (spare % 250 + 2) as u8,
        ]))
    }

    /// Where to go on after a connect that failed with `errno`, if ports have run out: the next spare rotation
    /// of [`Target::source`].
    pub fn next_spare(&self, spare: u32, errno: i32) -> Option<u32> {
        let exhausted = ErrorKind::of_errno(errno) == ErrorKind::NoPorts;
        (exhausted && spare < self.spare_sources()).then_some(spare + 1)
    }

    /// How many rotations [`Target::source`] offers.
    pub fn spare_sources(&self) -> u32 {
        if self.has_spare_sources() {
            u32::from(SPARE_LOOPBACK_SOURCES)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<Endpoint>(), expected) {
            (Ok(endpoint), Ok(shown)) => assert_eq!(endpoint.to_string(), shown),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn endpoints_parse_or_teach() {
        check("tcp://127.0.0.1:9000", Ok("tcp://127.0.0.1:9000"));
        check("tcp://[::1]:9000", Ok("tcp://[::1]:9000"));
        check("tcp://localhost:0", Ok("tcp://localhost:0"));
        check("unix:///run/x.sock", Ok("unix:///run/x.sock"));
        check("unix:/run/x.sock", Ok("unix:///run/x.sock"));
        check("tcp://127.0.0.1:70000", Err("not a port"));
        check("tcp://127.0.0.1", Err("port is missing"));
        check("tcp://::1:9", Err("in brackets"));
        check("tcp://[::1]", Err("tcp://[ADDRESS]:PORT"));
        check("tcp://:9", Err("host is missing"));
        check("udp://x:1", Err("write tcp://"));
        check("unix://", Err("path is missing"));
        check(&format!("unix:///{}", "x".repeat(200)), Err("may have"));
    }

    #[test]
    fn spare_sources_are_distinct_loopback_addresses() {
        let target = Target {
            address: "127.0.0.1:9".parse::<SocketAddr>().unwrap().into(),
            sources: vec![],
        };
        assert_eq!(target.source(0, 0), None);
        let all: std::collections::HashSet<_> = (1..=target.spare_sources())
            .map(|r| target.source(0, r).unwrap())
            .collect();
        assert_eq!(all.len(), target.spare_sources() as usize);
        assert!(all.iter().all(|ip| ip.is_loopback()));
    }

    #[test]
    fn only_ports_that_ran_out_lead_to_another_source() {
        let target = |address: &str| Target {
            address: address.parse::<SocketAddr>().unwrap().into(),
            sources: Vec::new(),
        };
        let local = target("127.0.0.1:9");
        assert_eq!(local.next_spare(0, libc::EADDRNOTAVAIL), Some(1));
        assert_eq!(local.next_spare(7, libc::EADDRINUSE), Some(8));
        assert_eq!(local.next_spare(0, libc::ECONNREFUSED), None);
        let last = local.spare_sources();
        assert_eq!(local.next_spare(last, libc::EADDRNOTAVAIL), None);
        let far = target("192.0.2.1:9");
        assert_eq!(far.next_spare(0, libc::EADDRNOTAVAIL), None);
    }
}
