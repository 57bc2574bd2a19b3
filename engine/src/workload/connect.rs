//! Connect, and hold: how many connections a peer takes, how fast, and whether it keeps them.

use crate::load::{Connects, LoadOut, LoadSession, LoadWorkload, Loss};
use crate::meter::Meter;
use crate::region::Region;
use crate::session::{Hints, How};
use crate::shape::Pace;
use std::sync::Arc;

/// The load's connect. Each connection is opened once: that is its operation. What the peer sends on it is
/// counted and of no interest.
#[derive(Clone, Copy, Debug)]
pub struct Connect;

impl LoadWorkload for Connect {
    type Slot = ();
    type Session = ConnectSession;
    const CONNECTS: Connects = Connects::Once;
    const OWES: bool = true;

    fn pace(&self) -> Pace {
        Pace::Closed
    }

    fn slot(&self, _: u32, _: &Arc<Region>) {}

    fn session(&self) -> ConnectSession {
        ConnectSession
    }

    fn hints(&self) -> Hints {
        Hints {
            receive_bytes: 1,
            bulk: false,
            brief: false,
        }
    }

    fn region(&self) -> Region {
        // Nothing is ever sent from it.
        Region::new(vec![0])
    }
}

/// One connection that is held.
#[derive(Debug)]
pub struct ConnectSession;

impl LoadSession<()> for ConnectSession {
    fn connected<O: LoadOut>(&mut self, (): &mut (), out: &mut O) {
        let (began, now_ns) = (out.began(), out.now_ns());
        out.meter()
            .operation(began.intended_ns, began.started_ns, now_ns);
        out.ready();
    }

    fn opened<O: LoadOut>(&mut self, (): &mut (), _: &mut O) {}

    fn received<O: LoadOut>(&mut self, (): &mut (), _: &mut [u8], _: &mut O) {}

    fn awaits_sent(&self) -> bool {
        false
    }

    /// It is this connection's turn to be closed.
    fn timer<O: LoadOut>(&mut self, (): &mut (), out: &mut O) {
        out.end(crate::load::Outcome::Planned(How::Fin));
    }

    fn waiting_since_ns(&self, (): &()) -> Option<u64> {
        None
    }

    fn fail(&mut self, (): &mut (), _: &Loss, _: u64, _: &mut Meter) -> u64 {
        0
    }

    fn abandon(&mut self, (): &mut (), _: u64, _: &mut Meter) -> u64 {
        0
    }
}
