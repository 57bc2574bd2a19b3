//! The echo role: sends back exactly what it receives, in place.

use super::ServeWorkload;
use crate::region::Region;
use crate::session::{Hints, How, Out, Session};

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
            brief: false,
        }
    }

    fn region(&self) -> Region {
        Region::new(Vec::new())
    }
}

impl Session for EchoServer {
    fn received<O: Out>(&mut self, bytes: &mut [u8], out: &mut O) {
        out.echo(0..bytes.len() as u32);
    }

    fn awaits_sent(&self) -> bool {
        false
    }

    fn peer_finished<O: Out>(&mut self, out: &mut O) {
        out.close(How::Fin);
    }
}
