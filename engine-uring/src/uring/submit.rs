//! Makes submission entries. Nothing here makes a system call, unless the queue is full.

use super::UringProactor;
use super::buffers::Buffers;
use super::connection::{Address, Arm, Connecting, Connection, Part, State};
use super::ring::BUFFER_GROUP;
use engine::proactor::{BackendCounters, ConnectionId, Token};
use io_uring::types::{CancelBuilder, Fd, Fixed, Timespec};
use io_uring::{opcode, squeue};
use std::io;
use std::os::fd::RawFd;

// The kinds of tokens.
pub(super) const ACCEPT: u8 = 1;
pub(super) const WAKE: u8 = 2;
pub(super) const RECEIVE: u8 = 3;
pub(super) const SEND: u8 = 4;
pub(super) const CONNECT: u8 = 5;
pub(super) const CONNECT_DELAY: u8 = 6;
pub(super) const CLOSE: u8 = 7;
/// Completes twice: what it sent, then that the kernel has let go of the memory.
pub(super) const SEND_ZC: u8 = 8;
/// The same from memory that nobody waits to use again.
pub(super) const SEND_ZC_LASTING: u8 = 9;
/// The rest of a farewell that the socket did not take at once.
pub(super) const FAREWELL_REST: u8 = 10;
/// From here on completions come only after failures, and do not count as operations in flight.
pub(super) const CANCEL: u8 = 11;
pub(super) const CANCEL_ACCEPT: u8 = 12;
pub(super) const CANCEL_EVERYTHING: u8 = 13;
pub(super) const UNCONFIRMED: u8 = 17;
/// Putting a descriptor into the ring's table, or taking it out.
pub(super) const TABLE: u8 = 14;
/// A close of which nobody waits for the end.
pub(super) const CLOSE_SILENTLY: u8 = 15;
/// The last send of a connection, linked with its close.
pub(super) const FAREWELL: u8 = 16;

/// Larger requests are sent with a confirmation, in parts.
pub(super) const UNCONFIRMED_BYTES_MAX: usize = ROUND_BYTES_MIN;

/// The "connection" of operations that belong to none.
const NOBODY: ConnectionId = ConnectionId {
    index: u32::MAX,
    generation: 0,
};

// Flags in `ioprio` of socket operations, from linux/io_uring.h.
const RECVSEND_POLL_FIRST: u16 = 1 << 0;
const RECV_MULTISHOT: u16 = 1 << 1;
/// The notification of a zero-copy send says whether the kernel copied all the same; Linux 6.2.
const SEND_ZC_REPORT_USAGE: u16 = 1 << 3;

/// More than this in one call the kernel cuts off (MAX_RW_COUNT).
const SEND_BYTES_MAX: usize = 0x7fff_f000;

/// An operation that has to wait for room in the socket buffer 128 times (APOLL_MAX_RETRY in the
/// kernel's io_uring/poll.c) is handed to io-wq, a kernel thread. So a large send goes in parts.
/// Room is announced when a third of the buffer is free, and bookkeeping takes about half of that:
/// 20 buffers need at most 120 waits.
const ROUND_BUFFERS: usize = 20;

/// Below this no buffer is small enough to matter: the kernel's smallest holds 4608 bytes.
const ROUND_BYTES_MIN: usize = 64 * 1024;

pub(super) const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// How long to wait before a Unix listener's full backlog is tried again: longer each time.
static CONNECT_DELAYS: [Timespec; 6] = [
    delay_ms(1),
    delay_ms(2),
    delay_ms(4),
    delay_ms(8),
    delay_ms(16),
    delay_ms(32),
];

const fn delay_ms(ms: u32) -> Timespec {
    Timespec::new().nsec(ms * 1_000_000)
}

