//! Opening the connection of a thread.

use super::Talker;
use crate::sys;
use engine::clock::now_ns;
use engine::loading::{BACKLOG_RETRY_NS, Loss, cannot_begin};
use engine::proactor::How;
use engine::socket;
use engine::workload::LoadWorkload;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl<W: LoadWorkload> Talker<W> {
    pub(super) fn connect(&mut self) -> Result<(), Loss> {
        self.slot.reset_connection();
        self.session = self.workload.session();
        self.slot.connect_started_ns = now_ns();
        loop {
            let spare = self.stage.spare_source.load(Relaxed);
            let errno = match self.try_connect(spare) {
                Ok(()) => return Ok(()),
                Err(error) => socket::errno_of(&error),
            };
            let job = &self.stage.job;
            if let Some(next) = job.target.next_spare(spare, errno) {
                self.stage.spare_source.fetch_max(next, Relaxed);
                continue;
            }
            let age_ns = now_ns().saturating_sub(self.slot.connect_started_ns);
            let young = age_ns < job.connect_timeout_ns;
            if errno == libc::EAGAIN && young && self.stage.sleep_until(now_ns() + BACKLOG_RETRY_NS)
            {
                continue;
            }
            return Err(self.refusal(errno));
        }
    }

    fn try_connect(&mut self, spare: u32) -> std::io::Result<()> {
        let stage = Arc::clone(&self.stage);
        let job = &stage.job;
        let source = job.target.source(self.slot.index, spare);
        let fd = socket::connecting(job.target.domain(), source, false, &job.socket)?;
        self.calls.system_calls += 5 + 2 * u64::from(source.is_some());
        self.calls.system_calls += sys::suppress_sigpipe(fd.as_raw_fd());
        sys::bound_waiting(fd.as_raw_fd(), false, job.connect_timeout_ns);
        sys::bound_waiting(fd.as_raw_fd(), true, job.operation_timeout_ns);
        let fd = stage.seats[self.index as usize].put(fd);
        if let Err(errno) = sys::connect(fd, &job.target.address) {
            self.calls.system_calls += self.seat().close(How::Fin);
            return Err(std::io::Error::from_raw_os_error(errno));
        }
        let now = now_ns();
        self.meter
            .connected(self.slot.connect_started_ns, now, W::RECONNECTS);
        self.connected = true;
        self.failures = 0;
        self.alive_ns = now;
        if stage.opened.fetch_add(1, Relaxed) == 0 {
            stage.progress().granted = Some(socket::granted(fd));
        }
        if let Some(line) = &mut self.line {
            line.attach(fd);
        }
        Ok(())
    }

    fn refusal(&self, errno: i32) -> Loss {
        let job = &self.stage.job;
        // A bounded blocking connect that ran out of time says EINPROGRESS (socket(7)).
        match errno {
            libc::EINPROGRESS | libc::EAGAIN | libc::ETIMEDOUT => Loss::connect_timed_out(job),
            _ => Loss::connect_failed(job, &std::io::Error::from_raw_os_error(errno)),
        }
    }

    /// Ends the whole run before it has begun.
    pub(super) fn fail(&self, refused: Loss) {
        let opened = self.stage.opened.load(Relaxed);
        let error = cannot_begin(refused.kind, &refused.text, opened);
        self.stage.report(|progress| {
            progress.failed.get_or_insert(error);
        });
    }
}
