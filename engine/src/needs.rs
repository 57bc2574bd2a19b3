//! What a worker will take, known before there is one: the worker makes its backend of it, and who chooses an
//! engine tries whether there is room for all workers of a run.

use crate::proactor::Settings;
use crate::session::Hints;
use std::os::fd::RawFd;

/// Connections of a testee that are expected where nobody knows how many will come.
const EXPECTED: u32 = 128;

/// Connections whose events a backend's queues hold without ado where nobody knows how many will come.
const QUEUED: u32 = 1024;

/// The sizes of a worker. See the fields of [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    connections: u32,
    expected: u32,
    buffer_bytes: u32,
    buffers: u32,
    brief: bool,
}

impl Needs {
    /// Of a load's worker with so many connections.
    pub(crate) fn of_load(hints: Hints, connections: u32) -> Self {
        let (buffer_bytes, buffers) = buffer_group(hints, connections);
        Self {
            connections,
            expected: connections,
            buffer_bytes,
            buffers,
            brief: hints.brief,
        }
    }

    /// Of a testee's worker that takes `limit` connections at once, of which so many are expected.
    pub(crate) fn of_testee(hints: Hints, limit: u32, expected: Option<u32>) -> Self {
        let at_once = expected.unwrap_or(EXPECTED).min(limit);
        let (buffer_bytes, buffers) = buffer_group(hints, at_once);
        Self {
            connections: limit,
            expected: expected.unwrap_or(QUEUED).min(limit),
            buffer_bytes,
            buffers,
            brief: hints.brief,
        }
    }

    /// The settings of a worker of this size.
    pub fn settings(self, wake_fd: RawFd, options: &[(String, String)]) -> Settings {
        Settings {
            connections: self.connections,
            expected: self.expected,
            buffer_bytes: self.buffer_bytes,
            buffers: self.buffers,
            brief: self.brief,
            wake_fd,
            options: options.to_vec(),
        }
    }
}

/// Receive buffers for a worker: enough that a burst of all connections rarely runs dry, small
/// enough together to stay in a level-2 cache where messages are small, and few and large for bulk.
/// A group is handed out first in, first out by io_uring, so a large one is always cold
/// (c4milo/rotor, bench/alternatives).
fn buffer_group(hints: Hints, connections: u32) -> (u32, u32) {
    if hints.bulk {
        let buffers = (2 * connections).next_power_of_two().clamp(8, 64);
        return (
            hints
                .receive_bytes
                .next_power_of_two()
                .clamp(64 * 1024, 256 * 1024),
            buffers,
        );
    }
    // One byte more than a message: a receive that fills its buffer does not tell that it got all,
    // and costs a readiness backend another call to find out.
    let bytes = (hints.receive_bytes.saturating_add(1).min(64 * 1024))
        .next_power_of_two()
        .clamp(256, 64 * 1024);
    let most = (64 * 1024 * 1024 / bytes).clamp(64, 4096);
    (bytes, (2 * connections).next_power_of_two().clamp(32, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_groups_are_powers_of_two_and_bounded() {
        for connections in [1, 16, 256, 60_000] {
            for receive_bytes in [1, 1_000, 65_536, 1 << 24] {
                for bulk in [false, true] {
                    let (bytes, buffers) = buffer_group(
                        Hints {
                            receive_bytes,
                            bulk,
                            brief: false,
                        },
                        connections,
                    );
                    assert!(bytes.is_power_of_two() && buffers.is_power_of_two());
                    assert!(u64::from(bytes) * u64::from(buffers) <= 256 << 20);
                }
            }
        }
    }

    #[test]
    fn an_unknown_number_of_connections_is_bounded_by_the_limit() {
        let hints = Hints {
            receive_bytes: 1,
            bulk: false,
            brief: false,
        };
        let needs = |limit, expected| Needs::of_testee(hints, limit, expected);
        assert_eq!(needs(16_384, None).expected, QUEUED);
        assert_eq!(needs(10, None).expected, 10);
        assert_eq!(needs(2_000, Some(1_500)).expected, 1_500);
    }
}
