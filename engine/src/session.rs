//! A connection's protocol without any I/O.
//!
//! A [`Session`] is told what happened and answers through [`Out`]. It never sees a socket, so the
//! same code runs on every engine, and a test can feed it any segmentation. What outlives one
//! connection (schedule, operations in flight, totals) lives in a slot.

use crate::meter::Meter;
use crate::proactor::How;
use std::ops::Range;

/// What ends with the bytes of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Nothing: a byte stream, cut anywhere.
    Stream,
    /// The bytes are one whole datagram.
    Datagram,
}

/// What a session may ask for while it is being told something.
pub trait Out {
    /// The monotonic instant (ns) of the event being handled, read once per event.
    fn now_ns(&self) -> u64;

    /// Sends a range of the bytes being delivered back to the peer, without a copy where the
    /// driver can. Only within [`Session::received`].
    fn echo(&mut self, range: Range<u32>);

    /// Sends `range` of the workload's shared pattern (see [`crate::pattern::Pattern`]).
    fn shared(&mut self, range: Range<u32>);

    /// Like [`Out::shared`], for a request that the peer will answer, on a connection on which
    /// everything sent before has been answered. The answer proves that the request was sent, so
    /// a driver may save itself the confirmation.
    fn request(&mut self, range: Range<u32>) {
        self.shared(range);
    }

    /// FIN to the peer once everything asked for so far was sent; receiving goes on.
    fn shutdown_write(&mut self);

    /// Closes the connection: [`How::Fin`] after everything asked for so far was sent,
    /// [`How::Rst`] at once.
    fn close(&mut self, how: How);

    /// Where this worker records.
    fn meter(&mut self) -> &mut Meter;
}

/// One connection's protocol. `L` is the slot.
pub trait Session<L> {
    /// The connection is open and traffic may flow. On the load side this is called at the
    /// starting instant for connections that were opened before it.
    fn opened<O: Out>(&mut self, slot: &mut L, out: &mut O);

    /// Bytes arrived; the session consumes all of them.
    fn received<O: Out>(&mut self, slot: &mut L, bytes: &mut [u8], boundary: Boundary, out: &mut O);

    /// Everything asked for so far was handed to the kernel.
    fn sent<O: Out>(&mut self, slot: &mut L, out: &mut O);

    /// Whether, as it stands, the session goes on only when it is told that all was sent. If not,
    /// it may be told late: together with the next thing that happens.
    fn awaits_sent(&self) -> bool {
        true
    }

    /// The peer will send nothing more.
    fn peer_finished<O: Out>(&mut self, slot: &mut L, out: &mut O);
}

/// What a driver should prepare for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Bytes that one receive is expected to bring at most.
    pub receive_bytes: u32,
    /// Bulk transfer: few large buffers serve better than many small ones.
    pub bulk: bool,
}

impl Hints {
    /// Bytes of the receive buffer of a connection that has one for itself: a message at once, and not so much
    /// that a hundred connections throw each other out of the cache.
    pub fn own_buffer_bytes(self) -> usize {
        let (least, most) = if self.bulk {
            (64 * 1024, 256 * 1024)
        } else {
            (4 * 1024, 64 * 1024)
        };
        self.receive_bytes.clamp(least, most).next_power_of_two() as usize
    }
}
