//! The engine `uring`, as the registry sees it.

use crate::uring::{self, UringProactor};
use engine::driver::{
    Capabilities, Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome,
};
use engine::needs::Needs;
use engine::options::EngineOption;

/// The engine `uring`.
pub static URING: UringDriver = UringDriver;

/// linerate's own worker loop on raw io_uring.
#[derive(Clone, Copy, Debug)]
pub struct UringDriver;

impl Driver for UringDriver {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn describe(&self) -> &'static str {
        "io_uring: multishot accept and receive into a provided-buffer ring, one system call per turn (Linux 6.0 and later)"
    }

    fn probe(&self) -> Probe {
        uring::probe()
    }

    fn probe_for(&self, workers: &[Needs]) -> Probe {
        uring::probe_for(workers)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            is_io_uring: true,
            ..Capabilities::default()
        }
    }

    fn options(&self) -> &'static [EngineOption] {
        &uring::OPTIONS
    }

    fn check_options(&self, written: &[(String, String)]) -> Result<(), String> {
        uring::check_options(written)
    }

    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError> {
        engine::worker::serve::<UringProactor>(job)
    }

    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError> {
        engine::worker::load::<UringProactor>(job)
    }
}
