//! The runtimes `tokio-uring` and `monoio` as engines: a task per connection, owned buffers.
//!
//! They own their loop, so they are no [`engine::proactor::Proactor`]. What is common to them is
//! written once, generic over [`runtime::Runtime`]: [`wire`] is one connection, [`serve`] and
//! [`load`] are the two sides. The sessions are the same as everywhere.

mod bell;
mod bench;
mod buffer;
mod drivers;
mod load;
#[cfg(feature = "monoio")]
mod monoio;
mod runtime;
mod serve;
mod settings;
mod sys;
#[cfg(feature = "tokio-uring")]
mod tokio_uring;
mod turns;
mod watch;
mod wire;

pub use drivers::RuntimeDriver;
#[cfg(feature = "tokio-uring")]
pub use drivers::TOKIO_URING;
#[cfg(feature = "monoio")]
pub use drivers::{MONOIO, MONOIO_LEGACY};

use engine::driver::EngineError;
use std::io;

/// What io_uring has and neither runtime uses on streams.
const LACKS: &str = "multishot, provided buffers, registered buffers and files, zero-copy send";

/// How long the tasks of a worker may take to end after their connections were ended, ns.
const END_PATIENCE_NS: u64 = 2_000_000_000;

/// What this machine could not do.
fn machine(attempt: &str, error: &io::Error) -> EngineError {
    EngineError::Machine(format!("{attempt}: {error}"))
}

/// What is known of a worker beside its runtime's own features.
fn features(bench: &bench::Bench) -> Vec<(String, String)> {
    let feature = |name: &str, value: String| (name.to_owned(), value);
    vec![
        feature("tasks", "one per connection".into()),
        feature("buffer_bytes", bench.buffer_bytes().to_string()),
    ]
}
