//! The runtimes `tokio-uring` and `monoio` as engines: a task per connection, owned buffers.
//!
//! They own their loop, so they are no [`engine::proactor::Proactor`]. What is common to them is
//! written once, generic over [`runtime::Runtime`]: [`wire`] is one connection, [`serve`] and
//! [`load`] are the two sides. The sessions are the same as everywhere.

mod bell;
mod buffer;
mod drivers;
mod load;
mod monoio;
mod output;
mod runtime;
mod serve;
mod settings;
mod sys;
mod tokio_uring;
mod watch;
mod wire;

pub use drivers::{MONOIO, MONOIO_LEGACY, RuntimeDriver, TOKIO_URING};

use engine::driver::EngineError;
use engine::session::Hints;
use std::io;

/// What io_uring has and neither runtime uses on streams.
const LACKS: &str = "multishot, provided buffers, registered buffers and files, zero-copy send";

/// Connections whose TCP_INFO is read at the end.
const TCP_INFO_SAMPLES: usize = 1_000;

/// Bytes of one receive buffer. Each connection has one in flight all the time, so it is no larger
/// than a message needs.
fn block_bytes(hints: Hints) -> usize {
    let (least, most) = if hints.bulk {
        (64 * 1024, 256 * 1024)
    } else {
        (4 * 1024, 64 * 1024)
    };
    hints.receive_bytes.clamp(least, most).next_power_of_two() as usize
}

/// What this machine could not do.
fn machine(attempt: &str, error: &io::Error) -> EngineError {
    EngineError::Machine(format!("{attempt}: {error}"))
}

/// What is known of a worker beside its runtime's own features.
fn features(pool: &buffer::Pool) -> Vec<(String, String)> {
    let feature = |name: &str, value: String| (name.to_owned(), value);
    vec![
        feature("tasks", "one per connection".into()),
        feature("buffer_bytes", pool.block_bytes().to_string()),
    ]
}
