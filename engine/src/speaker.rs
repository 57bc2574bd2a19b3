//! The [`Out`] of every executor: what a session says goes into its connection's [`Outbox`].

use crate::clock::now_ns;
use crate::outbox::{BlockPool, LeaseShape, Outbox};
use crate::session::{How, Out};
use std::ops::Range;

/// See the module's text.
#[derive(Debug)]
pub struct Speaker<'a> {
    /// Takes what is said.
    pub outbox: &'a mut Outbox,
    pool: &'a mut BlockPool,
    /// 0 until somebody asks.
    now_ns: u64,
    /// What is being received.
    lease: Option<LeaseShape>,
}

impl<'a> Speaker<'a> {
    /// For whatever happened but bytes that arrived. `now_ns` is the instant of the event, 0 if nobody has
    /// looked yet.
    #[inline]
    pub fn new(outbox: &'a mut Outbox, pool: &'a mut BlockPool, now_ns: u64) -> Self {
        Self {
            outbox,
            pool,
            now_ns,
            lease: None,
        }
    }

    /// For bytes that arrived, in this lease. [`Outbox::settle`] must follow if any of it was echoed.
    #[inline]
    pub fn receiving(self, lease: LeaseShape) -> Self {
        Self {
            lease: Some(lease),
            ..self
        }
    }
}

impl Out for Speaker<'_> {
    #[inline]
    fn now_ns(&mut self) -> u64 {
        if self.now_ns == 0 {
            self.now_ns = now_ns();
        }
        self.now_ns
    }

    #[inline]
    fn echo(&mut self, range: Range<u32>) {
        let lease = self.lease.expect("echo is for bytes being received");
        self.outbox.push_echo(&lease, range);
    }

    #[inline]
    fn shared(&mut self, range: Range<u32>) {
        self.outbox.push_shared(range);
    }

    #[inline]
    fn request(&mut self, range: Range<u32>) {
        self.outbox.push_request(range);
    }

    fn space(&mut self, bytes: usize) -> &mut [u8] {
        self.outbox.space(bytes, self.pool)
    }

    fn after(&mut self, delay_ns: u64) {
        self.outbox.timer_ns = Some(self.now_ns().saturating_add(delay_ns));
    }

    fn shutdown_write(&mut self) {
        self.outbox.shutdown = true;
    }

    fn close(&mut self, how: How) {
        self.outbox.close = Some(how);
    }
}
