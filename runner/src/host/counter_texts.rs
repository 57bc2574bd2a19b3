//! Parsers of the kernel's counter files. Each accepts columns and lines that it does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// CPU time by kind, as `/proc/stat` tells them apart (proc_stat(5)). Guest time is part of user time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuTimes {
    /// Programs at normal priority.
    pub user_ns: u64,
    /// Programs at lowered priority.
    pub nice_ns: u64,
    /// The kernel on behalf of programs.
    pub system_ns: u64,
    /// Nothing to do.
    pub idle_ns: u64,
    /// Nothing to do while a disk is waited for.
    pub iowait_ns: u64,
    /// Hardware interrupts.
    pub irq_ns: u64,
    /// Soft interrupts, where received packets are worked off.
    pub softirq_ns: u64,
    /// Time that the hypervisor gave to others.
    pub steal_ns: u64,
}

impl CpuTimes {
    /// What was added since `before`; a kind that went backwards (idle and iowait may) counts as zero.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_sub(before.user_ns),
            nice_ns: self.nice_ns.saturating_sub(before.nice_ns),
            system_ns: self.system_ns.saturating_sub(before.system_ns),
            idle_ns: self.idle_ns.saturating_sub(before.idle_ns),
            iowait_ns: self.iowait_ns.saturating_sub(before.iowait_ns),
            irq_ns: self.irq_ns.saturating_sub(before.irq_ns),
            softirq_ns: self.softirq_ns.saturating_sub(before.softirq_ns),
            steal_ns: self.steal_ns.saturating_sub(before.steal_ns),
        }
    }

    /// Everything but idle, iowait and steal.
    #[must_use]
    pub fn busy_ns(&self) -> u64 {
        self.user_ns + self.nice_ns + self.system_ns + self.irq_ns + self.softirq_ns
    }
}

/// The sum over all CPUs, and each CPU by its number.
pub(super) type AllAndEach = (CpuTimes, BTreeMap<u32, CpuTimes>);

/// Parses `/proc/stat`, whose numbers are clock ticks.
pub(super) fn parse_cpu_times(stat: &str, ticks_per_second: u64) -> Result<AllAndEach, String> {
    let mut all = None;
    let mut each = BTreeMap::new();
    // The cpu lines come first; what follows (intr) is long and of no use here.
    for line in stat.lines().take_while(|line| line.starts_with("cpu")) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let times = cpu_times(words, ticks_per_second);
        match name.strip_prefix("cpu") {
            Some("") => all = Some(times),
            Some(number) => {
                if let Ok(cpu) = number.parse() {
                    each.insert(cpu, times);
                }
            }
            None => {}
        }
    }
    all.map(|all| (all, each))
        .ok_or_else(|| "/proc/stat has no cpu line".to_owned())
}

fn cpu_times<'a>(words: impl Iterator<Item = &'a str>, ticks_per_second: u64) -> CpuTimes {
    let ns_per_tick = 1_000_000_000 / ticks_per_second.max(1);
    // Kernels before 2.6.11 have fewer columns; what is not there is zero.
    let mut columns =
        words.map(|word| word.parse::<u64>().unwrap_or(0).saturating_mul(ns_per_tick));
    let mut next = || columns.next().unwrap_or(0);
    CpuTimes {
        user_ns: next(),
        nice_ns: next(),
        system_ns: next(),
        idle_ns: next(),
        iowait_ns: next(),
        irq_ns: next(),
        softirq_ns: next(),
        steal_ns: next(),
    }
}

/// Changes between two texts of `/proc/net/snmp`, `netstat` or `snmp6`, without those that are zero.
///
/// The first two have pairs of lines (`Tcp: names`, `Tcp: values`); snmp6 has a name and a value per line, and
/// `Ip6InReceives` becomes `Ip6.InReceives`. A counter that is in only one of the texts is left out.
pub(super) fn network_changes(before: &str, after: &str) -> BTreeMap<String, i64> {
    let before: BTreeMap<String, i64> = parse_network(before).collect();
    parse_network(after)
        .filter_map(|(name, value)| {
            // Some are unsigned 64-bit in the kernel and may wrap.
            let change = value.wrapping_sub(*before.get(&name)?);
            (change != 0).then_some((name, change))
        })
        .collect()
}

fn parse_network(text: &str) -> impl Iterator<Item = (String, i64)> {
    let pairs = text
        .lines()
        .zip(text.lines().skip(1))
        .flat_map(|(names, values)| parse_pair(names, values));
    let single = text.lines().filter_map(parse_single);
    pairs.chain(single)
}

/// `Tcp: InSegs OutSegs` above `Tcp: 4 5`. The line of values and the names below it are no pair: a value is
/// no name.
fn parse_pair<'a>(names: &'a str, values: &'a str) -> impl Iterator<Item = (String, i64)> + 'a {
    let split = |line: &'a str| line.split_once(": ");
    let lines =
        split(names)
            .zip(split(values))
            .filter(|((name_group, names), (value_group, _))| {
                name_group == value_group && names.starts_with(|c: char| c.is_ascii_alphabetic())
            });
    lines.into_iter().flat_map(|((group, names), (_, values))| {
        names
            .split_whitespace()
            .zip(values.split_whitespace())
            .filter_map(move |(name, value)| Some((format!("{group}.{name}"), number(value)?)))
    })
}

