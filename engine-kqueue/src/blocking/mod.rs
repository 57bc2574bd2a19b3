//! `blocking`: a thread per connection, plain send(2) and recv(2). The floor that every other
//! engine is compared with: one system call a send, one a receive, and nothing else.
//!
//! A send is tried without waiting; only when there is no room, poll(2) waits for room *or* bytes,
//! because a peer that must be read before it reads would block both sides for ever. Threads are
//! stopped by shutdown(2) on their sockets.

mod crew;
mod line;
mod load;
mod seats;
mod serve;

use crate::options::{BLOCKING as BLOCKING_OPTIONS, BlockingOptions};
use engine::driver::{
    Capabilities, Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome,
};
use engine::options::EngineOption;
use engine::workload::LoadSpec;

/// Stack of a connection's thread, bytes: its buffers are on the heap.
const STACK_BYTES: usize = 128 * 1024;

/// The row of `blocking` in the registry.
pub static BLOCKING: BlockingDriver = BlockingDriver;

/// `blocking`, everywhere.
#[derive(Debug)]
pub struct BlockingDriver;

impl Driver for BlockingDriver {
    fn name(&self) -> &'static str {
        "blocking"
    }

    fn describe(&self) -> &'static str {
        "a thread per connection with plain send and recv: the floor to compare with"
    }

    fn probe(&self) -> Probe {
        Probe::Available(features())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            thread_per_connection: true,
            ..Capabilities::default()
        }
    }

    fn options(&self) -> &'static [EngineOption] {
        &BLOCKING_OPTIONS
    }

    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError> {
        let options = BlockingOptions::read(&job.engine_options).map_err(EngineError::Machine)?;
        serve::serve(job, options)
    }

    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError> {
        self.check_load(&job.spec).map_err(EngineError::Machine)?;
        let options = BlockingOptions::read(&job.engine_options).map_err(EngineError::Machine)?;
        load::load(job, options)
    }

    fn check_load(&self, spec: &LoadSpec) -> Result<(), String> {
        let depth = spec.depth();
        if depth > 1 && spec.is_open_loop() {
            return Err(format!(
                "engine blocking with --rate needs --depth 1, not {depth}: a thread that waits \
                 for an answer cannot send on schedule; use epoll or uring"
            ));
        }
        Ok(())
    }
}

fn features() -> Vec<(String, String)> {
    vec![("threads".into(), "one per connection".into())]
}
