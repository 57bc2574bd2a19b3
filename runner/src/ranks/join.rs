//! A rank's end: joins a conductor, and starts an agent for each of its rounds.

use super::line::{TimedLines, without_deadline};
use super::token::{Handshake, Nonce, Prover, TOKEN_VARIABLE, Token, nonce};
use super::{FromListener, FromRank, GREETING_DEADLINE, WAIT_DEADLINE, prepare};
use crate::build_info::VERSION;
use crate::error::{ExitClass, Failure};
use crate::process_group;
use engine::endpoint::Endpoint;
use report::foreign::shown;
use report::units::{counted, human_duration_ns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long after a try the next one begins.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// An address that does not answer is left for the next one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A conductor that had a round for this rank, and whose port refuses for so long, has ended.
const ENDED_AFTER: Duration = Duration::from_secs(5);
/// Where it does not answer, it may be stopped or far away.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// What an agent gets to put back what it has changed, once its connection has ended.
const CLEAN_UP: Duration = Duration::from_secs(15);
/// How often the agent is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Whom a rank joins.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Where the conductor listens.
    pub place: Endpoint,
    /// Which rank it is, from 0.
    pub rank: u32,
    /// What both know.
    pub token: Token,
    /// How long it tries: the conductor may not be there yet, nor its name.
    pub timeout: Duration,
}

/// Lets a rank be told to leave, from another thread: its agent cleans up and ends.
#[derive(Clone, Debug, Default)]
pub struct Leave(Arc<Mutex<Leaving>>);

#[derive(Debug, Default)]
struct Leaving {
    is_told: bool,
    connection: Option<TcpStream>,
}

impl Leave {
    /// The connection ends now, and with it the agent's input.
    pub fn tell(&self) {
        let mut leaving = self.lock();
        leaving.is_told = true;
        if let Some(connection) = &leaving.connection {
            // One that has ended by itself is ended.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn is_told(&self) -> bool {
        self.lock().is_told
    }

    /// Whether it may still be used.
    fn hold(&self, connection: Option<TcpStream>) -> bool {
        let mut leaving = self.lock();
        leaving.connection = connection;
        !leaving.is_told
    }

    fn lock(&self) -> MutexGuard<'_, Leaving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a rank that waits comes to hear.
enum Call {
    Round,
    Over,
    /// The conductor has ended.
    Gone,
}

impl Joining {
    /// Takes part in every round until the conductor lets it go, or `leave` is told. `tell` hears what happens. How
    /// its last agent ended.
    ///
    /// # Errors
    /// A conductor that is not there, is another one, or refuses; a run that had no round for it.
    pub fn take_part(&self, leave: &Leave, tell: &dyn Fn(&str)) -> Result<ExitClass, Failure> {
        let process = nonce()?;
        let (mut rounds, mut last) = (0, None);
        let mut limit = Limit::first(self.timeout);
        loop {
            let connection = match (self.connect(process, &limit, leave, tell), last) {
                _ if leave.is_told() => return Ok(ExitClass::Interrupted),
                (Ok(connection), _) => connection,
                (Err(Absent::Gone(_)), Some(class)) => {
                    tell(&format!(
                        "the conductor at {} is not there any more, after {}",
                        self.place,
                        counted(rounds, "round")
                    ));
                    return Ok(class);
                }
                (Err(Absent::Gone(failure) | Absent::Unwelcome(failure)), _) => {
                    return Err(failure);
                }
            };
            if rounds == 0 {
                tell(&format!("rank {} has joined {}", self.rank, self.place));
            }
            match (called(&connection)?, last) {
                (Call::Round, _) => {
                    last = Some(attend(connection, leave)?);
                    rounds += 1;
                    limit = Limit::between_rounds();
                }
                (Call::Over, Some(class)) => {
                    tell(&format!(
                        "the run is over, after {}",
                        counted(rounds, "round")
                    ));
                    return Ok(class);
                }
                (Call::Over, None) => {
                    return Err(Failure::peer(format!(
                        "the run at {} ended before a round of it began; its conductor says why",
                        self.place
                    )));
                }
                (Call::Gone, None) => {
                    // It may be started again.
                    limit = Limit::first(self.timeout);
                    sleep(RETRY_AFTER);
                }
                (Call::Gone, Some(_)) => sleep(RETRY_AFTER),
            }
            leave.hold(None);
        }
    }

    /// Connects and is welcomed, within the limit.
    fn connect(
        &self,
        process: Nonce,
        limit: &Limit,
        leave: &Leave,
        tell: &dyn Fn(&str),
    ) -> Result<TcpStream, Absent> {
        let began = Instant::now();
        let mut is_told = false;
        loop {
            match self.try_once(process, limit, leave) {
                Ok(connection) => return Ok(connection),
                Err(Unwelcome::Refused(why)) => {
                    return Err(self.unwelcome(&format!("refused, for {why}")));
                }
                Err(Unwelcome::Foreign(why)) => {
                    return Err(self.unwelcome(&format!(
                        "what listens there is no conductor of linerate ({why}); check the address"
                    )));
                }
                Err(Unwelcome::Taken(why)) => {
                    if !is_told {
                        tell(&format!("{why}; trying again"));
                        is_told = true;
                    }
                    if Instant::now() + RETRY_AFTER >= limit.until {
                        return Err(self.unwelcome(&format!("refused, for {why}")));
                    }
                }
                Err(Unwelcome::Failed(error)) => {
                    if !is_told && limit.is_first {
                        let wait = human_duration_ns(self.timeout.as_nanos() as u64);
                        tell(&format!("join {}: {error}; trying for {wait}", self.place));
                        is_told = true;
                    }
                    if limit.is_over(&error) || leave.is_told() {
                        let tried = human_duration_ns(began.elapsed().as_nanos() as u64);
                        return Err(Absent::Gone(Failure::peer(format!(
                            "join {} as rank {}: {error}, tried for {tried}; is `linerate run --ranks N --join ...` \
                             running there, and reached from here",
                            self.place, self.rank
                        ))));
                    }
                }
            }
            sleep(RETRY_AFTER);
        }
    }

    fn unwelcome(&self, why: &str) -> Absent {
        Absent::Unwelcome(Failure::peer(format!(
            "join {} as rank {}: {why}",
            self.place, self.rank
        )))
    }

    fn try_once(
        &self,
        process: Nonce,
        limit: &Limit,
        leave: &Leave,
    ) -> Result<TcpStream, Unwelcome> {
        let Endpoint::Tcp { host, port } = &self.place else {
            return Err(Unwelcome::Failed(io::Error::other("ranks join over TCP")));
        };
        let mut error = io::Error::other("the name has no address");
        for address in (host.as_str(), *port).to_socket_addrs()? {
            let left = limit.until.saturating_duration_since(Instant::now());
            let timeout = CONNECT_DEADLINE.min(left).max(RETRY_AFTER);
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(connection) => {
                    prepare(&connection)?;
                    if !leave.hold(Some(connection.try_clone()?)) {
                        return Err(Unwelcome::Failed(io::ErrorKind::Interrupted.into()));
                    }
                    greet(&connection, self.rank, process, &self.token)?;
                    return Ok(connection);
                }
                Err(refused) => error = refused,
            }
        }
        Err(Unwelcome::Failed(error))
    }
}

/// Until when a rank tries to join.
struct Limit {
    /// Before the first round: the conductor may not be there yet.
    is_first: bool,
    until: Instant,
    /// Where nobody listens.
    refused_until: Instant,
}

impl Limit {
    fn first(timeout: Duration) -> Self {
        let until = Instant::now() + timeout;
        Self {
            is_first: true,
            until,
            refused_until: until,
        }
    }

