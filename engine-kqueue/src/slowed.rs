//! An engine that is slower by a known amount, so that tests can ask whether a comparison finds it: the
//! readiness core, and 2 us of work for everything that is received.
//!
//! It is no engine for users. Release builds do not contain it unless the feature `slowed-engine` is
//! asked for, and no list of engines shows it.

use crate::Native;
use crate::readiness::Readiness;
use engine::clock::now_ns;
use engine::driver::{Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome};
use engine::proactor::{
    BackendCounters, ConnectionId, Event, Lease, Piece, Proactor, Sending, Settings,
};
use engine::session::How;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// What everything that is received costs more: CPU time, and not a sleep, for the cost is to be found.
const EXTRA_NS: u64 = 2_000;

/// The row of `slowed` in the registry.
pub static SLOWED: SlowedDriver = SlowedDriver;

/// The readiness core with a burden.
#[derive(Debug)]
pub struct SlowedDriver;

impl Driver for SlowedDriver {
    fn name(&self) -> &'static str {
        "slowed"
    }

    fn describe(&self) -> &'static str {
        "for tests: readiness, and 2 us of work for everything that is received"
    }

    fn probe(&self) -> Probe {
        Probe::Available(vec![("extra_ns".to_owned(), EXTRA_NS.to_string())])
    }

    fn serve(&self, job: ServeJob) -> Result<ServeOutcome, EngineError> {
        engine::worker::serve::<Slowed<Readiness<Native>>>(job)
    }

    fn load(&self, job: LoadJob) -> Result<LoadOutcome, EngineError> {
        engine::worker::load::<Slowed<Readiness<Native>>>(job)
    }
}

/// A proactor that works [`EXTRA_NS`] before it delivers received bytes.
struct Slowed<P>(P);

fn work() {
    let end_ns = now_ns() + EXTRA_NS;
    while now_ns() < end_ns {
        std::hint::spin_loop();
    }
}

impl<P: Proactor> Proactor for Slowed<P> {
    const NONBLOCKING: bool = P::NONBLOCKING;

    fn new(settings: &Settings) -> io::Result<Self> {
        P::new(settings).map(Self)
    }

    fn next(&mut self) -> Option<Event> {
        let event = self.0.next();
        if matches!(event, Some(Event::Received(..))) {
            work();
        }
        event
    }

    fn features(&self) -> Vec<(String, String)> {
        let mut features = self.0.features();
        features.push(("extra_ns".to_owned(), EXTRA_NS.to_string()));
        features
    }

    fn options_granted(&self) -> Vec<(String, String)> {
        self.0.options_granted()
    }

    fn accept_many(&mut self, listener: RawFd) {
        self.0.accept_many(listener);
    }

    fn accept_stop(&mut self) {
        self.0.accept_stop();
    }

    fn open(&mut self, id: ConnectionId, socket: OwnedFd) -> io::Result<()> {
        self.0.open(id, socket)
    }

    fn descriptor(&self, id: ConnectionId) -> RawFd {
        self.0.descriptor(id)
    }

    fn connect(&mut self, id: ConnectionId, address: &socket2::SockAddr) {
        self.0.connect(id, address);
    }

    fn receive_many(&mut self, id: ConnectionId) {
        self.0.receive_many(id);
    }

    fn receive_pause(&mut self, id: ConnectionId) {
        self.0.receive_pause(id);
    }

    fn receive_resume(&mut self, id: ConnectionId) {
        self.0.receive_resume(id);
    }

    unsafe fn send(&mut self, id: ConnectionId, pieces: &[Piece]) -> Sending {
        // SAFETY: the contract is the same, and the caller keeps it.
        unsafe { self.0.send(id, pieces) }
    }

    unsafe fn send_unconfirmed(&mut self, id: ConnectionId, piece: Piece) -> Sending {
        // SAFETY: the contract is the same, and the caller keeps it.
        unsafe { self.0.send_unconfirmed(id, piece) }
    }

    fn shutdown_write(&mut self, id: ConnectionId) {
        self.0.shutdown_write(id);
    }

    fn close(&mut self, id: ConnectionId, how: How) {
        self.0.close(id, how);
    }

    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        self.0.bytes(lease)
    }

    fn give_back(&mut self, lease: Lease) {
        self.0.give_back(lease);
    }

    fn buffers_free(&self) -> u32 {
        self.0.buffers_free()
    }

    fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        self.0.wait(deadline_ns)
    }

    fn counters(&self) -> &BackendCounters {
        self.0.counters()
    }

    fn counters_mut(&mut self) -> &mut BackendCounters {
        self.0.counters_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burden_is_as_large_as_it_says() {
        let began_ns = now_ns();
        for _ in 0..1000 {
            work();
        }
        assert!(now_ns() - began_ns >= 1000 * EXTRA_NS);
    }
}
