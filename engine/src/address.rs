//! IP addresses as they are written and used here: a link-local IPv6 address is one only together with its zone, the
//! interface behind the percent sign (RFC 4007): `fe80::1%eth0`.

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// An IP address, with its zone where it has one. The name of a zone means something on its own host only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    ip: IpAddr,
    zone: Option<String>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (text, None),
        };
        let ip: IpAddr = address
            .parse()
            .map_err(|_| format!("'{text}' is not an IP address"))?;
        match zone {
            Some("") => Err(format!("'{text}': the interface behind % is missing")),
            Some(_) if ip.is_ipv4() => {
                Err(format!("'{text}': only IPv6 addresses have an interface"))
            }
            zone => Ok(Self {
                ip,
                zone: zone.map(str::to_owned),
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}%{zone}", self.ip),
            None => write!(f, "{}", self.ip),
        }
    }
}

impl From<SocketAddr> for Address {
    /// The zone by its name, or by its number where the interface is gone.
    fn from(address: SocketAddr) -> Self {
        let zone = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                Some(name_of(v6.scope_id()).unwrap_or_else(|| v6.scope_id().to_string()))
            }
            _ => None,
        };
        Self {
            ip: address.ip(),
            zone,
        }
    }
}

impl Address {
    /// The address without its zone.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Whether it is one only together with a zone.
    pub fn is_link_local(&self) -> bool {
        needs_zone(self.ip)
    }

    /// Whom to connect to.
    ///
    /// # Errors
    /// A zone that is missing, or that this host does not have.
    pub fn to_connect(&self, port: u16) -> io::Result<SocketAddr> {
        match (self.ip, self.scope()?) {
            (IpAddr::V6(ip), 0) if needs_zone(self.ip) => Err(without_zone(ip)),
            (_, scope) => Ok(self.with(port, scope)),
        }
    }

    /// What to bind. A link-local address without its zone is that of the interface of this host that has it.
    ///
    /// # Errors
    /// A zone that this host does not have, or one that is missing where several interfaces have the address.
    pub fn to_bind(&self, port: u16) -> io::Result<SocketAddr> {
        match (self.ip, self.scope()?) {
            (IpAddr::V6(ip), 0) if needs_zone(self.ip) => match interfaces_with(ip)[..] {
                [] => Err(invalid(format!("no interface of this host has {ip}"))),
                [one] => Ok(self.with(port, one)),
                _ => Err(without_zone(ip)),
            },
            (_, scope) => Ok(self.with(port, scope)),
        }
    }

    fn with(&self, port: u16, scope: u32) -> SocketAddr {
        match self.ip {
            IpAddr::V4(_) => SocketAddr::new(self.ip, port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
        }
    }

    /// The index of the zone; 0 without one.
    fn scope(&self) -> io::Result<u32> {
        let Some(zone) = &self.zone else {
            return Ok(0);
        };
        let known = zone.parse().ok().or_else(|| index_of(zone));
        known.filter(|&index| index != 0).ok_or_else(|| {
            invalid(format!(
                "{self}: this host has no interface '{zone}'; `ip -brief address` lists them"
            ))
        })
    }
}

/// Whether an address is one only together with a zone: link-local unicast, fe80::/10 (RFC 4291).
fn needs_zone(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The kernel says EINVAL, which names nothing.
fn without_zone(ip: Ipv6Addr) -> io::Error {
    invalid(format!(
        "{ip} is link-local, and so an address only together with an interface: write {ip}%INTERFACE, for example \
         tcp://[{ip}%eth0]:9000; `ip -brief address` lists them"
    ))
}

/// Refuses what a resolver, or a user, gave without the zone that it needs.
///
/// # Errors
/// That the zone is missing.
pub fn check_zone(address: SocketAddr) -> io::Result<SocketAddr> {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() == 0 && needs_zone(address.ip()) => {
            Err(without_zone(*v6.ip()))
        }
        _ => Ok(address),
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn index_of(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a string that ends in NUL and lives during the call.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) })
}

