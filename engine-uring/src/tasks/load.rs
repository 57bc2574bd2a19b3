//! The load: a task per connection for the whole run, and the calling task, which conducts: it executes
//! what their common [`Life`] wants done.

mod conductor;
mod line;
mod stage;
mod talker;

use super::runtime::Runtime;
use super::settings::Settings;
use conductor::Conductor;
use engine::driver::{EngineError, LoadJob, LoadOutcome};
use engine::load::LoadWorkload;
use engine::workload::LoadVisitor;
use std::marker::PhantomData;

/// Loads `job`.
pub fn load<R: Runtime>(job: LoadJob, settings: &Settings) -> Result<LoadOutcome, EngineError> {
    struct Visit<'a, R>(LoadJob, &'a Settings, PhantomData<R>);
    impl<R: Runtime> LoadVisitor for Visit<'_, R> {
        type Output = Result<LoadOutcome, EngineError>;
        fn visit<W: LoadWorkload>(self, workload: W) -> Self::Output {
            engine::os::use_exact_timers();
            let Self(job, settings, _) = self;
            let granted = settings.clone();
            let conducting = async move {
                let conductor = Conductor::new(job, workload);
                conductor.run::<R>(&granted).await
            };
            R::block_on(settings, conducting).map_err(EngineError::Machine)?
        }
    }
    let spec = job.spec.clone();
    spec.dispatch(Visit::<R>(job, settings, PhantomData))
}