    fn between_rounds() -> Self {
        let now = Instant::now();
        Self {
            is_first: false,
            until: now + SILENT_AFTER,
            refused_until: now + ENDED_AFTER,
        }
    }

    /// Whether there is no time for another try after this one.
    fn is_over(&self, error: &io::Error) -> bool {
        let until = match error.kind() {
            io::ErrorKind::ConnectionRefused => self.refused_until,
            _ => self.until,
        };
        Instant::now() + RETRY_AFTER >= until
    }
}

/// Why a rank does not join.
enum Absent {
    /// Nobody is there.
    Gone(Failure),
    /// Who is there does not want it, or is another.
    Unwelcome(Failure),
}

/// Why a try to join came to nothing.
pub(super) enum Unwelcome {
    /// It may be better the next time.
    Failed(io::Error),
    Refused(String),
    /// Another process has its rank, which may be over soon.
    Taken(String),
    /// What listens there is something else.
    Foreign(String),
}

impl From<io::Error> for Unwelcome {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Foreign(shown(&error.to_string()).into_owned()),
            _ => Self::Failed(error),
        }
    }
}

impl std::fmt::Display for Unwelcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Refused(why) | Self::Taken(why) | Self::Foreign(why) => f.write_str(why),
        }
    }
}

impl std::fmt::Debug for Unwelcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Makes both ends known to each other.
pub(super) fn greet(
    connection: &TcpStream,
    rank: u32,
    process: Nonce,
    token: &Token,
) -> Result<(), Unwelcome> {
    let of_rank = nonce().map_err(|failure| io::Error::other(failure.text))?;
    let mut lines = TimedLines::new(connection, GREETING_DEADLINE);
    lines.say(&FromRank::Join {
        rank,
        process,
        nonce: of_rank,
    })?;
    let of_conductor = match lines.hear()? {
        FromListener::Challenge { nonce } => nonce,
        _ => return Err(Unwelcome::Foreign("it spoke out of turn".to_owned())),
    };
    let handshake = Handshake {
        rank,
        process,
        of_rank,
        of_conductor,
    };
    lines.say(&FromRank::Proof {
        proof: token.proof(Prover::Rank, &handshake),
        version: VERSION.to_owned(),
    })?;
    match lines.hear()? {
        FromListener::Welcome { proof }
            if token.is_proven(Prover::Conductor, &handshake, &proof) =>
        {
            Ok(())
        }
        FromListener::Welcome { .. } => Err(Unwelcome::Refused(
            "it does not know the token itself, and is no conductor".to_owned(),
        )),
        FromListener::Taken { why } => Err(Unwelcome::Taken(shown(&why).into_owned())),
        FromListener::Refused { why } => Err(Unwelcome::Refused(shown(&why).into_owned())),
        _ => Err(Unwelcome::Foreign("it spoke out of turn".to_owned())),
    }
}

