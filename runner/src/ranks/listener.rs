//! The conductor's end: where ranks join, and from where their agents are taken.

use super::line::{TimedLines, without_deadline};
use super::token::{Handshake, Nonce, Prover, Token, nonce};
use super::{FromListener, FromRank, GREETING_DEADLINE, WAIT_EVERY, prepare};
use crate::build_info::VERSION;
use crate::cancel::Cancel;
use crate::error::{ExitClass, Failure};
use crate::lines::write_line;
use engine::endpoint::Endpoint;
use report::foreign::shown;
use report::units::{counted, human_duration_ns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// How often it is looked whether the user wants to end, and whether a rank that waits has gone.
const LOOK: Duration = Duration::from_millis(100);
/// Whoever is not known yet, beyond the ranks that are awaited: where more come, the one that has been here longest is sent
/// away. A rank needs no time to say who it is.
const STRANGERS_MAX: usize = 64;
/// A rank joins again as soon as its agent has ended, and hears then that it was the last round.
const FAREWELL: Duration = Duration::from_secs(2);
/// Ranks that were all there once, and whose agents have ended, come back at once: who does not is lost.
const COME_BACK: Duration = Duration::from_secs(60);
/// Refusals of one address that are told, and addresses of which they are.
const REFUSALS_TOLD: u32 = 10;
const REFUSED_MAX: usize = 100;

/// Where ranks join. Dropped, it lets them go.
pub struct RankListener {
    shared: Arc<Shared>,
    place: String,
    timeout: Duration,
    /// Dropped, it wakes the acceptor, and ends it.
    wake: Option<UnixStream>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the acceptor, those who greet, and the conductor share.
struct Shared {
    token: Token,
    ranks: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<u32, Waiting>,
    /// Ranks whose agents are in a round.
    in_round: BTreeSet<u32>,
    /// Ranks whose agents were in a round, and that did not join again yet.
    away: BTreeSet<u32>,
    /// Which process each rank was last.
    known: BTreeMap<u32, Nonce>,
    /// There is no further round.
    is_closing: bool,
    /// Who is being greeted, by number, the oldest first.
    strangers: BTreeMap<u64, TcpStream>,
    strangers_so_far: u64,
    news: Vec<String>,
    refused: BTreeMap<IpAddr, u32>,
    invited: bool,
    /// All of them have been here.
    was_full: bool,
}

/// A rank that has joined and has no agent yet.
struct Waiting {
    stream: TcpStream,
    from: IpAddr,
}

/// A rank whose agent begins.
pub(crate) struct Started {
    pub stream: TcpStream,
    /// Where it joined from.
    pub from: IpAddr,
    /// To be kept as long as the agent is in the round.
    pub stay: Stay,
}

/// As long as it is kept, no other process can have the rank.
pub(crate) struct Stay {
    shared: Arc<Shared>,
    rank: u32,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.shared.state().in_round.remove(&self.rank);
    }
}

impl RankListener {
    /// Opens at `place` for so many ranks, which are awaited for `timeout` before the first round, and for a minute at most
    /// before the others.
    ///
    /// # Errors
    /// A place where this process cannot listen.
    pub fn open(
        place: &Endpoint,
        token: Token,
        ranks: u32,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let Endpoint::Tcp { host, port } = place else {
            return Err(Failure::usage(format!(
                "--join {place}: ranks join over TCP; write tcp://HOST:PORT"
            )));
        };
        let unheard = |error: io::Error| {
            Failure::machine(format!(
                "listen for ranks at {place}: {error}; name an address of this host (0.0.0.0 for all) and a free port"
            ))
        };
        let listener = TcpListener::bind((host.as_str(), *port)).map_err(unheard)?;
        listener.set_nonblocking(true).map_err(unheard)?;
        let place = format!("tcp://{}", listener.local_addr().map_err(unheard)?);
        let (wake, heard) = UnixStream::pair().map_err(unheard)?;
        let shared = Arc::new(Shared {
            token,
            ranks,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let acceptor = Builder::new()
            .name("ranks".to_owned())
            .spawn(move || accept_loop(&listener, &heard, &own))
            .map_err(unheard)?;
        Ok(Self {
            shared,
            place,
            timeout,
            wake: Some(wake),
            acceptor: Some(acceptor),
        })
    }

    /// Where it is, with the port that the kernel chose where none was named.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Waits until ranks 0 to `ranks` - 1 have joined, and tells who does. In a later round not for as long.
    ///
    /// # Errors
    /// Who is missing when the timeout is over, or that the user wants to end.
    pub(crate) fn gather(
        &self,
        ranks: u32,
        tell: &mut dyn FnMut(&str),
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let timeout = match self.shared.state().was_full {
            true => self.timeout.min(COME_BACK),
            false => self.timeout,
        };
        let deadline = Instant::now() + timeout;
        loop {
            let mut state = self.shared.state();
            state.remove_gone();
            let missing: Vec<u32> = (0..ranks)
                .filter(|rank| !state.waiting.contains_key(rank))
                .collect();
            if !missing.is_empty() && !state.invited {
                state.invited = true;
                tell(&format!(
                    "{} may join at {}: linerate agent --join tcp://HOST:PORT --rank N",
                    counted(self.shared.ranks.into(), "rank"),
                    self.place
                ));
            }
            state.was_full |= missing.is_empty() && ranks == self.shared.ranks;
            let news = std::mem::take(&mut state.news);
            // Who writes may be held up, and whoever joins meanwhile is not to wait for that.
            drop(state);
            news.iter().for_each(|news| tell(news));
            if missing.is_empty() {
                return Ok(());
            }
            if cancel.is_raised() {
                return Err(Failure {
                    class: ExitClass::Interrupted,
                    text: format!("interrupted while {} had not joined", names(&missing)),
                });
            }
            if Instant::now() >= deadline {
                return Err(self.not_there(&missing, timeout));
            }
            drop(self.shared.wait(self.shared.state(), LOOK));
        }
    }

    fn not_there(&self, missing: &[u32], timeout: Duration) -> Failure {
        let (ranks, place) = (self.shared.ranks, &self.place);
        let waited = human_duration_ns(timeout.as_nanos() as u64);
        let who = names(missing);
        Failure::peer(match self.shared.state().was_full {
            true => format!(
                "{who} of {ranks} did not come back to {place} within {waited} after the round before: look at what they say \
                 where they were started"
            ),
            false => format!(
                "{who} of {ranks} had not joined at {place} after {waited}: look at what they say where they were started, \
                 whether they reach this address, and whether each has a rank of its own; --join-timeout waits longer"
            ),
        })
    }

    /// Takes the connection of a rank that has joined, for its agent.
    ///
    /// # Errors
    /// It has gone again.
    pub(crate) fn start(&self, rank: u32) -> Result<Started, Failure> {
        let mut state = self.shared.state();
        let gone = |why: String| {
            Failure::peer(format!(
                "rank {rank} had joined and left before the round began{why}; look at what it says where it was started"
            ))
        };
        let waiting = state.waiting.remove(&rank);
        let Waiting { stream, from } = waiting.ok_or_else(|| gone(String::new()))?;
        write_line(&mut &stream, &FromListener::Round)
            .and_then(|()| without_deadline(&stream))
            .map_err(|error| gone(format!(" ({error})")))?;
        state.away.insert(rank);
        state.in_round.insert(rank);
        let stay = Stay {
            shared: Arc::clone(&self.shared),
            rank,
        };
        Ok(Started { stream, from, stay })
    }
}

/// Lets everybody go: who waits, and who joins again after the last round.
impl Drop for RankListener {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closing = true;
        for (_, waiting) in std::mem::take(&mut state.waiting) {
            // Who is gone need not be told.
            let _ = write_line(&mut &waiting.stream, &FromListener::Over);
        }
        let deadline = Instant::now() + FAREWELL;
        while !state.away.is_empty() && Instant::now() < deadline {
            state = self.shared.wait(state, LOOK);
        }
        drop(state);
        self.wake = None;
        if let Some(acceptor) = self.acceptor.take() {
            // It only ends; what it held is closed.
            let _ = acceptor.join();
        }
    }
}

/// `rank 3`, `ranks 0, 2 and 5`, of very many the first.
fn names(ranks: &[u32]) -> String {
    const SHOWN: usize = 16;
    let mut shown: Vec<String> = ranks.iter().take(SHOWN).map(u32::to_string).collect();
    if ranks.len() > SHOWN {
        shown.push(format!("{} more", ranks.len() - SHOWN));
    }
    match shown.split_last() {
        Some((last, [])) => format!("rank {last}"),
        Some((last, others)) => format!("ranks {} and {last}", others.join(", ")),
        None => "no rank".to_owned(),
    }
}

// ---- accepting --------------------------------------------------------------------------

/// Lets ranks in until the other end of `wake` is gone.
fn accept_loop(listener: &TcpListener, wake: &UnixStream, shared: &Arc<Shared>) {
    let mut reminder = Instant::now() + WAIT_EVERY;
    loop {
        let mut watched = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(wake, PollFlags::IN),
        ];
        let left = reminder.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        // An interrupted call, like one that timed out, has nothing to say.
        let _ = poll(&mut watched, Some(&timeout));
        if !watched[1].revents().is_empty() {
            return;
        }
        if Instant::now() >= reminder {
            reminder = Instant::now() + WAIT_EVERY;
            shared.state().remind();
        }
        match listener.accept() {
            Ok((stream, from)) => receive(stream, from.ip().to_canonical(), shared),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors, most likely: it stays so for a while.
            Err(_) => sleep(LOOK),
        }
    }
}

/// Greets somebody, on a thread of its own: who is slow keeps nobody waiting.
fn receive(stream: TcpStream, from: IpAddr, shared: &Arc<Shared>) {
    let Ok(known_as) = stream.try_clone() else {
        return;
    };
    let number = shared.state().add_stranger(known_as, shared.ranks);
    let own = Arc::clone(shared);
    let greet = move || {
        let refused = own.admit(stream, from).err();
        let mut state = own.state();
        state.strangers.remove(&number);
        if let Some(why) = refused.filter(|why| !why.is_empty()) {
            state.add_refusal(from, &why);
        }
    };
    // Where no thread can be started, whoever it was comes again.
    let started = Builder::new().name("greet".to_owned()).spawn(greet);
    if started.is_err() {
        shared.state().strangers.remove(&number);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, timeout);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Lets in who knows the token and has a rank that is free.
    ///
    /// # Errors
    /// Why not; nothing where there is nothing to be said of it: somebody who only looked whether the port is open.
    fn admit(&self, stream: TcpStream, from: IpAddr) -> Result<(), String> {
        // On some systems it would not wait, as the listener does not.
        let ready = stream
            .set_nonblocking(false)
            .and_then(|()| prepare(&stream));
        ready.map_err(|error| error.to_string())?;
        let mut lines = TimedLines::new(&stream, GREETING_DEADLINE);
        let Hail { handshake, version } = match self.recognise(&mut lines) {
            Ok(known) => known,
            Err(Stranger::Silent) => return Err(String::new()),
            Err(Stranger::Said(why)) => return Err(why),
            Err(Stranger::Unproven) => {
                let why = "its token is another than the conductor's".to_owned();
                let _ = lines.say(&FromListener::Refused { why: why.clone() });
                return Err(why);
            }
        };
        let Handshake { rank, process, .. } = handshake;
        if let Some(why) = self.obstacle(rank, &version) {
            let _ = lines.say(&FromListener::Refused { why: why.clone() });
            return Err(why);
        }
        let mut state = self.state();
        if let Some(why) = state.taken(rank, process) {
            let _ = lines.say(&FromListener::Taken { why: why.clone() });
            return Err(why);
        }
        lines
            .say(&FromListener::Welcome {
                proof: self.token.proof(Prover::Conductor, &handshake),
            })
            .map_err(|error| error.to_string())?;
        state.away.remove(&rank);
        let came_back = state.known.insert(rank, process) == Some(process);
        if state.is_closing {
            let _ = lines.say(&FromListener::Over);
        } else {
            state.waiting.insert(rank, Waiting { stream, from });
            let (joined, ranks) = (state.waiting.len(), self.ranks);
            if !came_back {
                state.news.push(format!(
                    "rank {rank} has joined from {from} ({joined} of {ranks})"
                ));
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Who it is, once it has proven that it knows the token.
    fn recognise(&self, lines: &mut TimedLines<'_>) -> Result<Hail, Stranger> {
        let FromRank::Join {
            rank,
            process,
            nonce: of_rank,
        } = lines.hear()?
        else {
            return Err(Stranger::Said("it began with a proof".to_owned()));
        };
        let of_conductor = nonce().map_err(|failure| Stranger::Said(failure.text))?;
        let handshake = Handshake {
            rank,
            process,
            of_rank,
            of_conductor,
        };
        lines.say(&FromListener::Challenge {
            nonce: of_conductor,
        })?;
        let FromRank::Proof { proof, version } = lines.hear()? else {
            return Err(Stranger::Said("it joined twice".to_owned()));
        };
        match self.token.is_proven(Prover::Rank, &handshake, &proof) {
            true => Ok(Hail { handshake, version }),
            false => Err(Stranger::Unproven),
        }
    }

    /// Why such a rank can never take part.
    fn obstacle(&self, rank: u32, version: &str) -> Option<String> {
        if version != VERSION {
            return Some(format!(
                "it is linerate {}, and the conductor is {VERSION}: install the same version on all hosts",
                shown(version)
            ));
        }
        (rank >= self.ranks).then(|| {
            format!(
                "it says to be rank {rank}, and with --ranks {} they are 0 to {}",
                self.ranks,
                self.ranks - 1
            )
        })
    }
}

/// What a rank says of itself.
struct Hail {
    handshake: Handshake,
    version: String,
}

/// Somebody who is no rank.
enum Stranger {
    /// It said nothing.
    Silent,
    Said(String),
    /// It does not know the token.
    Unproven,
}

impl From<io::Error> for Stranger {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Self::Silent,
            io::ErrorKind::TimedOut => Self::Said(format!(
                "it did not say in {} s who it is",
                GREETING_DEADLINE.as_secs()
            )),
            _ => Self::Said(shown(&error.to_string()).into_owned()),
        }
    }
}

impl State {
    /// Forgets who has closed its connection, and says so.
    fn remove_gone(&mut self) {
        let news = &mut self.news;
        self.waiting.retain(|rank, waiting| {
            let is_there = waiting.is_there();
            if !is_there {
                news.push(format!("rank {rank}, from {}, has left", waiting.from));
            }
            is_there
        });
    }

    /// Why a process cannot have a rank now.
    fn taken(&mut self, rank: u32, process: Nonce) -> Option<String> {
        self.remove_gone();
        let is_known = self.known.get(&rank) == Some(&process);
        let whose = match self.waiting.get(&rank) {
            Some(other) => format!("has joined already, from {}", other.from),
            None if self.in_round.contains(&rank) && !is_known => "is in a round".to_owned(),
            None => return None,
        };
        Some(format!(
            "rank {rank} {whose}: give each process a rank of its own"
        ))
    }

    /// Lets somebody in to be greeted; who has been here longest goes where there are too many.
    fn add_stranger(&mut self, stream: TcpStream, ranks: u32) -> u64 {
        if self.strangers.len() >= STRANGERS_MAX + ranks as usize
            && let Some((_, oldest)) = self.strangers.pop_first()
        {
            // Its greeting ends with it.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        self.strangers_so_far += 1;
        self.strangers.insert(self.strangers_so_far, stream);
        self.strangers_so_far
    }

    /// Tells those who wait that the conductor is there.
    fn remind(&mut self) {
        self.waiting
            .retain(|_, waiting| write_line(&mut &waiting.stream, &FromListener::Wait).is_ok());
    }

    /// Tells of somebody who was refused, unless that address has been told of often enough.
    fn add_refusal(&mut self, from: IpAddr, why: &str) {
        if self.refused.len() >= REFUSED_MAX && !self.refused.contains_key(&from) {
            return;
        }
        let so_far = self.refused.entry(from).or_default();
        *so_far += 1;
        if *so_far <= REFUSALS_TOLD {
            let more = match *so_far == REFUSALS_TOLD {
                true => "; more of this address is not told",
                false => "",
            };
            self.news
                .push(format!("refused who came from {from}: {why}{more}"));
        }
    }
}

impl Waiting {
    /// A rank that waits says nothing: what there is to be read is its end.
    fn is_there(&self) -> bool {
        let looked = self
            .stream
            .set_nonblocking(true)
            .and_then(|()| self.stream.peek(&mut [0]));
        let is_open = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        is_open && self.stream.set_nonblocking(false).is_ok()
    }
}

#[cfg(test)]
mod tests;
