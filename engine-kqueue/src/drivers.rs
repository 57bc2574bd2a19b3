//! The drivers on the readiness core: the worker loops of `engine` over a selector. Both rows exist
//! on every system, so that users see what there is and why it does not run here.

use crate::options::READINESS;
use engine::driver::{Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome};
use engine::options::EngineOption;

/// The row of `epoll` in the registry.
pub static EPOLL: EpollDriver = EpollDriver;
/// The row of `kqueue` in the registry.
pub static KQUEUE: KqueueDriver = KqueueDriver;

/// `epoll`, on Linux.
#[derive(Debug)]
pub struct EpollDriver;

/// `kqueue`, on the BSDs and macOS.
#[derive(Debug)]
pub struct KqueueDriver;

#[cfg(not(target_os = "linux"))]
use missing as on_linux;
#[cfg(target_os = "linux")]
use missing as on_bsd;
#[cfg(target_os = "linux")]
use over_selector as on_linux;
#[cfg(not(target_os = "linux"))]
use over_selector as on_bsd;

impl Driver for EpollDriver {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn describe(&self) -> &'static str {
        "readiness with Linux epoll: edge-triggered, sends tried at once"
    }

    fn options(&self) -> &'static [EngineOption] {
        &READINESS
    }

    fn probe(&self) -> Probe {
        on_linux::probe("epoll is a Linux interface", "use kqueue")
    }

    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError> {
        on_linux::serve(job)
    }

    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError> {
        on_linux::load(job)
    }
}

impl Driver for KqueueDriver {
    fn name(&self) -> &'static str {
        "kqueue"
    }

    fn describe(&self) -> &'static str {
        "readiness with kqueue of the BSDs and macOS: changes ride in the call that waits"
    }

    fn options(&self) -> &'static [EngineOption] {
        &READINESS
    }

    fn probe(&self) -> Probe {
        on_bsd::probe("kqueue is a BSD and macOS interface", "use epoll")
    }

    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError> {
        on_bsd::serve(job)
    }

    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError> {
        on_bsd::load(job)
    }
}

/// A driver over the selector that this system has.
mod over_selector {
    use super::*;
    use crate::Native;
    use crate::readiness::Readiness;
    use crate::selector::Selector;

    pub fn probe(_: &str, _: &str) -> Probe {
        match Native::new(1, 1) {
            Ok(selector) => Probe::Available(selector.features()),
            Err(error) => Probe::Unavailable {
                reason: error.to_string(),
                cure: "raise the limit of open files (ulimit -n), or use blocking".to_owned(),
            },
        }
    }

    pub fn serve(job: ServeJob) -> Result<ServeOutcome, EngineError> {
        engine::worker::serve::<Readiness<Native>>(job)
    }

    pub fn load(job: LoadJob) -> Result<LoadOutcome, EngineError> {
        engine::worker::load::<Readiness<Native>>(job)
    }
}

/// A driver whose selector this system does not have.
mod missing {
    use super::*;

    const REFUSAL: &str = "this engine does not exist on this system; see `linerate engines`";

    pub fn probe(reason: &str, cure: &str) -> Probe {
        Probe::Unavailable {
            reason: reason.to_owned(),
            cure: cure.to_owned(),
        }
    }

    pub fn serve(_: ServeJob) -> Result<ServeOutcome, EngineError> {
        Err(EngineError::Machine(REFUSAL.to_owned()))
    }

    pub fn load(_: LoadJob) -> Result<LoadOutcome, EngineError> {
        Err(EngineError::Machine(REFUSAL.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_two_runs_here_and_the_other_says_why_not() {
        let (here, other): (&dyn Driver, &dyn Driver) = if cfg!(target_os = "linux") {
            (&EPOLL, &KQUEUE)
        } else {
            (&KQUEUE, &EPOLL)
        };
        assert!(matches!(here.probe(), Probe::Available(features) if !features.is_empty()));
        let Probe::Unavailable { reason, cure } = other.probe() else {
            panic!("{} cannot run here", other.name());
        };
        assert!(
            reason.contains("interface") && cure.contains(here.name()),
            "{reason}: {cure}"
        );
    }
}