impl UringProactor {
    /// Queues an operation that has a final completion.
    ///
    /// # Safety
    /// What the entry points to stays valid until that completion was read.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, kind: u8, id: ConnectionId) {
        self.in_flight += 1;
        let entry = entry.user_data(Token::pack(kind, id).0);
        // SAFETY: handed on to the caller.
        unsafe { self.ring.push(&entry, &mut self.counters) };
    }

    pub(super) fn submit_accept(&mut self) {
        self.acceptor.arm = Arm::Armed;
        let entry = opcode::AcceptMulti::new(Fd(self.acceptor.listener))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        // SAFETY: a multishot accept points to nothing.
        unsafe { self.push(entry, ACCEPT, NOBODY) };
    }

    pub(super) fn submit_wake_poll(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.wake_fd), libc::POLLIN as u32)
            .multi(true)
            .build();
        // SAFETY: a poll points to nothing.
        unsafe { self.push(entry, WAKE, NOBODY) };
    }

    /// How operations name the socket of a connection.
    #[inline]
    fn target(&self, index: u32) -> (Fd, squeue::Flags) {
        if self.direct {
            return (Fd(index as RawFd), squeue::Flags::FIXED_FILE);
        }
        let fd = self.connections[index as usize].fd;
        (Fd(fd), squeue::Flags::empty())
    }

    /// Puts a connection's descriptor into the ring's own table, at its index. Entries are taken in
    /// order and this one is done at once, so everything queued after it finds it there.
    ///
    /// The ordinary descriptor stays: TCP_INFO, TCP_NODELAY and the like, shutdown(2) and a
    /// handoff to another worker need one. A socket that is only in the table can be asked by
    /// SOCKET_URING_OP_GETSOCKOPT, but for SOL_SOCKET only: other levels answer EOPNOTSUPP
    /// (io_uring_cmd_getsockopt() in the kernel's io_uring/cmd_net.c).
    pub(super) fn submit_table_entry(&mut self, id: ConnectionId) {
        let fd = &raw const self.connections[id.index as usize].fd;
        let entry = opcode::FilesUpdate::new(fd, 1)
            .offset(id.index as i32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Token::pack(TABLE, id).0);
        // SAFETY: the descriptor lies in the connection table, which neither moves nor goes away
        // before the ring is drained, and changes only after the close that follows this entry.
        unsafe { self.ring.push(&entry, &mut self.counters) };
    }

    /// Whether the connections are Unix sockets. One listener or target: all are alike.
    pub(super) fn is_unix(&mut self, index: u32) -> bool {
        let fd = self.connections[index as usize].fd;
        *self
            .is_unix
            .get_or_insert_with(|| engine::socket::is_unix(fd))
    }

    /// Arms receiving; without a free buffer the connection waits for one instead, because the
    /// kernel ends a receive that finds the ring empty.
    pub(super) fn arm_receive(&mut self, id: ConnectionId, poll_first: bool) {
        if let Buffers::Own(own) = &mut self.buffers {
            if own.is_leased(id.index) {
                return; // giving it back arms
            }
            let (into, len) = (own.target(id.index), own.buffer_bytes());
            return self.arm_single(id, into, len, poll_first);
        }
        if self.buffers.free() == 0 {
            self.park(id);
            return;
        }
        let connection = &mut self.connections[id.index as usize];
        connection.receiving = Arm::Armed;
        connection.cancels_missed = 0;
        self.is_unix(id.index);
        let single = self.receives_one_at_a_time();
        let multishot = if single { 0 } else { RECV_MULTISHOT };
        let ioprio = if poll_first {
            multishot | RECVSEND_POLL_FIRST
        } else {
            multishot
        };
        let (fd, fixed) = self.target(id.index);
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0)
            .ioprio(ioprio)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT | fixed);
        // SAFETY: it receives into the registered buffers, which live until the ring is drained.
        unsafe { self.push(entry, RECEIVE, id) };
    }

    /// Whether the group's buffers are asked for one at a time instead of by a multishot receive.
    ///
    /// Linux loses an end that is there before a multishot receive runs: it takes the bytes, is
    /// told that none are left (a Unix socket's FIN and a TCP reset do not count), and sleeps. A
    /// single receive is tried afresh and finds it. Where the kernel is mended it looks again after
    /// a hang-up, and so after a reset, but not after a Unix socket's half-close. For bulk the extra
    /// entry costs little. Of brief connections a single receive ends with the request, and leaves nothing in
    /// the kernel that the close behind the answer would have to cancel.
    pub(super) fn receives_one_at_a_time(&self) -> bool {
        self.misses_ends
            || self.brief
            || self.buffers.buffer_bytes() >= 64 * 1024
            || self.is_unix == Some(true)
    }

    /// The buffer of connection `index` is free again: receives on, if bytes are wanted. Without a
    /// sign that more is there, polling first saves a receive that finds nothing.
    #[inline]
    pub(super) fn receive_next(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        if connection.state != State::Open
            || !connection.wants_bytes
            || connection.receiving != Arm::Off
        {
            return;
        }
        let id = ConnectionId {
            index,
            generation: connection.generation,
        };
        self.arm_receive(id, !connection.more_waits);
    }

    /// Receives once into the connection's own buffer.
    fn arm_single(&mut self, id: ConnectionId, into: *mut u8, len: u32, poll_first: bool) {
        let connection = &mut self.connections[id.index as usize];
        connection.receiving = Arm::Armed;
        connection.cancels_missed = 0;
        let (fd, fixed) = self.target(id.index);
        let entry = opcode::Recv::new(fd, into, len)
            .ioprio(if poll_first { RECVSEND_POLL_FIRST } else { 0 })
            .build()
            .flags(fixed);
        // SAFETY: `into` points to `len` bytes of the connection's buffer, which lives until the
        // ring is drained, and is leased and touched only after the final completion.
        unsafe { self.push(entry, RECEIVE, id) };
    }

    /// Puts a connection at the end of those that wait for a buffer.
    pub(super) fn park(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.index as usize];
        connection.receiving = Arm::Parked;
        if !connection.in_park_queue {
            connection.in_park_queue = true;
            debug_assert!(
                self.parked.len() < self.parked.capacity(),
                "an index is queued once"
            );
            self.parked.push_back(id.index);
        }
    }

    /// Arms as many of the parked as there are free buffers, longest waiting first. One that
    /// loses the race for a buffer parks again, and then somebody else received: no spinning.
    /// A higher threshold would save entries but starve the parked while slow readers keep most
    /// buffers leased.
    pub(super) fn rearm_parked(&mut self) {
        let mut budget = self.buffers.free();
        while budget > 0
            && let Some(index) = self.parked.pop_front()
        {
            let connection = &mut self.connections[index as usize];
            connection.in_park_queue = false;
            if connection.receiving == Arm::Parked {
                let id = ConnectionId {
                    index,
                    generation: connection.generation,
                };
                budget -= 1;
                self.counters.rearms += 1;
                self.arm_receive(id, false);
            }
        }
    }

    /// Submits what is left of the pending send, or as much as one operation may send.
    #[inline]
    pub(super) fn submit_send(&mut self, id: ConnectionId) {
        let (fd, fixed) = self.target(id.index);
        let zero_copy_from = self.zero_copy_from(id.index);
        let connection = &mut self.connections[id.index as usize];
        let (from, left) = connection.send_rest();
        let mut bytes_max = ROUND_BYTES_MIN;
        if left > ROUND_BYTES_MIN {
            bytes_max = part_max(connection, &mut self.counters);
        }
        let part = match connection.gather {
            None => Part::Plain(from, left.min(bytes_max)),
            Some(number) => self.gathers.get_mut(number).part(bytes_max),
        };
        let (Part::Plain(_, len) | Part::Gathered(_, len)) = part;
        let zero_copy = len >= zero_copy_from;
        connection.send_part = len;
        connection.send_kind = match (zero_copy, connection.lasting) {
            (false, _) => SEND,
            (true, false) => SEND_ZC,
            (true, true) => SEND_ZC_LASTING,
        };
        let kind = connection.send_kind;
        let entry = send_entry(fd, part, zero_copy).flags(fixed);
        // SAFETY: the pieces are valid by the contract of `Proactor::send`, the header until
        // `end_send` gives its slab entry back, after the final completion.
        unsafe { self.push(entry, kind, id) };
    }

    /// The smallest send of a connection that is to be zero-copy; Unix sockets have no such sends.
    #[inline]
    fn zero_copy_from(&mut self, index: u32) -> usize {
        match self.zero_copy_from {
            None => usize::MAX,
            Some(bytes) => match self.is_unix(index) {
                true => usize::MAX,
                false => bytes,
            },
        }
    }

    /// Submits a send that completes without a trace if the socket takes all of it at once.
    ///
    /// MSG_DONTWAIT is what makes the silence mean something: the kernel tries once, while it
    /// takes the entry, and whatever it could not send it reports in a completion ahead of
    /// everything later (MSG_WAITALL makes a short send a failure, and a failure is never
    /// skipped: io_send() and req_set_fail() in the kernel's io_uring). So after the turn no such send is in the kernel, and closing needs no cancel.
    #[inline]
    pub(super) fn submit_unconfirmed(&mut self, id: ConnectionId) {
        let (from, len) = self.connections[id.index as usize].send_rest();
        let (fd, fixed) = self.target(id.index);
        let entry = opcode::Send::new(fd, from, len as u32)
            .flags(SEND_FLAGS | libc::MSG_DONTWAIT)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS | fixed)
            .user_data(Token::pack(UNCONFIRMED, id).0);
        // SAFETY: the bytes are valid until the backend is dropped, or, for a lazy send, until its end
        // or that of the connection was told, and the kernel has them only while it takes the entry.
        unsafe { self.ring.push(&entry, &mut self.counters) };
    }

    /// Submits the connect whose address is stored.
    ///
    /// A Unix socket connects or fails at once. When the listener's backlog is full, though,
    /// IORING_OP_CONNECT ends up in a kernel thread per connection, so it is connect(2) here; a
    /// NOP carries its answer back in the order of events.
    pub(super) fn submit_connect(&mut self, id: ConnectionId) {
        let (fd, fixed) = self.target(id.index);
        let connection = &mut self.connections[id.index as usize];
        connection.connecting = Connecting::InKernel;
        self.parting.connects = true;
        let address = self
            .addresses
            .get_mut(connection.address.expect("stored before the connect"));
        let entry = if i32::from(address.storage.ss_family) == libc::AF_UNIX {
            self.counters.system_calls += 3;
            connection.connect_answer = connect_at_once(connection.fd, address);
            opcode::Nop::new().build()
        } else {
            opcode::Connect::new(fd, (&raw const address.storage).cast(), address.len)
                .build()
                .flags(fixed)
        };
        // SAFETY: the slab entry is given back only after the final completion.
        unsafe { self.push(entry, CONNECT, id) };
    }

    /// Tries the connect again a little later.
    pub(super) fn delay_connect(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.index as usize];
        connection.connecting = Connecting::Delayed;
        let delay =
            &CONNECT_DELAYS[usize::from(connection.connects_delayed).min(CONNECT_DELAYS.len() - 1)];
        connection.connects_delayed = connection.connects_delayed.saturating_add(1);
        // SAFETY: it points to a static.
        unsafe { self.push(opcode::Timeout::new(delay).build(), CONNECT_DELAY, id) };
    }

    pub(super) fn submit_close(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.index as usize];
        connection.closing_in_kernel = true;
        if self.direct {
            let slot = opcode::Close::new(Fixed(id.index))
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(Token::pack(TABLE, id).0);
            // SAFETY: it points to nothing.
            unsafe { self.ring.push(&slot, &mut self.counters) };
        }
        let connection = &self.connections[id.index as usize];
        let entry = opcode::Close::new(Fd(connection.fd)).build();
        // SAFETY: it points to nothing; the table gives the descriptor up with it.
        unsafe { self.push(entry, CLOSE, id) };
    }

    /// Whether closing has nothing to wait for: the kernel holds nothing of the connection, and what
    /// is queued ahead of the close needs no memory that its end sets free.
    pub(super) fn may_close_silently(&self, id: ConnectionId) -> bool {
        // With a table of its own the ring reads the descriptor from the place when it takes the entry;
        // with a polling thread nobody knows when that is.
        !self.direct
            && self.wishes.polling.is_none()
            && !self.lazy.is_queued(id)
            && self.connections[id.index as usize].is_quiet()
    }

    /// Closes without a completion: the descriptor goes in the next call, whatever the answer
    /// (close(2) frees it even when it fails), and the place is free at once.
    pub(super) fn close_silently(&mut self, id: ConnectionId) {
        let fd = self.give_up_place(id);
        self.submit_silent_close(fd);
    }

    /// Frees the place of a connection of which the kernel holds nothing, and leaves its descriptor to the caller.
    pub(super) fn give_up_place(&mut self, id: ConnectionId) -> RawFd {
        let connection = &mut self.connections[id.index as usize];
        let fd = connection.fd;
        connection.vacate();
        self.closed.push_back(id);
        fd
    }

    /// Closes a descriptor that the table has given up.
    pub(super) fn submit_silent_close(&mut self, fd: RawFd) {
        let entry = silent_close(fd);
        // SAFETY: it points to nothing.
        unsafe { self.ring.push(&entry, &mut self.counters) };
    }

    /// Arms the receive whose bytes were told last, unless nobody wants more.
    #[inline]
    pub(super) fn rearm_last(&mut self) {
        if let Some(id) = self.rearm.take() {
            self.rearm(id);
        }
    }

    fn rearm(&mut self, id: ConnectionId) {
        let connection = &self.connections[id.index as usize];
        if connection.generation != id.generation
            || connection.state != State::Open
            || !connection.wants_bytes
            || connection.receiving != Arm::Off
        {
            return;
        }
        self.counters.rearms += 1;
        // Without a sign that more is there, polling first saves a receive that finds nothing.
        let poll_first = !connection.more_waits;
        self.arm_receive(id, poll_first);
    }

    /// Asks to cancel everything that a connection has in the kernel, except what is being
    /// cancelled already.
    pub(super) fn cancel_all(&mut self, id: ConnectionId) {
        let Connection {
            receiving,
            sending,
            send_kind,
            unreleased,
            connecting,
            ..
        } = self.connections[id.index as usize];
        if receiving == Arm::Armed {
            self.connections[id.index as usize].receiving = Arm::Cancelling;
            self.submit_cancel(id, RECEIVE);
        }
        if sending && unreleased.is_none() {
            self.submit_cancel(id, send_kind);
        }
        match connecting {
            Connecting::No => {}
            Connecting::InKernel => self.submit_cancel(id, CONNECT),
            Connecting::Delayed => self.submit_cancel(id, CONNECT_DELAY),
        }
    }

    /// Asks to cancel one operation. By its token and not by descriptor: the kernel finds a token
    /// in a hash table, but for a descriptor it walks all operations of the ring.
    pub(super) fn submit_cancel(&mut self, id: ConnectionId, kind: u8) {
        self.push_cancel(
            CancelBuilder::user_data(Token::pack(kind, id).0),
            Token::pack(CANCEL, id),
        );
    }

    pub(super) fn submit_accept_cancel(&mut self) {
        let target = CancelBuilder::user_data(Token::pack(ACCEPT, NOBODY).0);
        self.push_cancel(target, Token::pack(CANCEL_ACCEPT, NOBODY));
    }

    pub(super) fn submit_cancel_everything(&mut self) {
        self.push_cancel(
            CancelBuilder::any().all(),
            Token::pack(CANCEL_EVERYTHING, NOBODY),
        );
    }

    fn push_cancel(&mut self, target: CancelBuilder, token: Token) {
        // Success is seen by the final completion of what was cancelled; only a miss reports.
        let entry = opcode::AsyncCancel2::new(target)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: a cancellation points to nothing.
        unsafe {
            self.ring
                .push(&entry.user_data(token.0), &mut self.counters)
        };
    }
}

