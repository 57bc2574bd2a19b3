//! The outbox against a backend that only lends buffers and counts what comes back.

use super::*;
use crate::pattern;
use crate::proactor::Proactor;
use crate::proactor::{BackendCounters, ConnectionId, Event, Sending, Settings};
use std::io;
use std::os::fd::{OwnedFd, RawFd};

const BUFFER_BYTES: usize = 64 * 1024;

/// Two buffers; asks nothing of a kernel.
struct Till {
    memory: Vec<u8>,
    given_back: Vec<u32>,
    counters: BackendCounters,
}

impl Till {
    fn with_noise() -> Self {
        let memory = (0..2 * BUFFER_BYTES).map(|i| (i * 7 + i / 251) as u8);
        Self {
            memory: memory.collect(),
            given_back: Vec::new(),
            counters: BackendCounters::default(),
        }
    }
}

/// What only a kernel could answer is not asked by an outbox.
impl Proactor for Till {
    const NONBLOCKING: bool = true;

    fn new(_: &Settings) -> io::Result<Self> {
        Ok(Self::with_noise())
    }
    fn features(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn accept_many(&mut self, _: RawFd) {
        unreachable!()
    }
    fn accept_stop(&mut self) {
        unreachable!()
    }
    fn open(&mut self, _: ConnectionId, _: OwnedFd) -> io::Result<()> {
        unreachable!()
    }
    fn descriptor(&self, _: ConnectionId) -> RawFd {
        unreachable!()
    }
    fn connect(&mut self, _: ConnectionId, _: &socket2::SockAddr) {
        unreachable!()
    }
    fn receive_many(&mut self, _: ConnectionId) {
        unreachable!()
    }
    fn receive_pause(&mut self, _: ConnectionId) {
        unreachable!()
    }
    fn receive_resume(&mut self, _: ConnectionId) {
        unreachable!()
    }
    unsafe fn send(&mut self, _: ConnectionId, _: &[Piece]) -> Sending {
        unreachable!()
    }
    fn shutdown_write(&mut self, _: ConnectionId) {
        unreachable!()
    }
    fn close(&mut self, _: ConnectionId, _: How) {
        unreachable!()
    }
    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        let start = lease.buffer as usize * BUFFER_BYTES + lease.offset as usize;
        &mut self.memory[start..start + lease.len as usize]
    }
    fn give_back(&mut self, lease: Lease) {
        self.given_back.push(lease.buffer);
    }
    fn buffers_free(&self) -> u32 {
        unreachable!()
    }
    fn wait(&mut self, _: Option<u64>) -> io::Result<()> {
        unreachable!()
    }
    fn next(&mut self) -> Option<Event> {
        unreachable!()
    }
    fn counters(&self) -> &BackendCounters {
        &self.counters
    }
    fn counters_mut(&mut self) -> &mut BackendCounters {
        &mut self.counters
    }
}

/// An outbox and what surrounds it.
struct Desk {
    outbox: Outbox,
    lender: Till,
    pool: BlockPool,
    region: Region,
}

impl Desk {
    fn new() -> Self {
        Self {
            outbox: Outbox::default(),
            lender: Till::with_noise(),
            pool: BlockPool::default(),
            region: pattern::region(1_000),
        }
    }

    fn settle(&mut self, lease: Lease, supply: Supply) {
        self.outbox
            .settle(lease, supply, &mut self.lender, &mut self.pool);
    }

    /// Sends everything; returns the bytes.
    fn drain(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        while !self.outbox.is_empty() {
            let mut pieces = [Piece {
                ptr: std::ptr::null(),
                len: 0,
            }; PIECES_MAX];
            let lender = &mut self.lender;
            let count = match self.outbox.gather_one(&self.region, lender) {
                Some(piece) => {
                    pieces[0] = piece;
                    1
                }
                None => self.outbox.gather(&mut pieces, &self.region, lender),
            };
            for piece in &pieces[..count] {
                // SAFETY: the outbox keeps what it gathered alive until `complete`.
                sent.extend(unsafe { std::slice::from_raw_parts(piece.ptr, piece.len) });
            }
            self.outbox.complete(lender, &mut self.pool);
        }
        sent
    }
}

fn lease(buffer: u32, len: u32) -> Lease {
    Lease {
        buffer,
        offset: 16,
        len,
    }
}

#[test]
fn a_lease_that_is_not_echoed_goes_back_at_once() {
    let mut desk = Desk::new();
    desk.outbox.push_shared(0..10);
    desk.settle(lease(1, 100), Supply::Ample);
    assert_eq!(desk.lender.given_back, [1]);
    assert_eq!(desk.drain().len(), 10);
}

#[test]
fn a_lease_is_kept_for_its_last_echo_whatever_is_queued_behind() {
    for supply in [Supply::Ample, Supply::Critical] {
        let mut desk = Desk::new();
        let lease = lease(0, 50_000);
        let received = Proactor::bytes(&mut desk.lender, &lease).to_vec();
        let shape = LeaseShape::from(&lease);
        desk.outbox.push_shared(5..9);
        desk.outbox.push_echo(&shape, 0..20);
        desk.outbox.push_shared(100..300);
        desk.outbox.push_echo(&shape, 30..50_000);
        desk.outbox.push_shared(7..8);
        desk.settle(lease, supply);
        let kept = supply == Supply::Ample;
        assert_eq!(desk.lender.given_back.is_empty(), kept, "{supply:?}");
        assert_eq!(desk.outbox.held_bytes(), 20 + 49_970);
        let mut expected = desk.region.slice(5..9).to_vec();
        expected.extend(&received[..20]);
        expected.extend(desk.region.slice(100..300));
        expected.extend(&received[30..]);
        expected.extend(desk.region.slice(7..8));
        assert!(desk.drain() == expected, "{supply:?}");
        assert_eq!(desk.lender.given_back, [0], "once, {supply:?}");
        assert_eq!(desk.outbox.held_bytes(), 0);
    }
}

