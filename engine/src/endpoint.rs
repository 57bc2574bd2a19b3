//! Where to listen and where to connect: `tcp://HOST:PORT` and `unix:///PATH`. Without a scheme `HOST:PORT` is TCP,
//! and what begins as a path is a Unix socket.

use crate::address::{Address, check_zone};
use crate::meter::ErrorKind;
use socket2::SockAddr;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// An endpoint as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `tcp://host:port`; IPv6 addresses in brackets.
    Tcp {
        /// Name or address, without brackets, and with its zone where it has one (`fe80::1%eth0`).
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
        if let Some(rest) = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("tcp:"))
        {
            return parse_tcp(text, rest);
        }
        if is_path(text) {
            return parse_unix(text, text);
        }
        match text.contains("://") || text.is_empty() {
            true => Err(format!(
                "endpoint '{text}': write tcp://HOST:PORT or unix:///PATH"
            )),
            false => parse_tcp(text, text),
        }
    }
}

fn is_path(text: &str) -> bool {
    ["/", "./", "../"]
        .iter()
        .any(|begin| text.starts_with(begin))
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
    if host.contains(['%', ':']) {
        host.parse::<Address>()
            .map_err(|why| format!("endpoint '{text}': {why}"))?;
    }
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
    /// The addresses to connect to, in the resolver's order, each once.
    ///
    /// # Errors
    /// When a name cannot be resolved, or an address lacks the zone that it needs.
    pub fn resolve(&self) -> io::Result<Vec<SockAddr>> {
        self.addresses(Address::to_connect)
    }

    /// The addresses to listen on.
    ///
    /// # Errors
    /// As [`Endpoint::resolve`]; a zone is found where one interface only has the address.
    pub fn resolve_to_listen(&self) -> io::Result<Vec<SockAddr>> {
        self.addresses(Address::to_bind)
    }

    fn addresses(
        &self,
        scoped: fn(&Address, u16) -> io::Result<SocketAddr>,
    ) -> io::Result<Vec<SockAddr>> {
        let (host, port) = match self {
            Self::Unix(path) => return Ok(vec![SockAddr::unix(path)?]),
            Self::Tcp { host, port } => (host, *port),
        };
        if let Ok(address) = host.parse::<Address>() {
            return Ok(vec![scoped(&address, port)?.into()]);
        }
        let mut found: Vec<SocketAddr> = Vec::new();
        for address in (host.as_str(), port).to_socket_addrs()? {
            let address = check_zone(address)?;
            if !found.contains(&address) {
                found.push(address);
            }
        }
        Ok(found.into_iter().map(SockAddr::from).collect())
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
                host: Address::from(ip).to_string(),
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
    /// Whom to connect to, at least one: connections take them in turn by their number in the whole run.
    pub addresses: Vec<SockAddr>,
    /// Source addresses, used in turn by connection index; empty lets the kernel choose. Their port is 0, and a
    /// link-local one has its zone.
    pub sources: Vec<SocketAddr>,
    /// Source addresses over which connections are spread from the beginning where nobody names any and spare ones are
    /// there ([`Target::source`]); 1 leaves all to the kernel. More where so many connections stand that the ports of
    /// one address would be searched for long.
    pub spread: u32,
}

/// How many loopback source addresses are tried in turn when ports run out.
const SPARE_LOOPBACK_SOURCES: u8 = 200;

impl Target {
    /// Whom connection `index` of the whole run connects to.
    pub fn address(&self, index: u32) -> &SockAddr {
        &self.addresses[index as usize % self.addresses.len()]
    }

    /// Whether all addresses are IPv4 loopback, so that 127.0.0.0/8 offers spare sources.
    pub fn has_spare_sources(&self) -> bool {
        let is_loopback = |address: &SockAddr| matches!(address.as_socket(), Some(SocketAddr::V4(v4)) if v4.ip().is_loopback());
        self.sources.is_empty() && self.addresses.iter().all(is_loopback)
    }

    /// The source for connection `index` after `spare` rotations; `None`: let the kernel choose.
    /// Rotation 0 is the kernel's choice (127.0.0.1), rotation r is 127.0.(r / 250 + 1).(r % 250 + 2).
    pub fn source(&self, index: u32, spare: u32) -> Option<SocketAddr> {
        // In turn among the connections to one address, so that each address is reached from every source.
        let turn = index / self.addresses.len() as u32;
        if !self.sources.is_empty() {
            return Some(self.sources[turn as usize % self.sources.len()]);
        }
        let rotation = spare + turn % self.spread.max(1);
        if rotation == 0 || !self.has_spare_sources() {
            return None;
        }
        let octets = [
            127,
            0,
            (rotation / 250 + 1) as u8,
            (rotation % 250 + 2) as u8,
        ];
        Some((octets, 0).into())
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
            u32::from(SPARE_LOOPBACK_SOURCES).saturating_sub(self.spread.saturating_sub(1))
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
        check("localhost:9000", Ok("tcp://localhost:9000"));
        check("127.0.0.1:9000", Ok("tcp://127.0.0.1:9000"));
        check("[::1]:9000", Ok("tcp://[::1]:9000"));
        check("tcp:localhost:9000", Ok("tcp://localhost:9000"));
        check("/run/x.sock", Ok("unix:///run/x.sock"));
        check("./x.sock", Ok("unix://./x.sock"));
        check("tcp://[fe80::1%eth0]:9", Ok("tcp://[fe80::1%eth0]:9"));
        check("tcp://[fe80::1%]:9", Err("behind % is missing"));
        check("tcp://[fe80::x]:9", Err("not an IP address"));
        check("localhost", Err("port is missing"));
        check("", Err("write tcp://"));
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
    fn an_address_is_resolved_with_its_zone_or_says_that_it_needs_one() {
        let resolve = |text: &str| text.parse::<Endpoint>().unwrap().resolve();
        let error = resolve("tcp://[fe80::1]:9").unwrap_err().to_string();
        assert!(error.contains("fe80::1%INTERFACE"), "{error}");
        let loopback = if cfg!(target_os = "linux") {
            "lo"
        } else {
            "lo0"
        };
        let text = format!("tcp://[fe80::1%{loopback}]:9");
        let address = resolve(&text).unwrap().remove(0);
        let again = Endpoint::of_address(&address).unwrap();
        assert_eq!(again.to_string(), text);
    }

    #[test]
    fn spare_sources_are_distinct_loopback_addresses() {
        let target = Target {
            addresses: vec!["127.0.0.1:9".parse::<SocketAddr>().unwrap().into()],
            sources: vec![],
            spread: 1,
        };
        assert_eq!(target.source(0, 0), None);
        let all: std::collections::HashSet<_> = (1..=target.spare_sources())
            .map(|r| target.source(0, r).unwrap())
            .collect();
        assert_eq!(all.len(), target.spare_sources() as usize);
        assert!(all.iter().all(|source| source.ip().is_loopback()));
    }

    #[test]
    fn connections_take_addresses_in_turn_and_each_address_is_reached_from_every_source() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        let target = Target {
            addresses: ["10.0.0.1:9", "10.0.0.2:9"]
                .map(|text| socket(text).into())
                .into(),
            sources: ["10.0.0.8:0", "10.0.0.9:0"].map(socket).into(),
            spread: 1,
        };
        let pairs: std::collections::HashSet<_> = (0..4)
            .map(|index| (target.address(index).as_socket(), target.source(index, 0)))
            .collect();
        assert_eq!(pairs.len(), 4, "{pairs:?}");
        assert_eq!(target.address(4).as_socket(), Some(socket("10.0.0.1:9")));
    }

    #[test]
    fn only_ports_that_ran_out_lead_to_another_source() {
        let target = |address: &str| Target {
            addresses: vec![address.parse::<SocketAddr>().unwrap().into()],
            sources: Vec::new(),
            spread: 1,
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
