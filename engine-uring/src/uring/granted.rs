//! What came of what was asked for: features and options, for the result document.

use super::UringProactor;
use super::buffers::Buffers;
use engine::options::{duration_text, size_text};

/// What the ring is and how operations are done.
pub(super) fn features(proactor: &UringProactor) -> Vec<(String, String)> {
    let granted = proactor.ring.granted();
    pairs([
        ("ring_flags_requested", granted.flags_requested.to_owned()),
        ("ring_flags", granted.flags.to_owned()),
        ("sq_entries", granted.sq_entries.to_string()),
        ("cq_entries", granted.cq_entries.to_string()),
        ("ring_fd_registered", yes_or_no(granted.ring_fd_registered)),
        ("no_iowait", yes_or_no(granted.no_iowait)),
        ("buffers", proactor.buffers.count().to_string()),
        ("buffer_bytes", proactor.buffers.buffer_bytes().to_string()),
        (
            "requests",
            if granted.polled {
                "confirmed"
            } else {
                "no completion up to 64K"
            }
            .to_owned(),
        ),
        (
            "replies",
            if granted.polled {
                "confirmed"
            } else {
                "no completion up to 64K, where a turn brought one request"
            }
            .to_owned(),
        ),
        ("accept", "multishot".to_owned()),
        (
            "connect",
            "IORING_OP_CONNECT; connect(2) for Unix sockets".to_owned(),
        ),
    ])
}

/// Every option as it is in force.
pub(super) fn options(proactor: &UringProactor) -> Vec<(String, String)> {
    let (granted, wishes) = (proactor.ring.granted(), &proactor.wishes);
    let micros = |us: u32| duration_text(u64::from(us) * 1_000);
    let polling = wishes.polling;
    pairs([
        ("receive", receive(proactor)),
        ("buffers", buffers(&proactor.buffers)),
        (
            "buffer_size",
            size_text(u64::from(proactor.buffers.buffer_bytes())),
        ),
        ("batch", wishes.batch.to_string()),
        ("min_wait", micros(wishes.min_wait_us)),
        ("spin", duration_text(wishes.spin_ns)),
        ("taskrun", granted.taskrun.to_owned()),
        ("sqpoll", granted.polled.to_string()),
        (
            "sqpoll_idle",
            polling.map_or_else(none, |thread| {
                duration_text(u64::from(thread.idle_ms) * 1_000_000)
            }),
        ),
        (
            "sqpoll_cpu",
            polling.map_or_else(none, |thread| {
                thread.cpu.map_or("any".to_owned(), |cpu| cpu.to_string())
            }),
        ),
        ("direct", proactor.direct.to_string()),
        ("send", send(proactor)),
        (
            "zc_threshold",
            proactor
                .zero_copy_from
                .map_or_else(none, |bytes| size_text(bytes as u64)),
        ),
        ("sq_entries", granted.sq_entries.to_string()),
        ("cq_entries", granted.cq_entries.to_string()),
        ("napi", napi(wishes.napi_us)),
        ("napi_prefer", wishes.napi_prefer.to_string()),
        ("register_ring", granted.ring_fd_registered.to_string()),
    ])
}

fn receive(proactor: &UringProactor) -> String {
    match &proactor.buffers {
        Buffers::Own(_) => "single".to_owned(),
        Buffers::Group(_) if proactor.receives_one_at_a_time() => {
            "one at a time, from the group".to_owned()
        }
        Buffers::Group(_) => "multishot".to_owned(),
    }
}

fn buffers(buffers: &Buffers) -> String {
    match buffers {
        Buffers::Own(_) => "one per connection".to_owned(),
        Buffers::Group(group) => group.count().to_string(),
    }
}

/// Zero-copy was asked for: whether it came to that, and whether the kernel copied all the same.
fn send(proactor: &UringProactor) -> String {
    let counters = &proactor.counters;
    if proactor.zero_copy_from.is_none() {
        return "plain".to_owned();
    }
    if proactor.is_unix == Some(true) {
        return "plain, for Unix sockets have no zero-copy sends".to_owned();
    }
    match (counters.zero_copy_sends, counters.zero_copy_copied) {
        (0, _) => "zc, but no send was large enough".to_owned(),
        (all, copied) if copied == all => "zc, but the kernel copied all".to_owned(),
        (_, 0) => "zc, none copied".to_owned(),
        _ => "zc, but the kernel copied some".to_owned(),
    }
}

/// The kernel takes the registration also where there is nothing to poll, so it proves little.
fn napi(us: u32) -> String {
    let time = duration_text(u64::from(us) * 1_000);
    match us {
        0 => time,
        _ => format!("{time}, where sockets have a device (loopback and Unix sockets have none)"),
    }
}

fn pairs<const N: usize>(list: [(&str, String); N]) -> Vec<(String, String)> {
    list.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn none() -> String {
    "none".to_owned()
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