#[test]
fn above_its_share_of_leases_a_connection_copies() {
    let mut desk = Desk::new();
    for number in 0..LEASES_MAX + 2 {
        let lease = lease(number % 2, 10);
        desk.outbox.push_echo(&LeaseShape::from(&lease), 0..10);
        desk.settle(lease, Supply::Ample);
    }
    assert_eq!(desk.lender.given_back.len(), 2, "two were copied");
    assert_eq!(desk.drain().len(), 10 * (LEASES_MAX as usize + 2));
    assert_eq!(desk.lender.given_back.len(), LEASES_MAX as usize + 2);
}

#[test]
fn only_a_lone_request_is_proven_by_its_answer() {
    let mut desk = Desk::new();
    desk.outbox.push_request(0..4);
    assert!(desk.outbox.take_proven_by_answer());
    assert!(!desk.outbox.take_proven_by_answer(), "asking takes it away");
    let lease = lease(0, 10);
    desk.outbox.push_echo(&LeaseShape::from(&lease), 0..10);
    desk.settle(lease, Supply::Ample);
    assert!(!desk.outbox.take_proven_by_answer());
    assert_eq!(desk.drain().len(), 14);
}

#[test]
fn what_a_session_writes_itself_goes_out_in_its_place() {
    let mut desk = Desk::new();
    desk.outbox.push_shared(0..3);
    desk.outbox
        .space(4, &mut desk.pool)
        .copy_from_slice(b"abcd");
    desk.outbox.space(2, &mut desk.pool)[1] = b'z';
    let lease = lease(1, 10);
    let echoed = Proactor::bytes(&mut desk.lender, &lease).to_vec();
    desk.outbox.push_echo(&LeaseShape::from(&lease), 0..10);
    desk.settle(lease, Supply::Ample);
    desk.outbox.space(SPACE_MAX, &mut desk.pool).fill(7);
    assert_eq!(desk.outbox.held_bytes(), 6 + 10 + SPACE_MAX as u64);
    let mut expected = desk.region.slice(0..3).to_vec();
    expected.extend(b"abcd\0z");
    expected.extend(echoed);
    expected.extend([7; SPACE_MAX]);
    assert!(desk.drain() == expected);
    assert_eq!(desk.outbox.held_bytes(), 0);
}

#[test]
fn a_send_that_took_a_part_goes_on_where_it_ended() {
    let mut desk = Desk::new();
    desk.outbox.push_shared(5..20);
    desk.outbox
        .space(4, &mut desk.pool)
        .copy_from_slice(b"abcd");
    let lease = lease(0, 10);
    let echoed = Proactor::bytes(&mut desk.lender, &lease).to_vec();
    desk.outbox.push_echo(&LeaseShape::from(&lease), 0..10);
    desk.settle(lease, Supply::Ample);
    let mut expected = desk.region.slice(5..20).to_vec();
    expected.extend(b"abcd");
    expected.extend(echoed);
    for taken in [10, 5, 2, 0, 2, 3] {
        let mut pieces = [Piece {
            ptr: std::ptr::null(),
            len: 0,
        }; PIECES_MAX];
        desk.outbox
            .gather(&mut pieces, &desk.region, &mut desk.lender);
        desk.outbox.advance(taken, &mut desk.lender, &mut desk.pool);
        expected.drain(..taken);
    }
    assert_eq!(desk.outbox.held_bytes(), 7);
    // The buffer is to be used again.
    desk.outbox.detach(&mut desk.lender, &mut desk.pool);
    assert_eq!(desk.lender.given_back, [0]);
    desk.lender.memory.fill(0);
    assert!(desk.drain() == expected);
}

#[test]
fn above_the_total_of_a_process_nobody_may_keep_anything_and_who_leaves_frees_it() {
    static BUDGET: Budget = Budget::new(3 * BLOCK_BYTES as u64);
    let mut desk = Desk::new();
    desk.pool = BlockPool::within(&BUDGET);
    let mut others = BlockPool::within(&BUDGET);
    assert_eq!(desk.pool.pause_bytes(), Outbox::PAUSE_BYTES);
    let lease = lease(0, 3 * BLOCK_BYTES as u32);
    desk.outbox
        .push_echo(&LeaseShape::from(&lease), 0..lease.len);
    desk.settle(lease, Supply::Critical);
    assert_eq!(desk.pool.pause_bytes(), 0, "three blocks are held");
    assert_eq!(others.pause_bytes(), 0, "by whatever worker");
    desk.outbox.clear(&mut desk.lender, &mut desk.pool);
    assert_eq!(others.pause_bytes(), Outbox::PAUSE_BYTES);
    let block = others.take();
    others.put(block);
}