/// The name of the interface with this index, if there is one.
pub fn name_of(index: u32) -> Option<String> {
    let mut buffer = [0 as libc::c_char; libc::IF_NAMESIZE];
    // SAFETY: `buffer` has the IF_NAMESIZE bytes that if_indextoname(3) asks for.
    let name = unsafe { libc::if_indextoname(index, buffer.as_mut_ptr()) };
    if name.is_null() {
        return None;
    }
    // SAFETY: on success the buffer, to which `name` points, holds a string that ends in NUL.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_string_lossy().into_owned())
}

/// The indices of the interfaces of this host that have an IPv6 address.
fn interfaces_with(ip: Ipv6Addr) -> Vec<u32> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is valid for one pointer; it is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: getifaddrs(3) made the list, every entry of which is valid until freeifaddrs(3).
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if v6_of(entry) == Some(ip) {
            // SAFETY: the name of an entry is a string that ends in NUL, valid as the entry is.
            found.push(unsafe { libc::if_nametoindex(entry.ifa_name) });
        }
    }
    // SAFETY: `list` came from getifaddrs(3), and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    found
}

fn v6_of(entry: &libc::ifaddrs) -> Option<Ipv6Addr> {
    let address = entry.ifa_addr;
    // SAFETY: a non-null address of an entry has at least its family.
    if address.is_null() || i32::from(unsafe { (*address).sa_family }) != libc::AF_INET6 {
        return None;
    }
    // SAFETY: an address of family AF_INET6 is a sockaddr_in6, which may be less aligned than that in the list.
    let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
    Some(Ipv6Addr::from(v6.sin6_addr.s6_addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_parse_and_print_with_their_zone() {
        for text in ["10.0.0.1", "::1", "fe80::1", "fe80::1%eth0", "fe80::1%3"] {
            assert_eq!(address(text).to_string(), text);
        }
        for (text, part) in [
            ("localhost", "not an IP address"),
            ("fe80::1%", "behind % is missing"),
            ("10.0.0.1%eth0", "only IPv6"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_zone_is_the_index_of_an_interface_and_back() {
        let loopback = if cfg!(target_os = "linux") {
            "lo"
        } else {
            "lo0"
        };
        let text = format!("fe80::1%{loopback}");
        let scoped = address(&text).to_connect(9).unwrap();
        let SocketAddr::V6(v6) = scoped else {
            panic!("{scoped}");
        };
        assert_eq!(v6.scope_id(), index_of(loopback).unwrap());
        assert_eq!(Address::from(scoped).to_string(), text);
        assert_eq!(address(&text).to_bind(9).unwrap(), scoped);
        assert_eq!(check_zone(scoped).unwrap(), scoped);
    }

    #[test]
    fn a_zone_that_is_missing_or_unknown_is_named() {
        let missing = address("fe80::1").to_connect(9).unwrap_err().to_string();
        assert!(missing.contains("fe80::1%INTERFACE"), "{missing}");
        let unknown = address("fe80::1%nosuch").to_connect(9).unwrap_err();
        assert!(unknown.to_string().contains("'nosuch'"), "{unknown}");
        let elsewhere = address("fe80::dead:beef").to_bind(9).unwrap_err();
        assert!(
            elsewhere.to_string().contains("no interface"),
            "{elsewhere}"
        );
        assert!(check_zone("[fe80::1]:9".parse().unwrap()).is_err());
        assert!(check_zone("[::1]:9".parse().unwrap()).is_ok());
    }

    #[test]
    fn the_interface_with_an_address_is_found() {
        let on_loopback = interfaces_with(Ipv6Addr::LOCALHOST);
        let named: Vec<_> = on_loopback.into_iter().filter_map(name_of).collect();
        // A host may have IPv6 turned off.
        assert!(named.is_empty() || named[0].starts_with("lo"), "{named:?}");
    }
}
