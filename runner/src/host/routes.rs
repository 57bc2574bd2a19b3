//! Which interface a packet to an address leaves by: the longest prefix in the kernel's main tables.
//!
//! `/proc/net/route` and `/proc/net/ipv6_route` do not show policy rules (ip-rule(8)); where such are in use
//! the answer can be wrong, which is why the interface is context in a result and never an input.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `RTF_REJECT` (linux/route.h): the route exists to refuse.
const RTF_REJECT: u32 = 0x200;
/// `RTF_UP`.
const RTF_UP: u32 = 1;

/// A route that matches: longer prefixes win, then lower metrics.
struct Match<'a> {
    interface: &'a str,
    prefix_bits: u32,
    metric: u32,
}

/// The interface for `address` in the text of `/proc/net/route` or `/proc/net/ipv6_route`, as the family of
/// the address demands.
pub fn interface_of(address: IpAddr, table: &str) -> Option<&str> {
    let routes: Vec<Match<'_>> = match address {
        IpAddr::V4(address) => table
            .lines()
            .filter_map(|line| match_v4(line, address))
            .collect(),
        IpAddr::V6(address) => table
            .lines()
            .filter_map(|line| match_v6(line, address))
            .collect(),
    };
    let best = routes
        .into_iter()
        .min_by_key(|route| (u32::MAX - route.prefix_bits, route.metric));
    best.map(|route| route.interface)
}

/// Iface Destination Gateway Flags RefCnt Use Metric Mask ...; addresses are network-order words printed as
/// numbers of this machine.
fn match_v4(line: &str, address: Ipv4Addr) -> Option<Match<'_>> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let &[interface, destination, _, flags, _, _, metric, mask, ..] = columns.as_slice() else {
        return None;
    };
    let hex = |text| u32::from_str_radix(text, 16).ok();
    let network_order = |text| hex(text).map(|word| u32::from_be_bytes(word.to_ne_bytes()));
    let (destination, mask, flags) = (
        network_order(destination)?,
        network_order(mask)?,
        hex(flags)?,
    );
    let usable = flags & RTF_UP != 0 && flags & RTF_REJECT == 0;
    let matches = address.to_bits() & mask == destination;
    (usable && matches).then_some(Match {
        interface,
        prefix_bits: mask.count_ones(),
        metric: metric.parse().ok()?,
    })
}

/// destination prefix source prefix next-hop metric references use flags device, all hexadecimal.
fn match_v6(line: &str, address: Ipv6Addr) -> Option<Match<'_>> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let &[destination, prefix, _, _, _, metric, _, _, flags, interface] = columns.as_slice() else {
        return None;
    };
    let hex = |text| u32::from_str_radix(text, 16).ok();
    let destination = u128::from_str_radix(destination, 16).ok()?;
    let prefix_bits = hex(prefix).filter(|&bits| bits <= 128)?;
    let mask = u128::MAX.checked_shl(128 - prefix_bits).unwrap_or(0);
    let flags = hex(flags)?;
    let usable = flags & RTF_UP != 0 && flags & RTF_REJECT == 0;
    let matches = address.to_bits() & mask == destination & mask;
    (usable && matches).then_some(Match {
        interface,
        prefix_bits,
        metric: hex(metric)?,
    })
}

/// The interface that has the IPv6 `address`, from the text of `/proc/net/if_inet6`.
pub fn interface_with_v6(address: Ipv6Addr, table: &str) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        let found = u128::from_str_radix(columns.next()?, 16).ok()?;
        (found == address.to_bits())
            .then(|| columns.last())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row as this machine's byte order prints it.
    fn v4_row(
        interface: &str,
        destination: [u8; 4],
        flags: u32,
        metric: u32,
        mask: [u8; 4],
    ) -> String {
        let word = |bytes| format!("{:08X}", u32::from_ne_bytes(bytes));
        format!(
            "{interface}\t{}\t00000000\t{flags:04X}\t0\t0\t{metric}\t{}\t0\t0\t0   \n",
            word(destination),
            word(mask)
        )
    }

    fn v4(table: &str, address: [u8; 4]) -> Option<&str> {
        interface_of(IpAddr::from(address), table)
    }

    #[test]
    fn the_longest_prefix_then_the_lowest_metric_wins() {
        let table =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                .to_owned()
                + &v4_row("wlan0", [0, 0, 0, 0], 3, 600, [0; 4])
                + &v4_row("eth0", [0, 0, 0, 0], 3, 100, [0; 4])
                + &v4_row("eth1", [10, 0, 0, 0], 1, 0, [255, 0, 0, 0])
                + &v4_row("veth0", [10, 0, 7, 0], 1, 0, [255, 255, 255, 0])
                + &v4_row("*", [10, 9, 0, 0], 0x201, 0, [255, 255, 0, 0])
                + "short line\n";
        assert_eq!(v4(&table, [10, 0, 7, 9]), Some("veth0"));
        assert_eq!(v4(&table, [10, 0, 8, 9]), Some("eth1"));
        assert_eq!(v4(&table, [10, 9, 8, 9]), Some("eth1"));
        assert_eq!(v4(&table, [192, 0, 2, 1]), Some("eth0"));
        assert_eq!(v4("", [192, 0, 2, 1]), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn literal_rows_of_a_little_endian_machine() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(v4(table, [192, 0, 2, 77]), Some("eth1"));
        assert_eq!(v4(table, [192, 0, 3, 77]), Some("eth0"));
    }

    const V6: &str = "\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn ipv6_routes() {
        let find = |text: &str| interface_of(IpAddr::V6(text.parse().expect("an address")), V6);
        assert_eq!(find("::1"), Some("lo"));
        assert_eq!(find("fd00::9"), Some("eth1"));
        assert_eq!(find("2001:db8::1"), Some("eth0"));
        let refusing = V6.lines().last().expect("a line");
        assert_eq!(
            interface_of("2001:db8::1".parse().expect("an address"), refusing),
            None
        );
    }

    #[test]
    fn ipv6_addresses_have_their_interface() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 04 40 00 82     eth0\n";
        let find = |text: &str| interface_with_v6(text.parse().expect("an address"), table);
        assert_eq!(find("::1"), Some("lo"));
        assert_eq!(find("fd00::2"), Some("eth0"));
        assert_eq!(find("fd00::3"), None);
    }
}
