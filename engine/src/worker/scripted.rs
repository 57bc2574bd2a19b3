//! A backend that has no kernel, for tests: what happens is what the test says.

use crate::proactor::{
    BackendCounters, ConnectionId, Event, Lease, Piece, Proactor, Sending, Settings,
};
use crate::session::How;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// Takes every byte at once, and closes at once.
pub(super) struct Scripted {
    buffer: [u8; 64],
    pub(super) leased: bool,
    pub(super) events: VecDeque<Event>,
    counters: BackendCounters,
}

impl Proactor for Scripted {
    const NONBLOCKING: bool = true;

    fn new(_: &Settings) -> io::Result<Self> {
        Ok(Self {
            buffer: [7; 64],
            leased: false,
            events: VecDeque::new(),
            counters: BackendCounters::default(),
        })
    }
    fn features(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn accept_many(&mut self, _: RawFd) {}
    fn accept_stop(&mut self) {}
    fn open(&mut self, _: ConnectionId, _: OwnedFd) -> io::Result<()> {
        Ok(())
    }
    fn descriptor(&self, _: ConnectionId) -> RawFd {
        -1
    }
    fn connect(&mut self, _: ConnectionId, _: &socket2::SockAddr) {}
    fn receive_many(&mut self, _: ConnectionId) {}
    fn receive_pause(&mut self, _: ConnectionId) {}
    fn receive_resume(&mut self, _: ConnectionId) {}
    unsafe fn send(&mut self, _: ConnectionId, pieces: &[Piece]) -> Sending {
        Sending::Done(Ok(pieces.iter().map(|piece| piece.len).sum()))
    }
    fn shutdown_write(&mut self, _: ConnectionId) {}
    fn close(&mut self, id: ConnectionId, _: How) {
        self.events.push_back(Event::Closed(id));
    }
    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        &mut self.buffer[..lease.len as usize]
    }
    fn give_back(&mut self, _: Lease) {
        assert!(std::mem::take(&mut self.leased), "given back twice");
    }
    fn buffers_free(&self) -> u32 {
        1
    }
    fn wait(&mut self, _: Option<u64>) -> io::Result<()> {
        Ok(())
    }
    fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
    fn counters(&self) -> &BackendCounters {
        &self.counters
    }
    fn counters_mut(&mut self) -> &mut BackendCounters {
        &mut self.counters
    }
}
