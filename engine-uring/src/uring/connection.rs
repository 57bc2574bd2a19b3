//! What the backend knows about one connection: its descriptor and its operations in the kernel.

use engine::proactor::{ConnectionId, PIECES_MAX, Piece};
use std::os::fd::RawFd;

/// Where a multishot operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    /// Not in the kernel.
    Off,
    /// In the kernel.
    Armed,
    /// In the kernel, and its cancellation was asked for.
    Cancelling,
    /// Not in the kernel; waits for free buffers.
    Parked,
    /// Over for good: the final event was delivered.
    Ended,
}

impl Arm {
    /// Whether a final completion is still to come.
    pub(super) fn is_in_kernel(self) -> bool {
        matches!(self, Self::Armed | Self::Cancelling)
    }
}

/// Where a connect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connecting {
    No,
    /// The connect is in the kernel.
    InKernel,
    /// A short timer is in the kernel, after which the connect is tried again.
    Delayed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Open,
    Closing,
}

/// One place of the connection table; 104 bytes.
pub(super) struct Connection {
    /// What is left of a send of one piece; meaningless during a gathered one.
    send_from: *const u8,
    send_left: usize,
    send_total: usize,
    /// What the operation in the kernel is to send.
    pub(super) send_part: usize,
    /// The most that one operation may send; 0 until a large send asks for it.
    pub(super) send_part_max: usize,
    pub(super) fd: RawFd,
    pub(super) generation: u32,
    /// Entry of the gather slab, during a gathered send.
    pub(super) gather: Option<u32>,
    /// Entry of the address slab, while connecting.
    pub(super) address: Option<u32>,
    pub(super) state: State,
    pub(super) receiving: Arm,
    /// The caller wants bytes: not paused, not closed.
    pub(super) wants_bytes: bool,
    /// This index is in the queue of the parked. Outlives the tenant, so that the queue never
    /// holds an index twice.
    pub(super) in_park_queue: bool,
    /// We connected, so the peer has nothing to say yet when receiving begins.
    pub(super) connected_here: bool,
    pub(super) connecting: Connecting,
    /// What connect(2) answered for a Unix socket: 0 or a negative errno.
    pub(super) connect_answer: i32,
    pub(super) sending: bool,
    /// The send is the rest of one that was reported as done: only its failure is news.
    pub(super) sends_silently: bool,
    /// The send is a lazy one, of which only a failure completes.
    pub(super) lazy: bool,
    /// The kind of the send in the kernel.
    pub(super) send_kind: u8,
    /// The memory of the pending send outlives the backend and never changes.
    pub(super) lasting: bool,
    /// What a zero-copy send answered, until the kernel lets go of its memory.
    pub(super) unreleased: Option<i32>,
    /// The last single receive left bytes in the socket.
    pub(super) more_waits: bool,
    /// The turn in which an unconfirmed send was queued; 0 never.
    pub(super) unconfirmed_turn: u32,
    /// A close is in the kernel.
    pub(super) closing_in_kernel: bool,
    /// Connects that met a full backlog.
    pub(super) connects_delayed: u8,
    /// Cancellations that missed, since the connection closed or paused.
    pub(super) cancels_missed: u8,
}

impl Connection {
    pub(super) fn free() -> Self {
        Self {
            send_from: std::ptr::null(),
            send_left: 0,
            send_total: 0,
            send_part: 0,
            send_part_max: 0,
            fd: -1,
            generation: 0,
            gather: None,
            address: None,
            state: State::Free,
            receiving: Arm::Off,
            wants_bytes: false,
            in_park_queue: false,
            connected_here: false,
            connecting: Connecting::No,
            connect_answer: 0,
            sending: false,
            sends_silently: false,
            lazy: false,
            send_kind: 0,
            lasting: false,
            unreleased: None,
            more_waits: false,
            unconfirmed_turn: 0,
            closing_in_kernel: false,
            connects_delayed: 0,
            cancels_missed: 0,
        }
    }

    /// A new tenant.
    pub(super) fn occupy(&mut self, id: ConnectionId, fd: RawFd) {
        let in_park_queue = self.in_park_queue;
        *self = Self {
            fd,
            generation: id.generation,
            state: State::Open,
            in_park_queue,
            ..Self::free()
        };
    }

    /// The tenant has left.
    pub(super) fn vacate(&mut self) {
        debug_assert!(self.is_quiet() && self.gather.is_none() && self.address.is_none());
        self.state = State::Free;
        self.fd = -1;
    }

    /// The kernel knows nothing of this connection any more.
    pub(super) fn is_quiet(&self) -> bool {
        !self.receiving.is_in_kernel()
            && !self.sending
            && self.connecting == Connecting::No
            && !self.closing_in_kernel
    }

    /// Remembers a send until it is complete.
    #[inline]
    pub(super) fn begin_send(&mut self, piece: &Piece) {
        self.send_from = piece.ptr;
        self.send_left = piece.len;
        self.send_total = piece.len;
    }

    /// The rest of a send of one piece.
    #[inline]
    pub(super) fn send_rest(&self) -> (*const u8, usize) {
        (self.send_from, self.send_left)
    }

    #[inline]
    pub(super) fn send_total(&self) -> usize {
        self.send_total
    }

    /// `sent` bytes went out; true when that was all.
    #[inline]
    pub(super) fn advance_send(&mut self, sent: usize) -> bool {
        debug_assert!(sent <= self.send_left);
        self.send_left -= sent;
        if self.gather.is_none() {
            self.send_from = self.send_from.wrapping_add(sent);
        }
        self.send_left == 0
    }
}

