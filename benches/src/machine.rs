//! The line that says where and when a result was measured.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// CPU model and count, kernel, date in UTC. What cannot be read is called unknown.
pub fn line() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = report::rfc3339(since_epoch.map_or(0, |elapsed| elapsed.as_nanos() as u64));
    format!(
        "{model}, {count} CPUs{}, Linux {}, {} UTC",
        if cpuinfo.contains(" hypervisor") {
            " (virtual machine)"
        } else {
            ""
        },
        kernel.trim(),
        &now[.."yyyy-mm-dd".len()],
    )
}

/// The one-minute load average, `None` where it cannot be read. Other work on the machine makes
/// every comparison wrong, so it belongs into the result.
pub fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
