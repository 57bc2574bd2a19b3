//! What wakes a worker's main task besides its other tasks: the waker of its agent, and its timer.

use super::runtime::Runtime;
use super::sys::{Alarm, borrowed};
use engine::control::WakeEnd;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::task::Poll;

/// Watches both. Each is read empty as soon as it is readable; what that means is found out by
/// looking at orders and clocks.
pub struct Watch<'a, R: Runtime> {
    wake: &'a WakeEnd,
    alarm: &'a Alarm,
    woken: R::Signal,
    rung: R::Signal,
}

impl<'a, R: Runtime> Watch<'a, R> {
    /// Takes duplicates of both descriptors.
    ///
    /// # Errors
    /// When no descriptors are left, or the runtime cannot register one.
    pub fn new(wake: &'a WakeEnd, alarm: &'a Alarm) -> io::Result<Self> {
        let woken = borrowed(&wake.descriptor()).try_clone_to_owned()?;
        let rung = alarm.as_fd().try_clone_to_owned()?;
        Ok(Self {
            wake,
            alarm,
            woken: R::signal(woken)?,
            rung: R::signal(rung)?,
        })
    }

    /// Never ready: the task that polls it is woken, that is all.
    pub async fn watch(&self) {
        let woken = async {
            loop {
                R::readable(&self.woken).await;
                self.wake.clear();
            }
        };
        let rung = async {
            loop {
                R::readable(&self.rung).await;
                self.alarm.clear();
            }
        };
        let (mut woken, mut rung) = (pin!(woken), pin!(rung));
        poll_fn(|context| {
            let _: Poll<()> = woken.as_mut().poll(context);
            let _: Poll<()> = rung.as_mut().poll(context);
            Poll::Pending
        })
        .await
    }
}
