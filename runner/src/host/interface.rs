//! The network interface that the traffic of a run uses: name, MTU, queueing discipline.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::{Path, PathBuf};

use report::document::NetworkInterface;
use serde_json::Value;

use super::reasons::Reasons;
use super::routes::{interface_of, interface_with_v6};
use super::{files, programs, queues};

/// The loopback interface: Linux has one, and the BSDs number theirs.
const LOOPBACK: &str = if cfg!(target_os = "linux") {
    "lo"
} else {
    "lo0"
};

/// What a host's traffic is, as far as it decides the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// This host sends to the address: the load side.
    To(IpAddr),
    /// This host sends to a link-local address, through the interface that its zone names.
    InZone(SocketAddrV6),
    /// This host listens on the address, which is its own: the testee side.
    At(IpAddr),
    /// Over a Unix socket, so no interface takes part.
    UnixSocket,
}

impl Traffic {
    /// Of a host that connects to this address.
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Self::InZone(v6),
            other => Self::To(other.ip()),
        }
    }
}

/// The interface, with facts that the document has no field for, or why it is not known.
pub fn used_by(traffic: Traffic) -> Result<(NetworkInterface, BTreeMap<String, String>), String> {
    let name = name_for(traffic)?;
    let mut facts = facts_of(&name);
    if let Some(family) = family(traffic) {
        facts.insert("interface.address_family".to_owned(), family.to_owned());
    }
    Ok((describe(name), facts))
}

fn family(traffic: Traffic) -> Option<&'static str> {
    match traffic {
        Traffic::UnixSocket => None,
        Traffic::InZone(_) => Some("IPv6"),
        Traffic::To(address) | Traffic::At(address) => Some(match address.to_canonical() {
            IpAddr::V4(_) => "IPv4",
            IpAddr::V6(_) => "IPv6",
        }),
    }
}

fn name_for(traffic: Traffic) -> Result<String, String> {
    let (address, own) = match traffic {
        Traffic::UnixSocket => {
            return Err("traffic over a Unix socket uses no interface".to_owned());
        }
        Traffic::InZone(address) => return zone_for(address),
        Traffic::To(address) => (address.to_canonical(), false),
        Traffic::At(address) => (address.to_canonical(), true),
    };
    if address.is_unspecified() {
        return Err(
            "the testee listens on all addresses, so the interface depends on the peer".to_owned(),
        );
    }
    if address.is_loopback() {
        return Ok(LOOPBACK.to_owned());
    }
    // Sending to an address of one's own goes through loopback, whatever device has the address.
    if !own && is_own(address) {
        return Ok(LOOPBACK.to_owned());
    }
    let found = match address {
        IpAddr::V4(_) => route_to(address, "/proc/self/net/route")?,
        IpAddr::V6(v6) if own => {
            interface_with_v6(v6, &files::text("/proc/self/net/if_inet6")?).map(str::to_owned)
        }
        IpAddr::V6(_) => route_to(address, "/proc/self/net/ipv6_route")?,
    };
    found.ok_or_else(|| format!("no interface for {address} in the kernel's main routing table"))
}

/// A zone is an interface already, unless the address is one of this host.
fn zone_for(address: SocketAddrV6) -> Result<String, String> {
    if source_for_socket(address.into()).is_ok_and(|source| source == *address.ip()) {
        return Ok(LOOPBACK.to_owned());
    }
    let index = address.scope_id();
    engine::address::name_of(index).ok_or_else(|| format!("no interface has the index {index}"))
}

fn route_to(address: IpAddr, table: &str) -> Result<Option<String>, String> {
    Ok(interface_of(address, &files::text(table)?).map(str::to_owned))
}

/// What the kernel answers if it has no way to where this host sends.
pub fn unreachable(traffic: Traffic) -> Option<String> {
    let error = match traffic {
        Traffic::InZone(address) => source_for_socket(address.into()).err()?,
        Traffic::To(address) => {
            let address = address.to_canonical();
            if address.is_unspecified() || is_link_local(address) {
                return None;
            }
            source_for(address).err()?
        }
        Traffic::At(_) | Traffic::UnixSocket => return None,
    };
    says_no_way(&error).then(|| error.to_string())
}

