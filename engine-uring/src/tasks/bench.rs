//! What the connections of a worker share: the memory that they receive into and send from, and turns.

use super::buffer::{Block, Lent, Parcel, Pool};
use super::turns::Turns;
use engine::outbox::{BlockPool, Outbox};
use engine::region::Region;
use engine::speaker::Speaker;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// See the module's text.
#[derive(Debug)]
pub struct Bench {
    /// Whose turn it is.
    pub turns: Turns,
    receiving: Rc<Pool>,
    lent: RefCell<Lent>,
    pool: RefCell<BlockPool>,
    region: Arc<Region>,
}

impl Bench {
    /// For sessions that send from `region`, and buffers to receive into of this size.
    pub fn new(buffer_bytes: usize, region: Arc<Region>) -> Rc<Self> {
        Rc::new(Self {
            turns: Turns::default(),
            receiving: Pool::new(buffer_bytes),
            lent: RefCell::default(),
            pool: RefCell::default(),
            region,
        })
    }

    /// Bytes of a receive buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.receiving.block_bytes()
    }

    /// Something to receive into.
    #[inline]
    pub fn block(&self) -> Block {
        self.receiving.take()
    }

    /// Has something said into `outbox`. `now_ns` is the instant of the event, 0 if nobody has looked yet.
    #[inline]
    pub fn say<T>(
        &self,
        outbox: &mut Outbox,
        now_ns: u64,
        tell: impl FnOnce(&mut Speaker<'_>) -> T,
    ) -> T {
        tell(&mut Speaker::new(
            outbox,
            &mut self.pool.borrow_mut(),
            now_ns,
        ))
    }

    /// Delivers what was received, and lends it to `outbox` as far as it is echoed.
    #[inline]
    pub fn deliver(
        &self,
        outbox: &mut Outbox,
        mut block: Block,
        tell: impl FnOnce(&mut [u8], &mut Speaker<'_>),
    ) {
        let (mut lent, mut pool) = (self.lent.borrow_mut(), self.pool.borrow_mut());
        let lease = lent.next_lease(block.len());
        let mut speaker = Speaker::new(outbox, &mut pool, 0).receiving(lease);
        tell(block.bytes_mut(), &mut speaker);
        if outbox.is_unsettled() {
            let (lease, supply) = (lent.lend(block), lent.supply());
            outbox.settle(lease, supply, &mut *lent, &mut pool);
        }
    }

    /// The oldest that `outbox` has to send; from now on it is in flight.
    ///
    /// # Safety
    /// Until the send has ended `outbox` is not cleared, and where nobody waits for that it is lost
    /// ([`Bench::lose`]).
    #[inline]
    pub unsafe fn parcel(&self, outbox: &mut Outbox) -> Option<Parcel> {
        let piece = outbox.gather_oldest(&self.region, &mut *self.lent.borrow_mut())?;
        // SAFETY: the piece points into the region, which nobody changes; into a block that is lent to the
        // outbox; or into one of its own. It neither moves, changes nor gives back what is in flight,
        // and the caller vouches for the rest.
        Some(unsafe { Parcel::new(piece) })
    }

    /// The kernel took so many bytes of what was in flight.
    #[inline]
    pub fn advance(&self, outbox: &mut Outbox, taken: usize) {
        outbox.advance(
            taken,
            &mut *self.lent.borrow_mut(),
            &mut self.pool.borrow_mut(),
        );
    }

    /// See [`Outbox::is_too_full`].
    #[inline]
    pub fn is_too_full(&self, outbox: &Outbox) -> bool {
        outbox.is_too_full(&self.pool.borrow())
    }

    /// See [`Outbox::has_room_again`].
    #[inline]
    pub fn has_room_again(&self, outbox: &Outbox) -> bool {
        outbox.has_room_again(&self.pool.borrow())
    }

    /// Forgets all that `outbox` has.
    pub fn clear(&self, outbox: &mut Outbox) {
        outbox.clear(&mut *self.lent.borrow_mut(), &mut self.pool.borrow_mut());
    }

    /// Keeps what `outbox` has, and what it lies in, for ever: the kernel may still read it.
    pub fn lose(self: &Rc<Self>, outbox: Outbox) {
        std::mem::forget((Rc::clone(self), outbox));
    }

    /// Operations are in flight and nobody waits for them any more. What they send is lost with its wire.
    pub fn abandon(&self) {
        self.receiving.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pattern;
    use engine::session::Out;

    #[test]
    fn an_echo_is_sent_from_where_it_was_received() {
        let bench = Bench::new(64, Arc::new(pattern::region(8)));
        let mut outbox = Outbox::default();
        let mut block = bench.block();
        block.fill(b"abcdef");
        let address = block.bytes_mut().as_ptr();
        bench.deliver(&mut outbox, block, |_, out| out.echo(2..6));
        // SAFETY: nothing is sent.
        let parcel = unsafe { bench.parcel(&mut outbox) }.unwrap();
        assert_eq!(parcel.ptr(), address.wrapping_add(2));
        bench.advance(&mut outbox, 3);
        assert_eq!(outbox.held_bytes(), 1, "a short send leaves the rest");
        bench.clear(&mut outbox);
        assert_eq!(
            bench.block().bytes_mut().as_ptr(),
            address,
            "it was given back"
        );
    }

    #[test]
    fn what_the_kernel_may_still_read_is_never_freed() {
        let region = Arc::new(pattern::region(8));
        let bench = Bench::new(64, Arc::clone(&region));
        let mut outbox = Outbox::default();
        let mut block = bench.block();
        block.fill(b"abc");
        bench.deliver(&mut outbox, block, |_, out| out.echo(0..3));
        bench.lose(outbox);
        let kept = Rc::downgrade(&bench);
        drop(bench);
        assert!(kept.upgrade().is_some(), "with the block that is lent");
        assert_eq!(Arc::strong_count(&region), 2);
    }
}
