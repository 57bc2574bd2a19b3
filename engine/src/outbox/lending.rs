//! Receive buffers that an outbox sends from: whose they are, and how many there are to be had.

use crate::proactor::{Lease, Proactor};

/// Whose receive buffers an outbox sends from.
pub trait Lender {
    /// The bytes of a lease.
    fn bytes(&mut self, lease: &Lease) -> &mut [u8];
    /// Returns a lease.
    fn give_back(&mut self, lease: Lease);
}

impl<P: Proactor> Lender for P {
    #[inline]
    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        Proactor::bytes(self, lease)
    }

    #[inline]
    fn give_back(&mut self, lease: Lease) {
        Proactor::give_back(self, lease);
    }
}

/// The outline of a lease, without the duty to give it back.
#[derive(Clone, Copy, Debug)]
pub struct LeaseShape {
    /// See [`Lease::buffer`].
    pub buffer: u32,
    /// See [`Lease::offset`].
    pub offset: u32,
    /// See [`Lease::len`].
    pub len: u32,
}

impl From<&Lease> for LeaseShape {
    fn from(lease: &Lease) -> Self {
        Self {
            buffer: lease.buffer,
            offset: lease.offset,
            len: lease.len,
        }
    }
}

/// How many receive buffers are free, as far as it matters to an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// At least half: a connection may keep several.
    Ample,
    /// Less than half: a connection may keep one.
    Scarce,
    /// Less than an eighth: none may be kept, so that those left go round for ever.
    Critical,
}

impl Supply {
    /// The supply with `free` of `all` buffers free.
    #[inline]
    pub fn of(free: u32, all: u32) -> Self {
        if free >= all / 2 {
            Self::Ample
        } else if free > all / 8 {
            Self::Scarce
        } else {
            Self::Critical
        }
    }
}