/// To such an address there is a way only together with its interface, which is not known here.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}

/// Not so what a rule denies: it may be meant for the datagrams by which this is asked.
fn says_no_way(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(
        error.kind(),
        NetworkUnreachable | HostUnreachable | NetworkDown | AddrNotAvailable
    )
}

fn is_own(address: IpAddr) -> bool {
    source_for(address).is_ok_and(|source| source == address)
}

/// A connected UDP socket sends nothing, and has the source address that the kernel would use: for an
/// address of this host, that address itself.
fn source_for(address: IpAddr) -> io::Result<IpAddr> {
    // Port 9 is discard; any would do.
    source_for_socket((address, 9).into())
}

fn source_for_socket(address: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    Ok(socket.local_addr()?.ip())
}

fn describe(name: String) -> NetworkInterface {
    let mut reasons = Reasons::default();
    let mtu_bytes = reasons.known("mtu_bytes", mtu_bytes(&name));
    let qdisc = reasons.known("qdisc", qdisc(&name));
    NetworkInterface {
        name,
        mtu_bytes,
        qdisc,
        unknown: reasons.into_unknown(),
    }
}

fn mtu_bytes(name: &str) -> Result<u32, String> {
    if sys_shows_this_namespace() {
        return files::number(sys_class(name)?.join("mtu"));
    }
    // /proc/sys/net is always that of the reading process.
    sysctl_profiles::read(&format!("net/ipv6/conf/{name}/mtu"))
        .map_err(|error| format!("/sys shows another network namespace, and {error}"))
        .and_then(|text| text.parse().map_err(|_| format!("`{text}` is not an MTU")))
}

/// /sys/class/net is that of the namespace in which /sys was mounted; after a bare unshare(1) or nsenter(1)
/// it is not this one.
fn sys_shows_this_namespace() -> bool {
    let Ok(table) = files::text("/proc/self/net/dev") else {
        return false;
    };
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else {
        return false;
    };
    let shown: BTreeSet<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    shown == device_names(&table)
}

/// Two lines of heading, then `  eth0: counters`.
fn device_names(table: &str) -> BTreeSet<String> {
    let rows = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    rows.map(|(name, _)| name.trim().to_owned()).collect()
}

fn sys_class(name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(format!("`{name}` is not the name of an interface"));
    }
    Ok(Path::new("/sys/class/net").join(name))
}

fn facts_of(name: &str) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    if !sys_shows_this_namespace() {
        return facts;
    }
    let Ok(directory) = sys_class(name) else {
        return facts;
    };
    let files = [
        ("speed", "speed_megabits_per_second"),
        ("tx_queue_len", "tx_queue_packets"),
        ("operstate", "state"),
    ];
    for (file, fact) in files {
        // Devices without a speed answer EINVAL, virtual ones -1.
        if let Ok(value) = files::text(directory.join(file)).map(|text| text.trim().to_owned())
            && value != "-1"
        {
            facts.insert(format!("interface.{fact}"), value);
        }
    }
    facts.extend(queues::facts(name, &directory));
    facts
}

fn qdisc(name: &str) -> Result<String, String> {
    if !cfg!(target_os = "linux") {
        return Err(files::NOT_ON_THIS_SYSTEM.to_owned());
    }
    let output = programs::ask("tc", "iproute2", &["-j", "qdisc", "show", "dev", name])?;
    parse_qdiscs(&output)
        .ok_or_else(|| "tc answered in a form that is not understood (too old?)".to_owned())
}

