//! How a network device spreads its work over CPUs: queues, interrupts, RPS and XPS, and what it offloads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::cpu_list::format_cpu_list;
use super::{files, programs};

/// Facts of the device `name`, whose directory in `/sys/class/net` is `directory`.
pub fn facts(name: &str, directory: &Path) -> BTreeMap<String, String> {
    let queues = directory.join("queues");
    let known = [
        ("driver", driver(directory)),
        ("rx_queues", count(&queues, "rx-")),
        ("tx_queues", count(&queues, "tx-")),
        ("rps_cpus", masks(&queues, "rx-", "rps_cpus")),
        ("xps_cpus", masks(&queues, "tx-", "xps_cpus")),
        (
            "irq_cpus",
            interrupts(&directory.join("device/msi_irqs"), Path::new("/proc/irq")),
        ),
        ("offloads", offloads(name)),
    ];
    known
        .into_iter()
        .filter_map(|(fact, value)| Some((format!("interface.{fact}"), value?)))
        .collect()
}

fn driver(directory: &Path) -> Option<String> {
    let link = std::fs::read_link(directory.join("device/driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

fn names(directory: &Path, prefix: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

fn count(queues: &Path, prefix: &str) -> Option<String> {
    let count = names(queues, prefix).len();
    (count > 0).then(|| count.to_string())
}

/// `off`, or the CPUs that any queue's mask names (Documentation/networking/scaling.rst).
fn masks(queues: &Path, prefix: &str, file: &str) -> Option<String> {
    let texts: Vec<String> = names(queues, prefix)
        .iter()
        .filter_map(|queue| files::text(queues.join(queue).join(file)).ok())
        .collect();
    if texts.is_empty() {
        return None;
    }
    let cpus: BTreeSet<u32> = texts.iter().flat_map(|text| parse_mask(text)).collect();
    Some(described(&cpus))
}

fn described(cpus: &BTreeSet<u32>) -> String {
    if cpus.is_empty() {
        return "off".to_owned();
    }
    format_cpu_list(cpus)
}

/// CPUs of a kernel bitmap: hexadecimal words of 32 bits, the highest first, with commas between.
fn parse_mask(text: &str) -> BTreeSet<u32> {
    let words = text.trim().split(',').rev();
    words
        .zip(0u32..)
        .filter_map(|(word, index)| Some((u32::from_str_radix(word, 16).ok()?, index)))
        .flat_map(|(bits, index)| {
            (0..32)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| index * 32 + bit)
        })
        .collect()
}

/// `24: CPU 0, 25: CPU 1`: where the device's interrupts really go.
fn interrupts(msi: &Path, irq: &Path) -> Option<String> {
    let mut numbers: Vec<u32> = names(msi, "")
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    numbers.sort_unstable();
    let places: Vec<String> = numbers
        .iter()
        .filter_map(|number| {
            let directory = irq.join(number.to_string());
            let cpus = files::text(directory.join("effective_affinity_list"))
                .ok()
                .filter(|cpus| !cpus.is_empty())
                .or_else(|| files::text(directory.join("smp_affinity_list")).ok())?;
            Some(format!("{number}: CPU {cpus}"))
        })
        .collect();
    (!places.is_empty()).then(|| places.join(", "))
}

/// The offloads that are on and change what is measured; needs `ethtool`.
fn offloads(name: &str) -> Option<String> {
    let output = programs::ask("ethtool", "ethtool", &["-k", name]).ok()?;
    parse_offloads(&output)
}

fn parse_offloads(output: &str) -> Option<String> {
    let watched = [
        ("tcp-segmentation-offload", "TSO"),
        ("generic-segmentation-offload", "GSO"),
        ("generic-receive-offload", "GRO"),
        ("large-receive-offload", "LRO"),
        ("tx-checksumming", "TX checksum"),
        ("rx-checksumming", "RX checksum"),
    ];
    let states: Vec<String> = watched
        .iter()
        .filter_map(|(field, short)| {
            let line = output
                .lines()
                .find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(':'))?;
            Some(format!("{short} {}", line.split_whitespace().next()?))
        })
        .collect();
    (!states.is_empty()).then(|| states.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_more_than_32_cpus() {
        assert_eq!(parse_mask("00000000"), BTreeSet::new());
        assert_eq!(parse_mask("5"), [0, 2].into());
        assert_eq!(parse_mask("00000001,80000000"), [31, 32].into());
        assert_eq!(described(&BTreeSet::new()), "off");
        assert_eq!(described(&[0, 1, 2, 5].into()), "0-2,5");
    }

    #[test]
    fn offloads_of_ethtool() {
        let output = "Features for eth0:\nrx-checksumming: on [fixed]\ntx-checksumming: off\n\ttx-checksum-ipv4: off\n\
                      tcp-segmentation-offload: on\ngeneric-receive-offload: on\nlarge-receive-offload: off [fixed]\n";
        assert_eq!(
            parse_offloads(output).as_deref(),
            Some("TSO on, GRO on, LRO off, TX checksum off, RX checksum on")
        );
        assert_eq!(parse_offloads("Cannot get device feature names\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn interrupts_go_where_the_kernel_says() {
        let root = std::env::temp_dir().join(format!("linerate-irq-{}", std::process::id()));
        for (number, cpu) in [("9", "1"), ("24", "0-3")] {
            std::fs::create_dir_all(root.join("irq").join(number)).expect("a directory");
            std::fs::create_dir_all(root.join("msi")).expect("a directory");
            std::fs::write(root.join("msi").join(number), "msix").expect("a file");
            std::fs::write(root.join("irq").join(number).join("smp_affinity_list"), cpu)
                .expect("a file");
        }
        let found = interrupts(&root.join("msi"), &root.join("irq"));
        std::fs::remove_dir_all(&root).expect("removed");
        assert_eq!(found.as_deref(), Some("9: CPU 1, 24: CPU 0-3"));
    }
}
