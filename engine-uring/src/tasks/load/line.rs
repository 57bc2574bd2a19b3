//! The task of a connection of the load: connected, talking, closed, and again.

use super::super::runtime::{Connect, Runtime};
use super::super::wire::Wire;
use super::stage::Stage;
use super::talker::Talker;
use engine::load::{Dial, LoadWorkload};
use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::Poll;

/// A connection of the load.
pub type Line<W> = Wire<Talker<W>>;

/// Lives from the beginning of the run to its end.
pub async fn live<R: Runtime, W: LoadWorkload>(line: Rc<Line<W>>, stage: Rc<Stage<W>>) {
    while let Some(dial) = until_called(&line).await {
        if let Some(stream) = connect::<R, W>(&line, &stage, dial).await {
            line.converse::<R>(stream).await;
        }
        stage.closed(dial.index);
    }
    line.leave();
    stage.tasks.set(stage.tasks.get() - 1);
    stage.bell.ring();
}

/// Waits until the connection is to be made; `None` when the run is over.
async fn until_called<W: LoadWorkload>(line: &Line<W>) -> Option<Dial> {
    poll_fn(|context| {
        line.listen(context);
        line.with(Talker::called)
    })
    .await
}

/// Connects. `None`: it failed, and the life knows.
async fn connect<R: Runtime, W: LoadWorkload>(
    line: &Line<W>,
    stage: &Stage<W>,
    dial: Dial,
) -> Option<R::Stream> {
    line.clear();
    let plan = Connect {
        address: stage.job.rules.target.address(dial.number),
        source: dial.source,
        socket: &stage.job.socket,
    };
    let give_up = poll_fn(|context| {
        line.listen(context);
        match line.with(|talker| talker.is_given_up()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    match R::connect(plan, give_up).await {
        Ok(stream) => {
            let fd = stream.as_raw_fd();
            let wanted = line.prepare(|talker, out| talker.connected(fd, out));
            wanted.then(|| {
                line.attach(fd);
                stream
            })
        }
        Err(error) => {
            line.prepare(|talker, out| talker.connect_failed(&error, out));
            None
        }
    }
}
