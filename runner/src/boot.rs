//! Which kernel runs here, and since which start of it.

/// Names the running kernel, on Linux (random(4)).
pub(crate) fn boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .map(|text| text.trim().to_owned())
}
