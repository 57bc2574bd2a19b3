//! The runtimes, as the registry sees them.

use super::load::load;
use super::monoio::{OnEpoll, OnUring};
use super::runtime::{Options, Runtime};
use super::serve::serve;
use super::tokio_uring::TokioUring;
use crate::uring;
use engine::driver::{Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome};
use std::marker::PhantomData;

/// The engine `tokio-uring`.
pub static TOKIO_URING: RuntimeDriver<TokioUring> = RuntimeDriver::new(
    "the runtime tokio-uring: a task per connection on tokio, whose epoll also watches a ring",
);

/// The engine `monoio`.
pub static MONOIO: RuntimeDriver<OnUring> = RuntimeDriver::new(
    "the runtime monoio on its io_uring driver: a task per connection, one wait for everything",
);

/// The engine `monoio-legacy`.
pub static MONOIO_LEGACY: RuntimeDriver<OnEpoll> =
    RuntimeDriver::new("the runtime monoio on its legacy driver: the same tasks on epoll");

/// A runtime as an engine.
#[derive(Debug)]
pub struct RuntimeDriver<R> {
    description: &'static str,
    // A function pointer is `Sync` whatever `R` is; no runtime lives in here.
    runtime: PhantomData<fn() -> R>,
}

impl<R> RuntimeDriver<R> {
    const fn new(description: &'static str) -> Self {
        Self {
            description,
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> Driver for RuntimeDriver<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn describe(&self) -> &'static str {
        self.description
    }

    fn probe(&self) -> Probe {
        let options = Options::default();
        match R::block_on(&options, async {}) {
            Ok(()) => Probe::Available(R::features(&options)),
            Err(reason) => match uring::probe() {
                // The same walls as before a ring of our own.
                Probe::Unavailable { reason, cure } => Probe::Unavailable { reason, cure },
                Probe::Available(_) => Probe::Unavailable {
                    reason,
                    cure: "use engine uring or epoll".into(),
                },
            },
        }
    }

    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError> {
        let options = options::<R>(&job.engine_options).map_err(EngineError::Machine)?;
        serve::<R>(job, &options)
    }

    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError> {
        let options = options::<R>(&job.engine_options).map_err(EngineError::Machine)?;
        load::<R>(job, &options)
    }
}

/// Reads the engine options; an unknown one must not be ignored.
fn options<R: Runtime>(written: &[(String, String)]) -> Result<Options, String> {
    match written.first() {
        None => Ok(Options::default()),
        Some((key, _)) => Err(format!("engine {}: unknown option '{key}'", R::NAME)),
    }
}
