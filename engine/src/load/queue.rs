//! One queue for the operations of all connections of a worker: what is due is taken by whichever of them has
//! room, and waits in the order in which it came due while none has.
//!
//! Either nothing is due, or no connection has room: what comes due goes to who waits longest for work, and who
//! gets room takes what is due. So an operation costs no look at any other connection.

use super::connection::State;
use super::session::LoadWorkload;
use super::{Life, Phase};
use crate::shape::{EXACT_ARRIVALS, Pacer};
use std::cmp::Reverse;

impl<W: LoadWorkload> Life<W> {
    /// A connection has room and found nothing to do.
    #[inline]
    pub(super) fn has_room(&mut self, index: u32) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        let connection = &mut self.connections[index as usize];
        if !std::mem::replace(&mut connection.is_free, true) {
            queue.free.push_back(index);
        }
    }

    /// Takes in what came due, and returns who is to begin an operation.
    pub(super) fn next_taker(&mut self, now_ns: u64) -> Option<u32> {
        loop {
            while let Some(index) = self.pop_free() {
                match self.state(index) {
                    State::Open => return Some(index),
                    State::Idle if Self::EACH => {
                        self.observe(now_ns);
                        self.dial_or_operate(index, now_ns);
                    }
                    _ => {}
                }
            }
            if !self.take_in(now_ns) {
                return None;
            }
        }
    }

    /// The next of the free, if anything is due.
    fn pop_free(&mut self) -> Option<u32> {
        let queue = self.queue.as_mut()?;
        if queue.pacer.backlog() == 0 {
            return None;
        }
        let index = queue.free.pop_front()?;
        self.connections[index as usize].is_free = false;
        Some(index)
    }

    /// Takes in a bounded number of what came due; false if there is nothing, or enough of it for a turn.
    fn take_in(&mut self, now_ns: u64) -> bool {
        let (Some(queue), Some(&Reverse((due_ns, _)))) = (&mut self.queue, self.schedule.peek())
        else {
            return false;
        };
        if due_ns > now_ns || self.turns_left == 0 {
            return false;
        }
        self.schedule.clear();
        if due_ns >= self.window_end_ns {
            return false;
        }
        self.turns_left -= 1;
        queue.pacer.arrive(now_ns, &mut self.meter);
        self.await_arrival();
        true
    }

    /// Begins the worker's schedule; true if it has one.
    pub(super) fn start_queue(&mut self, go_ns: u64) -> bool {
        let Some(queue) = &mut self.queue else {
            return false;
        };
        queue.pacer.start(go_ns);
        self.await_arrival();
        true
    }

    /// Puts the next instant of the worker's schedule where the life looks for what is due.
    fn await_arrival(&mut self) {
        let queue = self.queue.as_ref();
        let due_ns = queue.and_then(|queue| queue.pacer.next_due_ns());
        self.schedule
            .extend(due_ns.map(|due_ns| Reverse((due_ns, 0))));
    }

    /// The schedule that connection `index` takes its operations from.
    #[inline]
    pub(super) fn pacer(&mut self, index: u32) -> &mut Pacer {
        match &mut self.queue {
            Some(queue) => &mut queue.pacer,
            None => &mut self.connections[index as usize].pacer,
        }
    }

    fn schedules(&self) -> u32 {
        match self.queue {
            Some(_) => 1,
            None => self.connections.len() as u32,
        }
    }

    /// How many arrivals of one schedule may be gone through one by one.
    fn exact_arrivals(&self) -> u64 {
        EXACT_ARRIVALS / u64::from(self.schedules())
    }

    /// A run that counts begins its window with what is due in it: the backlog of a warm-up beyond capacity would put
    /// it off without end.
    pub(super) fn forget_the_warm_ups_backlog(&mut self) {
        let start_ns = self.meter.recorded().window_start_ns;
        // Nothing is received meanwhile.
        let exact_max = self.exact_arrivals() / 64;
        for index in 0..self.schedules() {
            self.pacer(index).forget_before(start_ns, exact_max);
        }
    }

    /// What came due in the window and was never sent.
    pub(super) fn give_up_schedules(&mut self, now_ns: u64) {
        debug_assert!(self.phase >= Phase::Draining, "nothing is sent any more");
        let window_ns = self.meter.recorded().window_start_ns..self.window_end_ns;
        let exact_max = self.exact_arrivals();
        for index in 0..self.schedules() {
            let pacer = self.pacer(index);
            let unsent = pacer.give_up(window_ns.start, window_ns.end, exact_max);
            if let Some((count, oldest_ns)) = unsent.filter(|_| W::OWES) {
                self.meter.never_sent(count, oldest_ns, now_ns);
            }
        }
    }
}