fn parse_single(line: &str) -> Option<(String, i64)> {
    let (name, value) = line.split_once(char::is_whitespace)?;
    let group = ["Ip6", "Icmp6", "UdpLite6", "Udp6"]
        .into_iter()
        .find(|group| name.starts_with(group))?;
    Some((
        format!("{group}.{}", &name[group.len()..]),
        number(value.trim())?,
    ))
}

/// Values are signed (`Tcp: MaxConn` is -1) or unsigned 64-bit; the difference is right either way.
fn number(text: &str) -> Option<i64> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<u64>().ok().map(u64::cast_signed))
}

/// Columns of `/proc/net/softnet_stat` that count something
/// (`softnet_seq_show` in the kernel's net/core/net-procfs.c).
const SOFTNET_COLUMNS: [(usize, &str); 5] = [
    (0, "softnet.processed"),
    (1, "softnet.dropped"),
    (2, "softnet.time_squeeze"),
    (9, "softnet.received_rps"),
    (10, "softnet.flow_limit_count"),
];

/// The column that holds the number of the CPU, since Linux 5.10.
const SOFTNET_CPU_COLUMN: usize = 12;

/// Changes between two texts of `/proc/net/softnet_stat`, summed over the CPUs that are in both.
///
/// The kernel's counters are 32 bits wide and wrap within minutes on a fast network, so each row is
/// subtracted in 32 bits before the sum.
pub(super) fn softnet_changes(before: &str, after: &str) -> BTreeMap<String, i64> {
    let before = parse_softnet(before);
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for (cpu, row) in parse_softnet(after) {
        let Some(before) = before.get(&cpu) else {
            continue;
        };
        for (column, name) in SOFTNET_COLUMNS {
            if let (Some(after), Some(before)) = (row.get(column), before.get(column)) {
                *sums.entry(name.to_owned()).or_default() += i64::from(after.wrapping_sub(*before));
            }
        }
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// Changes of the sockets that are there and of the pages that their buffers hold, from `/proc/net/sockstat`
/// (proc_net(5)): of the network namespace, the pages machine-wide.
pub(super) fn socket_changes(before: &str, after: &str) -> BTreeMap<String, i64> {
    let of = |text: &str, field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let mut words = line.split_whitespace().skip_while(|word| *word != field);
        words.nth(1)?.parse::<i64>().ok()
    };
    let change = |field| Some(of(after, field)? - of(before, field)?);
    named_changes([
        ("sockstat.TCP_inuse", change("inuse")),
        ("sockstat.TCP_mem_pages", change("mem")),
    ])
}

/// Change of what the kernel's objects occupy, from `Slab` of `/proc/meminfo` (proc_meminfo(5)): machine-wide.
pub(super) fn memory_changes(before: &str, after: &str) -> BTreeMap<String, i64> {
    let of = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("Slab:"))?;
        line.split_whitespace().next()?.parse::<i64>().ok()
    };
    let change = || Some((of(after)? - of(before)?) * 1024);
    named_changes([("memory.slab_bytes", change())])
}

fn named_changes<const N: usize>(changes: [(&str, Option<i64>); N]) -> BTreeMap<String, i64> {
    let known = changes
        .into_iter()
        .filter_map(|(name, change)| Some((name.to_owned(), change?)));
    known.filter(|(_, change)| *change != 0).collect()
}

