//! How much memory this process can still get.

use super::files;

/// `MemAvailable` of `/proc/meminfo` (proc_meminfo(5)), bytes: what can be had without swapping.
///
/// # Errors
/// The reason, in one line, when it is not shown here.
pub fn available_bytes() -> Result<u64, String> {
    parse(&files::text("/proc/meminfo")?)
}

fn parse(text: &str) -> Result<u64, String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| {
        rest.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.and_then(|kib| kib.checked_mul(1024))
        .ok_or_else(|| "/proc/meminfo has no MemAvailable in kB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found() {
        let text = "MemTotal:       16 kB\nMemAvailable:    8 kB\n";
        assert_eq!(parse(text), Ok(8192));
        assert!(parse("MemFree: 8 kB\n").is_err());
    }
}
