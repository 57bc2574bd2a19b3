//! Whether io_uring runs here: everything the engine needs is really done once.
//!
//! A container may allow one of the three system calls and not the others, and a kernel may know
//! the buffer ring but not the multishot receive, so the probe goes all the way: ring, opcodes, a
//! NOP through enter, and a byte received by a multishot receive into a buffer ring.

use super::buffers::BufferRing;
use super::diagnose::{Call, Walls, is_resource, ring_bytes};
use super::options::Wishes;
use super::ring::{BUFFER_GROUP, Ring};
use super::{make_ring, queue_entries, receive_buffers, register_buffers};
use engine::driver::Probe;
use engine::needs::Needs;
use engine::proactor::BackendCounters;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

const SECOND_NS: u64 = 1_000_000_000;

/// An end that was there before is seen at once or never.
const END_LIMIT_NS: u64 = 50_000_000;

/// What the engine cannot do without.
const NEEDED: [(u8, &str); 9] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::Timeout::CODE, "TIMEOUT"),
];

enum Failure {
    Refused(Call, i32),
    /// A limit of this process, met by something other than io_uring.
    Limited(String),
    Other(String),
}

/// See [`engine::driver::Driver::probe`].
pub(crate) fn probe() -> Probe {
    match try_all() {
        Ok(features) => Probe::Available(features),
        // A limit that is too low must not look like a missing interface, or `auto` would fall
        // back silently. A worker that starts meets the same limit, as an error with the numbers.
        Err(Failure::Refused(call, errno)) if is_resource(errno) => {
            let (reason, cure) = Walls::read().explain(call, errno);
            Probe::Limited { reason, cure }
        }
        Err(Failure::Limited(reason)) => Probe::Limited {
            reason,
            cure: "raise the limit on open files (`ulimit -n`)".to_owned(),
        },
        Err(Failure::Refused(call, errno)) => {
            let (reason, cure) = Walls::read().explain(call, errno);
            Probe::Unavailable { reason, cure }
        }
        Err(Failure::Other(reason)) => Probe::Unavailable {
            reason,
            cure: "use another engine: --engine epoll".to_owned(),
        },
    }
}

/// See [`engine::driver::Driver::probe_for`]: the rings and buffers that the workers will make are made, all of
/// them, and let go of. Their memory is back a moment later, for which whoever makes a ring waits.
pub(crate) fn probe_for(workers: &[Needs]) -> Probe {
    let found = probe();
    match (&found, try_rings(workers)) {
        (Probe::Available(_), Err(limited)) => limited,
        _ => found,
    }
}

fn try_rings(workers: &[Needs]) -> Result<(), Probe> {
    // In each pair the ring goes before the buffers.
    let mut made = Vec::with_capacity(workers.len());
    let cure = || "use another engine: --engine epoll".to_owned();
    let wishes = Wishes::read(&[]).map_err(|reason| Probe::Unavailable {
        reason,
        cure: cure(),
    })?;
    for needs in workers {
        let settings = needs.settings(-1, &[]);
        let entries = queue_entries(settings.expected, &wishes);
        let buffers = receive_buffers(&settings, &wishes).map_err(|error| Probe::Limited {
            reason: format!("receive buffers: {error}"),
            cure: cure(),
        })?;
        match make_ring(&wishes, entries, &buffers) {
            Ok(ring) => made.push((ring, buffers)),
            Err((call, error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let (reason, cure) = Walls::read().explain(call, errno);
                let (number, of) = (made.len() + 1, workers.len());
                let kib = ring_bytes(entries.0, entries.1, buffers.count()).div_ceil(1024);
                return Err(Probe::Limited {
                    reason: format!(
                        "of {of} workers, number {number} gets no ring (about {kib} KiB of locked memory): {reason}"
                    ),
                    cure,
                });
            }
        }
    }
    Ok(())
}

fn try_all() -> Result<Vec<(String, String)>, Failure> {
    // The buffers outlive the ring: locals are dropped in reverse order.
    let mut buffers = BufferRing::new(2, 64).map_err(refused(Call::Register))?;
    let mut ring = Ring::new(8, 32).map_err(refused(Call::Setup))?;
    let known = known_opcodes(&ring)?;
    try_nop(&mut ring)?;
    register_buffers(&ring, &buffers).map_err(refused(Call::Register))?;
    let received = try_multishot_receive(&mut ring, &mut buffers);
    let _ = ring.submitter().unregister_buf_ring(BUFFER_GROUP);
    received?;
    let granted = ring.granted();
    let yes_or_no = |value| if value { "yes" } else { "no" };
    Ok([
        ("ring_flags", granted.flags),
        ("ring_fd_registered", yes_or_no(granted.ring_fd_registered)),
        ("no_iowait", yes_or_no(granted.no_iowait)),
        (
            "multishot_receive",
            match multishot_misses_ends() {
                false => "yes",
                true => "no: it misses ends (liburing issue 1549), so bytes are received one buffer at a time",
            },
        ),
        ("buffer_ring", "yes"),
        (
            "send_zc",
            yes_or_no(known.is_supported(opcode::SendZc::CODE)),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec())
}

/// Whether this kernel's multishot receive can miss an end that arrives together with bytes: both
/// wake it before it runs, it takes the bytes, is told that none are left, and sleeps for ever
/// (liburing issue 1549; mended during Linux 6.19 and in stable kernels). Tried once per process.
pub(super) fn multishot_misses_ends() -> bool {
    static MISSES: OnceLock<bool> = OnceLock::new();
    // Where even the attempt fails, the ring that is made next reports why.
    *MISSES.get_or_init(|| matches!(sees_end_behind_bytes(), Ok(false)))
}

fn sees_end_behind_bytes() -> Result<bool, Failure> {
    // The buffers outlive the ring: locals are dropped in reverse order.
    let mut buffers = BufferRing::new(2, 64).map_err(refused(Call::Register))?;
    let mut ring = Ring::new(8, 32).map_err(refused(Call::Setup))?;
    register_buffers(&ring, &buffers).map_err(refused(Call::Register))?;
    let (mut writer, reader) =
        UnixStream::pair().map_err(|error| Failure::Limited(error.to_string()))?;
    let mut counters = BackendCounters::default();
    let entry = opcode::RecvMulti::new(Fd(reader.as_raw_fd()), BUFFER_GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT);
    // SAFETY: it receives into the registered buffers, which outlive the ring.
    unsafe { ring.push(&entry.user_data(9), &mut counters) };
    ring.turn(Some(0), &mut counters)
        .map_err(refused(Call::Enter))?;
    // Both wake the receive before the next turn lets it run.
    let written = writer.write_all(b"x");
    drop(writer);
    let mut seen = false;
    while let Some(entry) = next_completion_within(&mut ring, END_LIMIT_NS)? {
        if let Some(buffer) = cqueue::buffer_select(entry.flags()) {
            buffers.recycle(buffer);
        }
        seen = entry.result() == 0;
        if seen || !cqueue::more(entry.flags()) {
            break;
        }
    }
    if !seen {
        // The receive is still in the kernel, with the buffers: it ends with the ring.
        buffers.leak();
    }
    let _ = ring.submitter().unregister_buf_ring(BUFFER_GROUP);
    Ok(seen || written.is_err())
}

/// Whether the kernel has zero-copy sends, for who asked for them by name.
///
/// # Errors
/// That it has not.
pub(super) fn require_zero_copy(ring: &Ring) -> io::Result<()> {
    let mut known = io_uring::Probe::new();
    ring.submitter().register_probe(&mut known)?;
    if known.is_supported(opcode::SendZc::CODE) && known.is_supported(opcode::SendMsgZc::CODE) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "engine uring: send=zc: this kernel has no zero-copy sends (Linux 6.1); leave the option out",
    ))
}

fn known_opcodes(ring: &Ring) -> Result<io_uring::Probe, Failure> {
    let mut known = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(refused(Call::Register))?;
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(code, _)| !known.is_supported(*code))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(known);
    }
    Err(Failure::Other(format!(
        "this kernel's io_uring lacks operations: {}",
        missing.join(", ")
    )))
}