/// A gathered send: the message header and the pieces that it points to. It must not move while
/// in flight, for the header points into it.
pub(super) struct Gather {
    header: libc::msghdr,
    pieces: [libc::iovec; PIECES_MAX],
    /// The first piece that is not sent yet, and the end of the pieces.
    next: usize,
    end: usize,
}

/// What one operation of a gathered send is to send.
pub(super) enum Part {
    /// Some bytes of one piece.
    Plain(*const u8, usize),
    /// Whole pieces, so many bytes together.
    Gathered(*const libc::msghdr, usize),
}

impl Default for Gather {
    fn default() -> Self {
        // SAFETY: all fields are numbers, null pointers or plain C structures of these, for which
        // all zeroes is a valid value.
        unsafe { std::mem::zeroed() }
    }
}

impl Gather {
    /// Takes the pieces in.
    pub(super) fn set(&mut self, pieces: &[Piece]) {
        for (into, piece) in self.pieces.iter_mut().zip(pieces) {
            *into = libc::iovec {
                iov_base: piece.ptr.cast_mut().cast(),
                iov_len: piece.len,
            };
        }
        (self.next, self.end) = (0, pieces.len());
    }

    /// As many of the pieces left as fit into `bytes_max`, or a part of the first.
    pub(super) fn part(&mut self, bytes_max: usize) -> Part {
        let left = &mut self.pieces[self.next..self.end];
        let first = left[0];
        if left.len() == 1 || first.iov_len >= bytes_max {
            return Part::Plain(first.iov_base.cast(), first.iov_len.min(bytes_max));
        }
        let (mut count, mut bytes) = (0, 0);
        while count < left.len() && left[count].iov_len <= bytes_max - bytes {
            bytes += left[count].iov_len;
            count += 1;
        }
        self.header.msg_iov = left.as_mut_ptr();
        self.header.msg_iovlen = count as _;
        Part::Gathered(&self.header, bytes)
    }

    /// Drops the first `sent` bytes of what is left.
    pub(super) fn advance(&mut self, mut sent: usize) {
        while sent > 0 {
            let piece = &mut self.pieces[self.next];
            if sent < piece.iov_len {
                piece.iov_base = piece.iov_base.wrapping_byte_add(sent);
                piece.iov_len -= sent;
                return;
            }
            sent -= piece.iov_len;
            self.next += 1;
        }
    }
}

/// A peer's address while a connect is in flight.
pub(super) struct Address {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

impl Default for Address {
    fn default() -> Self {
        // SAFETY: a plain C structure, for which all zeroes is a valid value (family unspecified).
        let storage = unsafe { std::mem::zeroed() };
        Self { storage, len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gather_advances_over_and_into_pieces() {
        let bytes = [0u8; 100];
        let pieces = [10, 20, 30].map(|len| Piece {
            ptr: bytes.as_ptr(),
            len,
        });
        for sent in 0..=60 {
            let mut gather = Gather::default();
            gather.set(&pieces);
            gather.advance(sent);
            let left = &gather.pieces[gather.next..gather.end];
            assert_eq!(
                left.iter().map(|piece| piece.iov_len).sum::<usize>(),
                60 - sent
            );
            assert!(
                left.iter().all(|piece| piece.iov_len > 0),
                "an empty piece is left after {sent}"
            );
        }
    }

    #[test]
    fn parts_of_any_size_send_every_byte_once_and_in_order() {
        let bytes: Vec<u8> = (0..=254).collect();
        let lens = [1usize, 90, 2, 3, 100, 30, 5, 24];
        let mut rest = &bytes[..];
        let pieces = lens.map(|len| {
            let (piece, after) = rest.split_at(len);
            rest = after;
            Piece {
                ptr: piece.as_ptr(),
                len,
            }
        });
        for bytes_max in 1..=300 {
            let mut gather = Gather::default();
            gather.set(&pieces);
            let mut sent = Vec::new();
            while sent.len() < bytes.len() {
                let before = sent.len();
                take_part(gather.part(bytes_max), &mut sent);
                assert!((1..=bytes_max).contains(&(sent.len() - before)));
                gather.advance(sent.len() - before);
            }
            assert_eq!(sent, bytes);
        }
    }

    fn take_part(part: Part, sent: &mut Vec<u8>) {
        match part {
            Part::Plain(from, len) => sent.extend_from_slice(bytes_of(from, len)),
            Part::Gathered(header, len) => {
                let (before, mut at) = (sent.len(), 0);
                while sent.len() < before + len {
                    // SAFETY: the header and its pieces are alive; `len` bytes are in the pieces
                    // that the header names, so `at` stays below their number.
                    let piece = unsafe { *(*header).msg_iov.add(at) };
                    sent.extend_from_slice(bytes_of(piece.iov_base.cast(), piece.iov_len));
                    at += 1;
                }
            }
        }
    }

    fn bytes_of<'a>(from: *const u8, len: usize) -> &'a [u8] {
        // SAFETY: a part names only bytes of its pieces, which are alive in the test.
        unsafe { std::slice::from_raw_parts(from, len) }
    }

    #[test]
    fn a_place_is_small() {
        assert!(
            size_of::<Connection>() <= 104,
            "{}",
            size_of::<Connection>()
        );
    }
}
