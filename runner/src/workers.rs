//! Worker threads: pinned, watched, and never lost to a panic.

use crate::error::Failure;
use crate::host::{Topology, allowed_cpus, default_placement, format_cpu_list};
use crate::protocol::CpuWish;
use engine::clock;
use engine::driver::EngineError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

/// Where a worker was asked to run and where it may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub requested: Option<u32>,
    pub granted: Vec<u32>,
}

/// The CPU time of a worker's thread, for whoever samples it meanwhile.
#[derive(Debug, Default)]
pub(crate) struct ThreadClock {
    /// The thread, once it runs.
    thread: OnceLock<i32>,
    /// What it had used when its work was done: its own clock ends with it.
    at_end_ns: OnceLock<u64>,
}

impl ThreadClock {
    fn begin(&self) {
        if let Some(thread) = clock::own_thread() {
            let _ = self.thread.set(thread);
        }
    }

    fn end(&self) {
        let _ = self.at_end_ns.set(clock::own_thread_cpu_ns());
    }

    /// CPU time so far, ns; `None` before it runs, or where threads have no clock.
    pub fn cpu_ns(&self) -> Option<u64> {
        let thread = *self.thread.get()?;
        let at_end_ns = || self.at_end_ns.get().copied();
        at_end_ns().or_else(|| clock::thread_cpu_ns(thread).or_else(at_end_ns))
    }
}

/// A worker that has returned.
#[derive(Debug)]
pub(crate) struct WorkerEnd<T> {
    pub index: usize,
    pub pinned: Pinned,
    pub result: Result<T, Failure>,
}

/// Starts worker `index` on a thread of its own, which `clock` times; `report` is told how it ended,
/// whatever happens.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    index: usize,
    cpu: Option<u32>,
    clock: Arc<ThreadClock>,
    job: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
    report: impl FnOnce(WorkerEnd<T>) + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    // Linux shows 15 bytes of it.
    Builder::new()
        .name(format!("{name}-{index}"))
        .spawn(move || {
            clock.begin();
            let (pinned, result) = match pin(index, cpu) {
                Ok(pinned) => (pinned, guarded(index, job)),
                Err(failure) => (Pinned::default(), Err(failure)),
            };
            clock.end();
            report(WorkerEnd {
                index,
                pinned,
                result,
            });
        })
        .map_err(|error| {
            Failure::machine(format!(
                "start thread {index}: {error}; use fewer --threads or raise the process limit (ulimit -u)"
            ))
        })
}

fn guarded<T>(index: usize, job: impl FnOnce() -> Result<T, EngineError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(job)) {
        Ok(result) => result.map_err(Failure::from),
        Err(panic) => {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Failure::machine(format!(
                "worker {index} panicked, which is a bug in linerate: {said}"
            )))
        }
    }
}

/// Pins the calling thread and reads back what was granted.
fn pin(index: usize, cpu: Option<u32>) -> Result<Pinned, Failure> {
    let Some(cpu) = cpu else {
        return Ok(Pinned {
            requested: None,
            granted: current_cpus(),
        });
    };
    let before = current_cpus();
    let exists = set_cpu(cpu);
    let granted = current_cpus();
    if exists && (granted == [cpu] || !cfg!(target_os = "linux")) {
        return Ok(Pinned {
            requested: Some(cpu),
            granted,
        });
    }
    Err(Failure::machine(format!(
        "pin thread {index} to CPU {cpu}: the system refused; CPUs that this process may use: {}; name some of \
         them, or run unpinned",
        list(&before)
    )))
}

