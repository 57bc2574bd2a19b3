//! A connection's protocol without any I/O.
//!
//! A [`Session`] is told what happened and answers through [`Out`]. It never sees a socket, so the
//! same code runs on every engine, and a test can feed it any segmentation. The testee's side is
//! here; the load's, which has phases, a slot and a meter besides, is [`crate::load::LoadSession`].

use std::ops::Range;

/// How to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum How {
    /// Orderly: what was handed to the kernel is still delivered, then FIN.
    #[default]
    Fin,
    /// Abortive (`SO_LINGER` 0): RST, and no TIME_WAIT on this side.
    Rst,
}

/// What a session may ask for while it is being told something. Three kinds of output: bytes of the
/// receive buffer ([`Out::echo`]), of memory that the workload filled before ([`Out::shared`]), and
/// bytes of its own ([`Out::space`]). All of it is sent in the order in which it was asked for.
pub trait Out {
    /// The monotonic instant (ns) of the event being handled, read at most once per event.
    fn now_ns(&mut self) -> u64;

    /// Sends a range of the bytes being delivered back to the peer, without a copy where the
    /// driver can. Only within [`Session::received`].
    fn echo(&mut self, range: Range<u32>);

    /// Sends `range` of the workload's shared region (see [`crate::region::Region`]).
    fn shared(&mut self, range: Range<u32>);

    /// Like [`Out::shared`], for a request that the peer will answer, on a connection on which
    /// everything sent before has been answered. The answer proves that the request was sent, so
    /// a driver may save itself the confirmation.
    fn request(&mut self, range: Range<u32>) {
        self.shared(range);
    }

    /// Room for `bytes` bytes of the session's own (1 to [`SPACE_MAX`]), zeroed, which are sent as
    /// they are left. Pooled and counted: while a connection holds too much that its peer does not read,
    /// nothing is received from it.
    fn space(&mut self, bytes: usize) -> &mut [u8];

    /// Has the session's timer called once, not before this many ns from [`Out::now_ns`]. One timer:
    /// the last call counts.
    fn after(&mut self, delay_ns: u64);

    /// FIN to the peer once everything asked for so far was sent; receiving goes on.
    fn shutdown_write(&mut self);

    /// Closes the connection: [`How::Fin`] after everything asked for so far was sent,
    /// [`How::Rst`] at once.
    fn close(&mut self, how: How);
}

/// The most that one call of [`Out::space`] may ask for, bytes.
pub const SPACE_MAX: usize = 16 * 1024;

/// The protocol of one connection of a testee. Nothing outlives a connection there.
pub trait Session {
    /// The connection was accepted.
    fn opened<O: Out>(&mut self, out: &mut O) {
        let _ = out;
    }

    /// Bytes arrived; the session consumes all of them.
    fn received<O: Out>(&mut self, bytes: &mut [u8], out: &mut O);

    /// Everything asked for so far was handed to the kernel.
    fn sent<O: Out>(&mut self, out: &mut O) {
        let _ = out;
    }

    /// Whether, as it stands, the session goes on only when it is told that all was sent. If not,
    /// it may be told late: together with the next thing that happens.
    fn awaits_sent(&self) -> bool {
        true
    }

    /// The instant of [`Out::after`] has come.
    fn timer<O: Out>(&mut self, out: &mut O) {
        let _ = out;
    }

    /// The peer will send nothing more.
    fn peer_finished<O: Out>(&mut self, out: &mut O);
}

/// What a driver should prepare for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Bytes that one receive is expected to bring at most.
    pub receive_bytes: u32,
    /// Bulk transfer: few large buffers serve better than many small ones.
    pub bulk: bool,
    /// A connection is over after a message or a few, by our own close.
    pub brief: bool,
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