/// Waits until the conductor has a round, or none any more.
fn called(connection: &TcpStream) -> Result<Call, Failure> {
    loop {
        match TimedLines::new(connection, WAIT_DEADLINE).hear() {
            Ok(FromListener::Wait) => {}
            Ok(FromListener::Round) => return Ok(Call::Round),
            Ok(FromListener::Over) => return Ok(Call::Over),
            Ok(_) => return Ok(Call::Gone),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Failure::peer(format!(
                    "the conductor has said nothing for {} s: it hangs, was stopped, or its machine is gone",
                    WAIT_DEADLINE.as_secs()
                )));
            }
            Err(_) => return Ok(Call::Gone),
        }
    }
}

/// Starts the agent of a round, whose stdin and stdout are the connection, and awaits its end.
fn attend(connection: TcpStream, leave: &Leave) -> Result<ExitClass, Failure> {
    let unable = |error: io::Error| {
        Failure::machine(format!(
            "start the agent of this rank: {error}; look at the limits of this host (ulimit -u, ulimit -n), and whether \
             linerate is still where it was"
        ))
    };
    without_deadline(&connection).map_err(unable)?;
    let (input, output) = (connection.try_clone(), connection.try_clone());
    let program = std::env::current_exe().map_err(unable)?;
    let mut command = Command::new(program);
    command
        .arg("agent")
        .stdin(Stdio::from(OwnedFd::from(input.map_err(unable)?)))
        .stdout(Stdio::from(OwnedFd::from(output.map_err(unable)?)))
        .env_remove(TOKEN_VARIABLE)
        // Ctrl-C of the terminal is for this process alone.
        .process_group(0);
    let mut child = command.spawn().map_err(unable)?;
    // The command has the connection too, and the conductor is to hear when the agent closes it.
    drop(command);
    let status = await_end(&mut child, &connection, leave).map_err(unable)?;
    leave.hold(None);
    Ok(match leave.is_told() {
        true => ExitClass::Interrupted,
        false => class_of(status),
    })
}

/// The agent ends by itself when its connection does. One that hangs is killed then.
fn await_end(child: &mut Child, connection: &TcpStream, leave: &Leave) -> io::Result<ExitStatus> {
    let mut deadline = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if deadline.is_none() && (leave.is_told() || has_ended(connection)) {
            deadline = Some(Instant::now() + CLEAN_UP);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            process_group::kill(child.id());
            child.kill()?;
            return child.wait();
        }
        sleep(LOOK);
    }
}

/// Whether the conductor has nothing more to say. What it has said is the agent's, and is not looked at.
fn has_ended(connection: &TcpStream) -> bool {
    #[cfg(target_os = "linux")]
    let end = PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP;
    // There it shows only when both directions have ended.
    #[cfg(not(target_os = "linux"))]
    let end = PollFlags::HUP | PollFlags::ERR;
    let mut watched = [PollFd::new(connection, end)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // An interrupted call is made again at the next look.
    let looked = poll(&mut watched, Some(&at_once));
    looked.is_ok() && watched[0].revents().intersects(end)
}

/// How an agent ended; one that was killed failed.
fn class_of(status: ExitStatus) -> ExitClass {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let class = code.and_then(ExitClass::of_code);
    class.unwrap_or(ExitClass::Peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Who answers a rank with what it has said itself knows nothing.
    #[test]
    fn a_conductor_without_the_token_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let fake = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = TimedLines::new(&stream, Duration::from_secs(5));
            let FromRank::Join { nonce, .. } = lines.hear().unwrap() else {
                panic!("no join");
            };
            lines.say(&FromListener::Challenge { nonce }).unwrap();
            let FromRank::Proof { proof, .. } = lines.hear().unwrap() else {
                panic!("no proof");
            };
            lines.say(&FromListener::Welcome { proof }).unwrap();
        });
        let token = Token::new(b"0123456789abcdef", "here").unwrap();
        let error = greet(&connection, 0, [1; 16], &token).unwrap_err();
        assert!(
            error.to_string().contains("does not know the token"),
            "{error}"
        );
        fake.join().unwrap();
    }
}