fn parse_softnet(text: &str) -> BTreeMap<u32, Vec<u32>> {
    let rows = text.lines().zip(0u32..).filter_map(|(line, index)| {
        let row: Option<Vec<u32>> = line
            .split_whitespace()
            .map(|word| u32::from_str_radix(word, 16).ok())
            .collect();
        let row = row.filter(|row| !row.is_empty())?;
        Some((row.get(SOFTNET_CPU_COLUMN).copied().unwrap_or(index), row))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lines_of_this_and_of_old_kernels() {
        let stat = "cpu  4194 0 1990 174973 1008 0 97 1543 7 0\ncpu0 1469 0 729 88816 54 0 38 799 7 0\n\
                    cpu3 2724 0 1261 86157 954 0 59 743 0 0\nintr 5 6 7\ncpufoo\nctxt 5\n";
        let (all, each) = parse_cpu_times(stat, 100).expect("a cpu line");
        assert_eq!(all.user_ns, 41_940_000_000);
        assert_eq!(all.steal_ns, 15_430_000_000);
        assert_eq!(each.keys().copied().collect::<Vec<_>>(), [0, 3]);
        assert_eq!(each[&3].softirq_ns, 590_000_000);
        let (all, each) = parse_cpu_times("cpu 1 2 3 4\n", 1000).expect("a cpu line");
        assert_eq!((all.idle_ns, all.steal_ns, each.len()), (4_000_000, 0, 0));
        assert_eq!(all.busy_ns(), 6_000_000);
        assert!(parse_cpu_times("", 100).is_err());
        assert!(parse_cpu_times("intr 1\n", 100).is_err());
    }

    const SNMP: &str = "Ip: Forwarding InReceives\nIp: 2 6364\n\
        Tcp: RtoAlgorithm MaxConn CurrEstab RetransSegs\nTcp: 1 -1 5 7\nUdp: InDatagrams\nUdp: 3\n";

    #[test]
    fn snmp_changes_are_signed_and_without_zeros() {
        let after = SNMP.replace("2 6364", "2 6400").replace("-1 5 7", "-1 3 9");
        let changes = network_changes(SNMP, &after);
        let expected = [
            ("Ip.InReceives", 36),
            ("Tcp.CurrEstab", -2),
            ("Tcp.RetransSegs", 2),
        ];
        assert_eq!(
            changes,
            expected
                .map(|(name, change)| (name.to_owned(), change))
                .into()
        );
    }

    #[test]
    fn columns_that_come_and_go_are_left_out() {
        let before = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InOctets\nIpExt: 18446744073709551615\n";
        let after = "TcpExt: B C\nTcpExt: 5 6\nIpExt: InOctets\nIpExt: 4\nNew: X\nNew: 1\n";
        let changes = network_changes(before, after);
        assert_eq!(
            changes,
            [("TcpExt.B".to_owned(), 3), ("IpExt.InOctets".to_owned(), 5)].into()
        );
    }

    #[test]
    fn odd_texts_are_no_reason_to_fail() {
        for odd in [
            "",
            "\n",
            "Tcp:",
            "Tcp: A\n",
            "Tcp: A\nTcp:\n",
            "Tcp: A B\nTcp: 1\n",
            "Tcp: A\nTcp: x\n",
            "A: B\nC: 1\n",
        ] {
            assert!(
                network_changes(odd, SNMP).is_empty() && network_changes(SNMP, odd).is_empty(),
                "{odd:?}"
            );
        }
    }

    #[test]
    fn snmp6_has_a_line_per_counter() {
        let before = "Ip6InReceives                   \t1\nIp6InHdrErrors   \t0\nUdpLite6InDatagrams\t0\nUdp6InDatagrams\t4\n";
        let after = before
            .replace("Receives                   \t1", "Receives \t21")
            .replace("\t4", "\t5");
        let changes = network_changes(before, &after);
        assert_eq!(
            changes,
            [
                ("Ip6.InReceives".to_owned(), 20),
                ("Udp6.InDatagrams".to_owned(), 1)
            ]
            .into()
        );
    }

    #[test]
    fn softnet_rows_are_matched_by_cpu_and_may_wrap() {
        let row = |processed: u32, dropped: u32, squeezed: u32, cpu: u32| {
            format!(
                "{processed:08x} {dropped:08x} {squeezed:08x} 0 0 0 0 0 0 00000002 0 0 {cpu:08x} 0 0\n"
            )
        };
        let before = row(u32::MAX, 1, 0, 0) + &row(10, 0, 0, 1) + &row(500, 0, 0, 2);
        // CPU 1 went offline, CPU 5 came.
        let after = row(9, 4, 1, 0) + &row(600, 0, 0, 2) + &row(7000, 0, 0, 5);
        let expected = [
            ("softnet.processed", 110),
            ("softnet.dropped", 3),
            ("softnet.time_squeeze", 1),
        ];
        assert_eq!(
            softnet_changes(&before, &after),
            expected.map(|(name, sum)| (name.to_owned(), sum)).into()
        );
    }

    #[test]
    fn sockets_and_their_memory_are_differences() {
        let before =
            "sockets: used 9\nTCP: inuse 1 orphan 0 tw 10 alloc 1 mem 145\nUDP: inuse 0 mem 7\n";
        let after =
            "sockets: used 9\nTCP: inuse 31 orphan 0 tw 2 alloc 1 mem 140\nUDP: inuse 0 mem 0\n";
        let expected = [("sockstat.TCP_inuse", 30), ("sockstat.TCP_mem_pages", -5)];
        assert_eq!(
            socket_changes(before, after),
            expected
                .map(|(name, change)| (name.to_owned(), change))
                .into()
        );
        assert!(socket_changes("", after).is_empty());
        let memory = |kib: u32| format!("MemTotal: 5 kB\nSlab:    {kib} kB\n");
        let expected = [("memory.slab_bytes".to_owned(), 3 * 1024)].into();
        assert_eq!(memory_changes(&memory(4), &memory(7)), expected);
        assert!(memory_changes(&memory(4), &memory(4)).is_empty());
    }

    #[test]
    fn softnet_of_old_kernels_has_no_cpu_column() {
        let before = "0000000a 00000000 00000000\n0000000b 00000000 00000000\n";
        let after = "0000000b 00000001 00000000\n0000000d 00000000 00000000\nnonsense\n";
        let changes = softnet_changes(before, after);
        assert_eq!(
            changes,
            [
                ("softnet.processed".to_owned(), 3),
                ("softnet.dropped".to_owned(), 1)
            ]
            .into()
        );
    }
}
