//! How a ring comes to be: sets of flags, the best first, until the kernel knows all of one.

use super::options::{SubmissionPolling, Taskrun};
use io_uring::{Builder, IoUring};
use std::io;
use std::time::Duration;

/// Locked memory of a ring that was just closed is given back a moment later (the kernel tears
/// rings down in a work queue), so ENOMEM deserves another try: five, about 300 ms in all.
const MEMORY_RETRIES: u32 = 5;

/// One set of flags to try.
pub(super) struct Rung {
    /// As the result document shows it.
    pub(super) flags: &'static str,
    /// How completions are worked off, as the option `taskrun` names it.
    pub(super) taskrun: &'static str,
    /// The kernel keeps IORING_SQ_TASKRUN up to date, so that a look at it replaces a system call.
    pub(super) taskrun_flag: bool,
    apply: fn(&mut Builder),
}

/// Best first; the next one is tried only after EINVAL, "this kernel does not know such a flag".
static LADDER: [Rung; 4] = [
    Rung {
        flags: "SINGLE_ISSUER|DEFER_TASKRUN|SUBMIT_ALL|CQSIZE|CLAMP|TASKRUN_FLAG|NO_SQARRAY",
        taskrun: "defer",
        taskrun_flag: true,
        apply: |builder| {
            deferred(builder);
            builder.setup_no_sqarray(); // no indirection per submission; Linux 6.6
        },
    },
    Rung {
        flags: "SINGLE_ISSUER|DEFER_TASKRUN|SUBMIT_ALL|CQSIZE|CLAMP|TASKRUN_FLAG",
        taskrun: "defer",
        taskrun_flag: true,
        apply: deferred,
    },
    Rung {
        flags: "COOP_TASKRUN|SUBMIT_ALL|CQSIZE|CLAMP|TASKRUN_FLAG",
        taskrun: "coop",
        taskrun_flag: true,
        apply: |builder| {
            builder
                .setup_coop_taskrun()
                .setup_taskrun_flag()
                .setup_submit_all();
        },
    },
    Rung {
        flags: "CQSIZE|CLAMP",
        taskrun: "by interrupt",
        taskrun_flag: false,
        apply: |_| {},
    },
];

/// With a polling thread, which excludes all TASKRUN flags: that thread works completions off.
static POLLED: [Rung; 2] = [
    Rung {
        flags: "SQPOLL|SINGLE_ISSUER|SUBMIT_ALL|CQSIZE|CLAMP|NO_SQARRAY",
        taskrun: "by the polling thread",
        taskrun_flag: false,
        apply: |builder| {
            builder
                .setup_single_issuer()
                .setup_submit_all()
                .setup_no_sqarray();
        },
    },
    Rung {
        flags: "SQPOLL|SUBMIT_ALL|CQSIZE|CLAMP",
        taskrun: "by the polling thread",
        taskrun_flag: false,
        apply: |builder| {
            builder.setup_submit_all();
        },
    },
];

fn deferred(builder: &mut Builder) {
    builder
        .setup_single_issuer() // one thread submits: fewer locks; what DEFER_TASKRUN asks for
        .setup_defer_taskrun() // completions are worked off in our own enter, in batches; Linux 6.1
        .setup_taskrun_flag() // tells without a system call whether there is such work
        .setup_submit_all(); // one bad entry does not hold up those behind it
}

/// What a ring is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) sq_entries: u32,
    pub(super) cq_entries: u32,
    pub(super) taskrun: Taskrun,
    pub(super) polling: Option<SubmissionPolling>,
}

impl Shape {
    /// The rungs that give what was asked for; what was asked for by name never becomes another.
    fn rungs(&self) -> &'static [Rung] {
        match (self.polling, self.taskrun) {
            (Some(_), _) => &POLLED,
            (None, Taskrun::Auto) => &LADDER,
            (None, Taskrun::Defer) => &LADDER[..2],
            (None, Taskrun::Coop) => &LADDER[2..3],
        }
    }

    /// The flags of the first rung: what is asked of the kernel.
    pub(super) fn flags_requested(&self) -> &'static str {
        self.rungs()[0].flags
    }

    /// Tries the rungs, and each again while memory of older rings is still coming back.
    pub(super) fn climb(&self) -> io::Result<(&'static Rung, IoUring)> {
        let rungs = self.rungs();
        for rung in &rungs[..rungs.len() - 1] {
            match self.build_patiently(rung) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                answer => return answer.map(|ring| (rung, ring)),
            }
        }
        let last = &rungs[rungs.len() - 1];
        self.build_patiently(last).map(|ring| (last, ring))
    }

    fn build_patiently(&self, rung: &Rung) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(self.cq_entries).setup_clamp();
        (rung.apply)(&mut builder);
        if let Some(polling) = self.polling {
            builder.setup_sqpoll(polling.idle_ms);
            if let Some(cpu) = polling.cpu {
                builder.setup_sqpoll_cpu(cpu);
            }
        }
        patiently(|| builder.build(self.sq_entries))
    }
}

/// Asks again while memory of older rings may still be coming back.
pub(super) fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut answer = attempt();
    for retry in 0..MEMORY_RETRIES {
        match &answer {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(10 << retry));
        answer = attempt();
    }
    answer
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every rung of every ladder, built, as far as the kernel knows its flags.
    pub(in super::super) fn every_rung() -> Vec<(&'static Rung, IoUring)> {
        let shape = |polling| Shape {
            sq_entries: 8,
            cq_entries: 64,
            taskrun: Taskrun::Auto,
            polling,
        };
        let polling = SubmissionPolling {
            idle_ms: 10,
            cpu: None,
        };
        let plain = LADDER.iter().map(|rung| (rung, shape(None)));
        let polled = POLLED.iter().map(|rung| (rung, shape(Some(polling))));
        plain
            .chain(polled)
            .filter_map(|(rung, shape)| Some((rung, shape.build_patiently(rung).ok()?)))
            .collect()
    }

    #[test]
    fn what_was_asked_for_by_name_never_becomes_another() {
        for (taskrun, word) in [(Taskrun::Defer, "defer"), (Taskrun::Coop, "coop")] {
            let shape = Shape {
                sq_entries: 8,
                cq_entries: 64,
                taskrun,
                polling: None,
            };
            assert!(shape.rungs().iter().all(|rung| rung.taskrun == word));
        }
    }
}
