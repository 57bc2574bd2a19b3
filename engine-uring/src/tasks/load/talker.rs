//! What a connection of the load hears and says: its part of the common life.

use super::super::wire::Party;
use super::stage::Stage;
use engine::clock::now_ns;
use engine::load::{Dial, Life, LoadWorkload};
use engine::session::{How, Out};
use engine::socket;
use engine::speaker::Speaker;
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
    pub fn connected(&mut self, fd: RawFd, out: &mut Speaker<'_>) -> bool {
        if self.given_up {
            return false;
        }
        let mut granted = self.stage.granted.borrow_mut();
        granted.get_or_insert_with(|| socket::granted(fd));
        drop(granted);
        let stands = self.with_life(out, |life, index, out| {
            life.connected(index, out);
            life.stands(index)
        });
        stands || out.outbox.close.is_some()
    }

    /// The connect ended with an error.
    pub fn connect_failed(&mut self, error: &io::Error, out: &mut Speaker<'_>) {
        self.with_life(out, |life, index, out| {
            life.connect_failed(index, error, out)
        });
    }

    // ---- traffic ---------------------------------------------------------------------------

    /// Tells the life something that happens now.
    #[inline]
    fn with_life<T>(
        &mut self,
        out: &mut Speaker<'_>,
        tell: impl FnOnce(&mut Life<W>, u32, &mut Speaker<'_>) -> T,
    ) -> T {
        self.told_ns = out.now_ns();
        self.stage.with_life(|life| tell(life, self.index, out))
    }

    /// Something is due.
    pub fn speak(&mut self, out: &mut Speaker<'_>) {
        self.with_life(out, |life, index, out| life.speak(index, out));
    }
}

impl<W: LoadWorkload> Party for Talker<W> {
    #[inline]
    fn received(&mut self, bytes: &mut [u8], out: &mut Speaker<'_>) {
        self.with_life(out, |life, index, out| life.received(index, bytes, out));
    }

    #[inline]
    fn moved(&mut self, bytes: usize) -> u64 {
        // Only streams want to know when it was sent. To others it belongs to what they were told
        // when they asked for it: one look at the clock per operation, as with our own loops.
        if !W::OWES {
            self.told_ns = now_ns();
        }
        let mut life = self.stage.life.borrow_mut();
        life.moved(bytes as u64, self.told_ns);
        self.told_ns
    }

    #[inline]
    fn sent(&mut self, out: &mut Speaker<'_>) {
        self.with_life(out, |life, index, out| life.sent(index, out));
    }

    fn finished(&mut self, out: &mut Speaker<'_>) -> bool {
        self.with_life(out, |life, index, out| life.peer_finished(index, out));
        true
    }

    fn lost(&mut self, errno: i32, out: &mut Speaker<'_>) -> How {
        self.with_life(out, |life, index, out| life.lost(index, errno, out));
        How::Rst
    }
}
