//! The echo role: sends back exactly what it receives, in place.

use super::ServeWorkload;
use crate::proactor::How;
use crate::session::{Boundary, Hints, Out, Session};

/// Sends back what it receives; closes on the peer's FIN once everything owed was sent.
#[derive(Clone, Copy, Debug)]
pub struct EchoServer;

impl ServeWorkload for EchoServer {
    type Session = Self;

    fn session(&self) -> Self {
        Self
    }

    fn hints(&self, message_bytes: Option<u32>) -> Hints {
        Hints {
            receive_bytes: message_bytes.unwrap_or(16 * 1024),
            bulk: false,
        }
    }

    fn pattern_bytes(&self) -> u32 {
        1
    }
}

impl Session<()> for EchoServer {
    fn opened<O: Out>(&mut self, _: &mut (), _: &mut O) {}

    fn received<O: Out>(&mut self, _: &mut (), bytes: &mut [u8], _: Boundary, out: &mut O) {
        out.echo(0..bytes.len() as u32);
    }

    fn sent<O: Out>(&mut self, _: &mut (), _: &mut O) {}

    fn awaits_sent(&self) -> bool {
        false
    }

    fn peer_finished<O: Out>(&mut self, _: &mut (), out: &mut O) {
        out.close(How::Fin);
    }
}
