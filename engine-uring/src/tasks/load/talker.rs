//! What a connection of the load hears and says: its part of the common life.

use super::super::output::{Output, Speaker};
use super::super::wire::Party;
use super::stage::Stage;
use engine::clock::now_ns;
use engine::load::{Dial, LoadWorkload};
use engine::session::How;
use engine::socket;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Poll;

/// See the module's text.
pub struct Talker<W: LoadWorkload> {
    stage: Rc<Stage<W>>,
    /// In the worker.
    index: u32,
    /// It is to connect.
    dial: Option<Dial>,
    /// The connect takes too long, or the run is over.
    given_up: bool,
    /// When its session was told something last.
    told_ns: u64,
}

impl<W: LoadWorkload> Talker<W> {
    /// A connection that is not open yet.
    pub fn new(stage: Rc<Stage<W>>, index: u32) -> Self {
        Self {
            stage,
            index,
            dial: None,
            given_up: false,
            told_ns: 0,
        }
    }

    // ---- opening ---------------------------------------------------------------------------

    /// Has it connect.
    pub fn call(&mut self, dial: Dial) {
        self.dial = Some(dial);
    }

    /// Whether it is to connect now; pending while it is not, `None` when the run is over.
    pub fn called(&mut self) -> Poll<Option<Dial>> {
        if self.stage.is_over() {
            return Poll::Ready(None);
        }
        // Its own turn may have come without the conductor: the next transaction follows at once.
        let own_dial = || {
            let mut life = self.stage.life.borrow_mut();
            life.next_dial_of(self.index, now_ns())
        };
        match self.dial.take().or_else(own_dial) {
            Some(dial) => {
                self.given_up = false;
                Poll::Ready(Some(dial))
            }
            None => Poll::Pending,
        }
    }

    /// The connect is not waited for any longer.
    pub fn give_up(&mut self) {
        self.given_up = true;
    }

    /// See [`Talker::give_up`].
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// The connection is established. False: too late, it is not wanted any more.
    pub fn connected(&mut self, fd: RawFd, output: &mut Output) -> bool {
        if self.given_up {
            return false;
        }
        let mut granted = self.stage.granted.borrow_mut();
        granted.get_or_insert_with(|| socket::granted(fd));
        drop(granted);
        let (stage, index) = (Rc::clone(&self.stage), self.index);
        let stands = stage.with_life(|life| {
            life.connected(index, &mut self.speaker(now_ns(), output));
            life.stands(index)
        });
        stands || output.close.is_some()
    }

    /// The connect ended with an error.
    pub fn connect_failed(&mut self, error: &io::Error, output: &mut Output) {
        let (stage, index) = (Rc::clone(&self.stage), self.index);
        stage.with_life(|life| {
            life.connect_failed(index, error, &mut self.speaker(now_ns(), output));
        });
    }

    // ---- traffic ---------------------------------------------------------------------------

    #[inline]
    fn speaker<'a>(&mut self, now_ns: u64, output: &'a mut Output) -> Speaker<'a> {
        self.told_ns = now_ns;
        Speaker { output, now_ns }
    }

    /// Something is due.
    pub fn speak(&mut self, output: &mut Output) {
        let stage = Rc::clone(&self.stage);
        let mut speaker = self.speaker(now_ns(), output);
        stage.with_life(|life| life.speak(self.index, &mut speaker));
    }
}

impl<W: LoadWorkload> Party for Talker<W> {
    #[inline]
    fn received(&mut self, bytes: &mut [u8], output: &mut Output) {
        let mut speaker = self.speaker(now_ns(), output);
        self.stage
            .with_life(|life| life.received(self.index, bytes, &mut speaker));
    }

    #[inline]
    fn moved(&mut self, bytes: usize) {
        // Only streams want to know when it was sent. To others it belongs to what they were told
        // when they asked for it: one look at the clock per operation, as with our own loops.
        if !W::OWES {
            self.told_ns = now_ns();
        }
        let mut life = self.stage.life.borrow_mut();
        life.moved(bytes as u64, self.told_ns);
    }

    #[inline]
    fn sent(&mut self, output: &mut Output) {
        // It has just moved.
        let mut speaker = self.speaker(self.told_ns, output);
        self.stage
            .with_life(|life| life.sent(self.index, &mut speaker));
    }

    fn finished(&mut self, output: &mut Output) -> bool {
        let mut speaker = self.speaker(now_ns(), output);
        self.stage
            .with_life(|life| life.peer_finished(self.index, &mut speaker));
        true
    }

    fn lost(&mut self, errno: i32, output: &mut Output) -> How {
        let mut speaker = self.speaker(now_ns(), output);
        self.stage
            .with_life(|life| life.lost(self.index, errno, &mut speaker));
        How::Rst
    }
}
