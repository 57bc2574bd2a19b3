//! Ranks: processes that something else starts (Slurm, Kubernetes, MPI, a shell loop), and that join the conductor over TCP.
//!
//! ```text
//! rank       -> conductor: join (rank, nonce)
//! conductor  -> rank:      challenge (nonce)
//! rank       -> conductor: proof (proof, version)
//! conductor  -> rank:      welcome (proof) | refused | taken (it tries again)
//! conductor  -> rank:      wait ... round              every WAIT_EVERY while others are missing
//! conductor <-> agent:     what every agent says (crate::protocol), until the round is over
//! conductor  -> rank:      over                        to a rank that has joined again, after the last round
//! ```
//!
//! A rank is a launcher, as `ssh b` is one: for each round it starts a fresh agent, whose stdin and stdout are the connection,
//! and joins again when that has ended. Both prove to each other that they know the [`Token`], which is not sent; what
//! they say afterwards is neither hidden nor sealed.

mod join;
mod line;
mod listener;
mod rank;
mod token;

pub use join::{Joining, Leave};
pub use listener::RankListener;
pub(crate) use listener::{Started, Stay};
pub use rank::{RANK_VARIABLES, rank_from};
pub use token::{TOKEN_VARIABLE, Token};

use serde::{Deserialize, Serialize};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::TcpStream;
use std::time::Duration;
use token::{Nonce, Proof};

/// Until a rank is known it has this long for all it has to say.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);
/// How often a rank that waits hears that the conductor is there.
const WAIT_EVERY: Duration = Duration::from_secs(10);
/// A rank that hears nothing for so long has no conductor any more.
const WAIT_DEADLINE: Duration = Duration::from_secs(60);

/// What a rank says before it is an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum FromRank {
    /// `process` is the same each time that a process joins, and of no other.
    Join {
        rank: u32,
        process: Nonce,
        nonce: Nonce,
    },
    Proof {
        proof: Proof,
        version: String,
    },
}

/// What the conductor says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum FromListener {
    Challenge {
        nonce: Nonce,
    },
    /// With what shows that the conductor knows the token too. Nobody else gets to hear it: it would be something to try
    /// tokens on.
    Welcome {
        proof: Proof,
    },
    /// It may not take part; `why` names the cure.
    Refused {
        why: String,
    },
    /// Its rank is another's as yet, who may be gone without a word; `why` says whose.
    Taken {
        why: String,
    },
    Wait,
    /// What follows is for a fresh agent.
    Round,
    Over,
}

/// Small messages go at once, and an end that is silent because its machine is gone is noticed within a minute: by three
/// probes, 10 s apart, after 30 s, and where data is on its way, which no probe is sent beside, by a time-out of its own.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    // There the system has one set of times for all sockets.
    #[cfg(target_os = "openbsd")]
    let keepalive = TcpKeepalive::new();
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(50)))?;
    socket.set_tcp_keepalive(&keepalive)
}
