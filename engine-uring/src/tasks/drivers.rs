//! The runtimes, as the registry sees them.

use super::load::load;
#[cfg(feature = "monoio")]
use super::monoio::{OnEpoll, OnUring};
use super::runtime::Runtime;
use super::serve::serve;
use super::settings::Settings;
#[cfg(feature = "tokio-uring")]
use super::tokio_uring::TokioUring;
use crate::uring;
use engine::driver::{Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome};
use engine::options::EngineOption;
use std::marker::PhantomData;

/// The engine `tokio-uring`.
#[cfg(feature = "tokio-uring")]
pub static TOKIO_URING: RuntimeDriver<TokioUring> = RuntimeDriver::new(
    "the runtime tokio-uring: a task per connection on tokio, whose epoll also watches a ring",
);

/// The engine `monoio`.
#[cfg(feature = "monoio")]
pub static MONOIO: RuntimeDriver<OnUring> = RuntimeDriver::new(
    "the runtime monoio on its io_uring driver: a task per connection, one wait for everything",
);

/// The engine `monoio-legacy`.
#[cfg(feature = "monoio")]
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
        let built = settings::<R>(&[]).and_then(|settings| R::block_on(&settings, async {}));
        let Err(reason) = built else {
            return Probe::Available(R::features());
        };
        match uring::probe() {
            Probe::Available(_) => Probe::Unavailable {
                reason,
                cure: "use another engine: --engine uring, or epoll".into(),
            },
            // The walls before a ring of our own are before theirs, too, and explained there.
            wall => wall,
        }
    }

    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError> {
        let settings = settings::<R>(&job.engine_options).map_err(EngineError::Machine)?;
        serve::<R>(job, &settings)
    }

    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError> {
        let settings = settings::<R>(&job.engine_options).map_err(EngineError::Machine)?;
        load::<R>(job, &settings)
    }

    fn options(&self) -> &'static [EngineOption] {
        R::OPTIONS
    }

    fn check_options(&self, written: &[(String, String)]) -> Result<(), String> {
        let lacking = written
            .iter()
            .find_map(|(key, value)| R::lacks(key, value).map(|reason| (key, value, reason)));
        match lacking {
            Some((key, value, reason)) => {
                Err(format!("engine {}: {key}={value}: {reason}", R::NAME))
            }
            None => settings::<R>(written).map(drop),
        }
    }
}

fn settings<R: Runtime>(written: &[(String, String)]) -> Result<Settings, String> {
    Settings::parse(R::NAME, R::OPTIONS, written)
}