/// The entry of a close that completes only if it fails: close(2) frees the descriptor even then.
pub(super) fn silent_close(fd: RawFd) -> squeue::Entry {
    opcode::Close::new(Fd(fd))
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(Token::pack(CLOSE_SILENTLY, NOBODY).0)
}

/// The entry of one part of a send.
#[inline]
fn send_entry(fd: Fd, part: Part, zero_copy: bool) -> squeue::Entry {
    match (part, zero_copy) {
        (Part::Plain(from, len), false) => opcode::Send::new(fd, from, len as u32)
            .flags(SEND_FLAGS)
            .build(),
        (Part::Gathered(header, _), false) => opcode::SendMsg::new(fd, header)
            .flags(SEND_FLAGS as u32)
            .build(),
        (Part::Plain(from, len), true) => opcode::SendZc::new(fd, from, len as u32)
            .flags(SEND_FLAGS)
            .zc_flags(SEND_ZC_REPORT_USAGE)
            .build(),
        (Part::Gathered(header, _), true) => opcode::SendMsgZc::new(fd, header)
            .flags(SEND_FLAGS as u32)
            .ioprio(SEND_ZC_REPORT_USAGE)
            .build(),
    }
}

/// The most that one send operation of this connection may carry; asked of the kernel once.
fn part_max(connection: &mut Connection, counters: &mut BackendCounters) -> usize {
    if connection.send_part_max == 0 {
        counters.system_calls += 1;
        let buffer = send_buffer_bytes(connection.fd);
        connection.send_part_max = buffer
            .saturating_mul(ROUND_BUFFERS)
            .clamp(ROUND_BYTES_MIN, SEND_BYTES_MAX);
    }
    connection.send_part_max
}

/// SO_SNDBUF; 0 if the kernel does not say.
fn send_buffer_bytes(fd: RawFd) -> usize {
    let (mut bytes, mut len): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the answer fits the int whose size is given; both live through the call.
    unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw mut bytes).cast(),
            &mut len,
        )
    };
    usize::try_from(bytes).unwrap_or(0)
}

/// connect(2) that does not wait: 0 or a negative errno, EAGAIN when the backlog is full.
fn connect_at_once(fd: RawFd, address: &Address) -> i32 {
    set_nonblocking(fd, 1);
    // SAFETY: the storage holds `len` valid bytes, and lives through the call.
    let answer = unsafe { libc::connect(fd, (&raw const address.storage).cast(), address.len) };
    let errno = io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO);
    set_nonblocking(fd, 0);
    if answer == 0 { 0 } else { -errno }
}

fn set_nonblocking(fd: RawFd, mut on: libc::c_int) {
    // SAFETY: FIONBIO reads one int, which lives through the call.
    unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut on) };
}
