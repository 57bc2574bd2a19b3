//! The task of a connection of the load: opened, talking, closed, and again.

use super::super::runtime::{Connect, Runtime};
use super::talker::{Again, Talker};
use super::{Line, Phase, Stage};
use engine::clock::now_ns;
use engine::workload::LoadWorkload;
use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::Poll;

/// Lives from the beginning of the run to its end.
pub async fn live<R: Runtime, W: LoadWorkload>(line: Rc<Line<W>>, stage: Rc<Stage<W>>) {
    while until_wanted(&line).await {
        if let Some(stream) = open::<R, W>(&line, &stage).await {
            line.converse::<R>(stream).await;
            line.with(Talker::closed);
        }
    }
    line.leave();
    stage.tasks.set(stage.tasks.get() - 1);
    stage.bell.ring();
}

/// Waits until the connection is to be opened; false when the run is over.
async fn until_wanted<W: LoadWorkload>(line: &Line<W>) -> bool {
    poll_fn(|context| {
        line.listen(context);
        line.with(Talker::wants_to_open)
    })
    .await
}

/// Connects. `None`: it failed, and that is recorded.
async fn open<R: Runtime, W: LoadWorkload>(line: &Line<W>, stage: &Stage<W>) -> Option<R::Stream> {
    line.clear();
    let index = line.with(|talker| {
        talker.connecting();
        talker.slot.index
    });
    loop {
        let target = &stage.job.target;
        let plan = Connect {
            address: &target.address,
            source: target.source(index, stage.spare_source.get()),
            socket: &stage.job.socket,
        };
        let give_up = poll_fn(|context| {
            line.listen(context);
            match line.with(|talker| talker.given_up) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let again = match R::connect(plan, give_up).await {
            Ok(stream) => {
                let fd = stream.as_raw_fd();
                let wanted = line.prepare(|talker, output| talker.connected(Some(fd), output));
                return wanted.then(|| {
                    line.attach(fd);
                    stream
                });
            }
            Err(error) => line.prepare(|talker, output| talker.connect_failed(&error, output)),
        };
        match again {
            Again::Now => {}
            Again::At(at_ns) => rest(line, stage, at_ns).await,
            Again::No => return None,
        }
    }
}

/// Waits until an instant, or until the run is over.
async fn rest<W: LoadWorkload>(line: &Line<W>, stage: &Stage<W>, at_ns: u64) {
    stage.wake_at(at_ns, line.with(|talker| talker.index()));
    poll_fn(|context| {
        line.listen(context);
        match now_ns() >= at_ns || stage.phase.get() == Phase::Over {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