/// Of `tc -j qdisc show`: the root, and below a root per queue (mq) what the queues have.
fn parse_qdiscs(json: &str) -> Option<String> {
    let list: Vec<Value> = serde_json::from_str(json.trim()).ok()?;
    let kind = |entry: &Value| entry.get("kind").and_then(Value::as_str).map(str::to_owned);
    let is_root = |entry: &&Value| entry.get("root").and_then(Value::as_bool) == Some(true);
    let root = kind(list.iter().find(is_root)?)?;
    let special = ["ingress", "clsact"];
    let children: BTreeSet<String> = list
        .iter()
        .filter(|entry| !is_root(entry))
        .filter_map(kind)
        .filter(|kind| !special.contains(&kind.as_str()))
        .collect();
    if children.is_empty() {
        return Some(root);
    }
    Some(format!(
        "{root} ({})",
        children.into_iter().collect::<Vec<_>>().join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qdiscs_of_lo_of_a_plain_and_of_a_multiqueue_device() {
        let lo =
            r#"[{"kind":"noqueue","handle":"0:","dev":"lo","root":true,"refcnt":2,"options":{}}]"#;
        assert_eq!(parse_qdiscs(lo).as_deref(), Some("noqueue"));
        let mq = r#"[{"kind":"mq","handle":"0:","root":true,"options":{}},
            {"kind":"fq_codel","handle":"0:","parent":":2","options":{}},
            {"kind":"fq_codel","handle":"0:","parent":":1","options":{}},
            {"kind":"clsact","handle":"ffff:","parent":"ffff:fff1","options":{}}]"#;
        assert_eq!(parse_qdiscs(mq).as_deref(), Some("mq (fq_codel)"));
        for odd in [
            "",
            "[]",
            "qdisc noqueue 0: root refcnt 2",
            "{}",
            "[{}]",
            "[1]",
        ] {
            assert_eq!(parse_qdiscs(odd), None, "{odd}");
        }
    }

    #[test]
    fn device_names_are_read_below_the_heading() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
                     face |bytes    packets errs\n    lo: 1 2 3\n  eth0:5 6 7\nveth1.5: 0\n";
        assert_eq!(
            device_names(table),
            ["lo", "eth0", "veth1.5"].map(str::to_owned).into()
        );
    }

    #[test]
    fn some_traffic_has_no_interface() {
        assert!(used_by(Traffic::UnixSocket).is_err());
        let any =
            used_by(Traffic::At(Ipv4Addr::UNSPECIFIED.into())).expect_err("no single interface");
        assert!(any.contains("all addresses"), "{any}");
    }

    #[test]
    fn only_where_there_is_no_way_is_a_target_unreachable() {
        for known_or_not in [
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "::",
            "fe80::1",
            "febf::1",
        ] {
            let address: IpAddr = known_or_not.parse().expect("an address");
            assert_eq!(unreachable(Traffic::To(address)), None, "{known_or_not}");
        }
        assert_eq!(unreachable(Traffic::UnixSocket), None);
        let says = |kind: io::ErrorKind| says_no_way(&kind.into());
        assert!(says(io::ErrorKind::NetworkUnreachable) && says(io::ErrorKind::HostUnreachable));
        assert!(!says(io::ErrorKind::PermissionDenied));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn loopback_is_described() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            let address: IpAddr = address.parse().expect("an address");
            let (interface, facts) = used_by(Traffic::To(address)).expect("loopback");
            assert_eq!(interface.name, "lo");
            let family = if address.to_canonical().is_ipv6() {
                "IPv6"
            } else {
                "IPv4"
            };
            assert_eq!(facts["interface.address_family"], family);
            let nulls =
                usize::from(interface.mtu_bytes.is_none()) + usize::from(interface.qdisc.is_none());
            assert_eq!(interface.unknown.len(), nulls, "{interface:?}");
        }
        let zone: SocketAddr = "[fe80::9%1]:9".parse().expect("an address");
        let (interface, facts) = used_by(Traffic::to(zone)).expect("the zone is an interface");
        // Index 1 is lo in every network namespace.
        assert_eq!(interface.name, "lo");
        assert_eq!(facts["interface.address_family"], "IPv6");
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 213).into()));
    }
}