/// Whether the system took it; what it made of it is read back.
#[cfg(target_os = "linux")]
fn set_cpu(cpu: u32) -> bool {
    engine::affinity::pin(cpu).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn set_cpu(cpu: u32) -> bool {
    // core_affinity indexes a fixed bit set with it.
    cpu < 1024 && core_affinity::set_for_current(core_affinity::CoreId { id: cpu as usize })
}

#[cfg(target_os = "linux")]
fn current_cpus() -> Vec<u32> {
    engine::affinity::allowed().unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn current_cpus() -> Vec<u32> {
    core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id as u32)
        .collect()
}

fn list(cpus: &[u32]) -> String {
    format_cpu_list(&cpus.iter().copied().collect())
}

/// The CPU of each of `threads` workers, and what a reader must know of it.
///
/// # Errors
/// When a CPU is named that this process may not use.
pub(crate) fn cpus_for(
    wish: &CpuWish,
    threads: u32,
) -> Result<(Vec<Option<u32>>, Vec<String>), Failure> {
    let around = |cpus: &[u32]| -> Vec<Option<u32>> {
        cpus.iter()
            .copied()
            .map(Some)
            .cycle()
            .take(threads as usize)
            .collect()
    };
    match wish {
        CpuWish::Unpinned => Ok((vec![None; threads as usize], Vec::new())),
        CpuWish::List(cpus) => {
            check_allowed(cpus)?;
            Ok((around(cpus), Vec::new()))
        }
        CpuWish::Choose { first, of } => {
            let allowed = allowed_cpus().unwrap_or_default();
            let placement = default_placement(&Topology::detect(), &allowed, 0, *of as usize);
            let own = placement.load_cpus.get(*first as usize..).unwrap_or(&[]);
            if own.is_empty() {
                return Ok((vec![None; threads as usize], placement.notes));
            }
            Ok((around(own), placement.notes))
        }
    }
}

fn check_allowed(cpus: &[u32]) -> Result<(), Failure> {
    let allowed = current_cpus();
    let foreign = cpus.iter().find(|cpu| !allowed.contains(cpu));
    match foreign {
        Some(cpu) if cfg!(target_os = "linux") => Err(Failure::machine(format!(
            "CPU {cpu} cannot be used: this process may use {}; name some of them",
            list(&allowed)
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn end_of(
        cpu: Option<u32>,
        job: impl FnOnce() -> Result<u32, EngineError> + Send + 'static,
    ) -> WorkerEnd<u32> {
        let (sender, receiver) = channel();
        let clock = Arc::new(ThreadClock::default());
        assert_eq!(clock.cpu_ns(), None, "it has not begun");
        let report = move |end| sender.send(end).unwrap();
        let thread = spawn("test", 3, cpu, Arc::clone(&clock), job, report).unwrap();
        let end = receiver.recv().unwrap();
        thread.join().unwrap();
        assert!(!cfg!(target_os = "linux") || clock.cpu_ns().is_some_and(|ns| ns > 0));
        end
    }

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let end = end_of(None, || panic!("table overflow"));
        let failure = end.result.unwrap_err();
        assert!(failure.text.contains("worker 3") && failure.text.contains("table overflow"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_worker_is_pinned_where_it_was_asked() {
        let cpu = current_cpus()[0];
        let end = end_of(Some(cpu), || Ok(7));
        assert_eq!(end.result.unwrap(), 7);
        assert_eq!(
            (end.pinned.requested, end.pinned.granted),
            (Some(cpu), vec![cpu])
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        for cpu in [1023, 70_000] {
            let failure = end_of(Some(cpu), || Ok(7)).result.unwrap_err();
            assert!(failure.text.contains("may use"), "{failure}");
            assert!(cpus_for(&CpuWish::List(vec![cpu]), 1).is_err());
        }
    }

    #[test]
    fn threads_go_around_the_list() {
        let first = current_cpus()[0];
        let (cpus, _) = cpus_for(&CpuWish::List(vec![first]), 2).unwrap();
        assert_eq!(cpus, [Some(first), Some(first)]);
        assert_eq!(cpus_for(&CpuWish::Unpinned, 2).unwrap().0, [None, None]);
        assert_eq!(
            cpus_for(&CpuWish::Choose { first: 0, of: 2 }, 2)
                .unwrap()
                .0
                .len(),
            2
        );
    }
}