fn try_nop(ring: &mut Ring) -> Result<(), Failure> {
    let mut counters = BackendCounters::default();
    // SAFETY: a NOP points to nothing.
    unsafe { ring.push(&opcode::Nop::new().build().user_data(7), &mut counters) };
    match next_completion(ring)? {
        Some(entry) if entry.user_data() == 7 && entry.result() == 0 => Ok(()),
        other => Err(Failure::Other(format!(
            "a NOP through io_uring_enter came back as {other:?}"
        ))),
    }
}

/// Receives one byte, then the end, so that nothing is left in the kernel afterwards.
fn try_multishot_receive(ring: &mut Ring, buffers: &mut BufferRing) -> Result<(), Failure> {
    let pair = UnixStream::pair()
        .and_then(|(mut writer, reader)| writer.write_all(b"x").map(|()| (writer, reader)));
    let (writer, reader) = pair.map_err(|error| {
        Failure::Limited(format!("cannot make a socket pair to probe with: {error}"))
    })?;
    let mut counters = BackendCounters::default();
    let entry = opcode::RecvMulti::new(Fd(reader.as_raw_fd()), BUFFER_GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT);
    // SAFETY: it receives into the registered buffers, which outlive the ring.
    unsafe { ring.push(&entry.user_data(8), &mut counters) };
    let first = next_completion(ring)?;
    drop(writer);
    let Some(first) = first else {
        return Err(Failure::Other(
            "a multishot receive did not complete within a second".to_owned(),
        ));
    };
    let more = cqueue::more(first.flags());
    if more && next_completion(ring)?.is_none() {
        return Err(Failure::Other(
            "a multishot receive did not see the end of its stream".to_owned(),
        ));
    }
    let Some(buffer) = cqueue::buffer_select(first.flags()).filter(|_| more && first.result() == 1)
    else {
        return Err(Failure::Refused(
            Call::Enter,
            if first.result() < 0 {
                -first.result()
            } else {
                libc::EINVAL
            },
        ));
    };
    let lease = buffers.lease(buffer, 1);
    let byte = buffers.bytes(&lease)[0];
    buffers.give_back(lease);
    if byte == b'x' {
        Ok(())
    } else {
        Err(Failure::Other(
            "a multishot receive brought a wrong byte".to_owned(),
        ))
    }
}

fn next_completion(ring: &mut Ring) -> Result<Option<cqueue::Entry>, Failure> {
    next_completion_within(ring, SECOND_NS)
}

fn next_completion_within(
    ring: &mut Ring,
    limit_ns: u64,
) -> Result<Option<cqueue::Entry>, Failure> {
    if let Some(entry) = ring.pop() {
        return Ok(Some(entry));
    }
    ring.turn(Some(limit_ns), &mut BackendCounters::default())
        .map_err(refused(Call::Enter))?;
    Ok(ring.pop())
}

fn refused(call: Call) -> impl Fn(io::Error) -> Failure {
    move |error| match error.raw_os_error() {
        Some(errno) => Failure::Refused(call, errno),
        None => Failure::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_gives_features_or_a_reason_with_a_cure() {
        match probe() {
            Probe::Available(features) => assert!(!features.is_empty()),
            Probe::Limited { reason, cure } | Probe::Unavailable { reason, cure } => {
                assert!(!reason.is_empty() && !cure.is_empty());
            }
        }
    }
}
