//! Listeners and their workers: what `serve` and the testee agent have in common.

use crate::engines::Chosen;
use crate::error::Failure;
use crate::workers::{self, ThreadClock, WorkerEnd};
use engine::control::{Control, WakeEnd};
use engine::driver::{AcceptStrategy, Handoff, ServeJob, ServeLimits, ServeOutcome};
use engine::endpoint::Endpoint;
use engine::meter::ServePublished;
use engine::socket::{self, SocketOptions};
use engine::workload::ServeSpec;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Connections on their way to another worker; more are refused and counted.
const HANDOFF_QUEUE: usize = 1024;

/// What a listener is to be.
#[derive(Clone, Debug)]
pub(crate) struct ListenerTask {
    pub name: String,
    pub endpoint: Endpoint,
    /// Other processes listen on the same port.
    pub shares_port: bool,
    pub backlog: u32,
    pub role: ServeSpec,
    pub engine: Chosen,
    pub engine_options: Vec<(String, String)>,
    pub cpus: Vec<Option<u32>>,
    pub accept: Option<AcceptStrategy>,
    pub socket: SocketOptions,
    pub limits: ServeLimits,
    pub expected_connections: Option<u32>,
    pub message_bytes: Option<u32>,
}

/// A listener that listens, and whose workers run.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where it really listens.
    pub endpoint: Endpoint,
    pub strategy: AcceptStrategy,
    /// Counters of each worker.
    pub published: Vec<Arc<ServePublished>>,
    /// CPU time of each worker.
    pub clocks: Vec<Arc<ThreadClock>>,
    /// Removes the path of a Unix socket at the end.
    _unlink: Option<Unlink>,
}

/// Removes a Unix socket's path when dropped.
#[derive(Debug)]
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whether the kernel spreads connections over the listeners of one port: SO_REUSEPORT of Linux
/// (socket(7)), SO_REUSEPORT_LB of FreeBSD. Elsewhere the last listener gets them all.
pub(crate) fn reuseport_balances() -> bool {
    cfg!(any(target_os = "linux", target_os = "freebsd"))
}

impl ListenerTask {
    fn threads(&self) -> usize {
        self.cpus.len()
    }

    /// How connections come to workers here, unless it was asked for by name.
    fn strategy(&self) -> AcceptStrategy {
        match (self.accept, self.threads(), &self.endpoint) {
            (Some(asked), _, _) => asked,
            (None, _, _) if self.shares_port => AcceptStrategy::Reuseport,
            (None, 1, _) | (None, _, Endpoint::Unix(_)) => AcceptStrategy::Shared,
            (None, _, Endpoint::Tcp { .. }) if reuseport_balances() => AcceptStrategy::Reuseport,
            (None, _, Endpoint::Tcp { .. }) => AcceptStrategy::Handoff,
        }
    }

    /// Listens and starts the workers; `report` is told how each ended. `started` counts them,
    /// also those that run already when a later one cannot be started.
    ///
    /// # Errors
    /// What the system refused, on what, and what to do.
    pub fn open(
        &self,
        control: &Arc<Control>,
        report: &(impl Fn(WorkerEnd<ServeOutcome>) + Clone + Send + 'static),
        started: &mut usize,
    ) -> Result<Listening, Failure> {
        let strategy = self.strategy();
        let (listeners, endpoint) = self.listen(strategy)?;
        let unlink = match &endpoint {
            Endpoint::Unix(path) => Some(Unlink(path.clone())),
            Endpoint::Tcp { .. } => None,
        };
        let seats = self.seats(control, strategy)?;
        let mut published = Vec::with_capacity(self.threads());
        let mut clocks = Vec::with_capacity(self.threads());
        for ((index, listener), (wake, handoff)) in listeners.into_iter().enumerate().zip(seats) {
            let counters = Arc::new(ServePublished::default());
            published.push(Arc::clone(&counters));
            let job = ServeJob {
                worker: index as u32,
                control: Arc::clone(control),
                wake,
                published: counters,
                spec: self.role.clone(),
                listener,
                handoff,
                socket: self.socket.clone(),
                limits: self.limits,
                expected_connections: self.expected_connections,
                expected_message_bytes: self.message_bytes,
                engine_options: self.engine_options.clone(),
            };
            let clock = Arc::new(ThreadClock::default());
            clocks.push(Arc::clone(&clock));
            self.start(index, job, control, clock, report.clone())?;
            *started += 1;
        }
        Ok(Listening {
            endpoint,
            strategy,
            published,
            clocks,
            _unlink: unlink,
        })
    }

    fn start(
        &self,
        index: usize,
        job: ServeJob,
        control: &Arc<Control>,
        clock: Arc<ThreadClock>,
        report: impl Fn(WorkerEnd<ServeOutcome>) + Send + 'static,
    ) -> Result<(), Failure> {
        let driver = self.engine.driver;
        let control = Arc::clone(control);
        let report = move |end: WorkerEnd<ServeOutcome>| {
            if let Err(failure) = &end.result {
                control.report_failed(failure.text.clone());
            }
            report(end);
        };
        // The thread ends by the control's order, which every way out of `open` leads to; it is
        // awaited through `report`.
        workers::spawn(
            &self.name,
            index,
            self.cpus[index],
            clock,
            move || driver.serve(job),
            report,
        )
        .map(drop)
    }

    /// One listener per worker (none for those that are handed theirs), and where they listen.
    fn listen(
        &self,
        strategy: AcceptStrategy,
    ) -> Result<(Vec<Option<OwnedFd>>, Endpoint), Failure> {
        if let Endpoint::Unix(path) = &self.endpoint {
            free_path(path)?;
        }
        let address = self
            .endpoint
            .resolve_to_listen()
            .map_err(|error| self.refused("resolve", &error))?
            .into_iter()
            .next()
            .ok_or_else(|| {
                Failure::machine(format!("{}: the name has no address", self.endpoint))
            })?;
        let reuseport = strategy == AcceptStrategy::Reuseport;
        let listen = |address: &_| {
            // Each worker sets the blocking mode that its backend wants.
            socket::listen(address, self.backlog, reuseport, false, &self.socket)
                .map_err(|error| self.refused("listen", &error))
        };
        let first = listen(&address)?;
        let bound = socket::local_address(first.as_fd())
            .map_err(|error| self.refused("ask for the address", &error))?;
        let endpoint = Endpoint::of_address(&bound).unwrap_or_else(|| self.endpoint.clone());
        let mut listeners = Vec::with_capacity(self.threads());
        for _ in 1..self.threads() {
            listeners.push(match strategy {
                AcceptStrategy::Reuseport => Some(listen(&bound)?),
                AcceptStrategy::Shared => Some(
                    socket::duplicate(&first).map_err(|error| self.refused("duplicate", &error))?,
                ),
                AcceptStrategy::Handoff => None,
            });
        }
        listeners.insert(0, Some(first));
        Ok((listeners, endpoint))
    }

    fn refused(&self, attempt: &str, error: &io::Error) -> Failure {
        let cure = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another socket listens there (one on [::] takes the port of IPv4 too): end its process, or choose another \
                 port (0 lets the kernel choose)"
            }
            io::ErrorKind::AddrNotAvailable => {
                "the address is not one of this host: choose one of `ip address`"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 and some directories need privilege: choose another"
            }
            io::ErrorKind::NotFound => "the directory of the socket must exist",
            _ => "choose another endpoint, or correct what the system complains about",
        };
        Failure::machine(format!("{attempt} on {}: {error}; {cure}", self.endpoint))
    }

    /// A seat per worker, with its place in a handoff.
    fn seats(&self, control: &Control, strategy: AcceptStrategy) -> Result<Vec<Seat>, Failure> {
        let refused = |error: io::Error| {
            Failure::machine(format!(
                "a socket pair to wake a worker: {error}; raise the descriptor limit (ulimit -n)"
            ))
        };
        if strategy != AcceptStrategy::Handoff {
            return (0..self.threads())
                .map(|_| Ok((control.seat().map_err(refused)?, None)))
                .collect();
        }
        let (mut given, mut seats) = (Vec::new(), Vec::new());
        for _ in 1..self.threads() {
            let (waker, wake) = control.seat_with_waker().map_err(refused)?;
            let (sender, receiver) = sync_channel(HANDOFF_QUEUE);
            given.push((sender, waker));
            seats.push((wake, Some(Handoff::Take(receiver))));
        }
        let giver = (control.seat().map_err(refused)?, Some(Handoff::Give(given)));
        seats.insert(0, giver);
        Ok(seats)
    }
}

/// Where a worker is woken, and its place in a handoff if there is one.
type Seat = (WakeEnd, Option<Handoff>);

/// Makes sure that a Unix socket may be made at `path`: refuses one that a live server listens on,
/// and removes one that nobody listens on any more.
fn free_path(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(Failure::machine(format!(
            "listen on unix://{shown}: a file that is no socket is there; choose another path, or remove it \
             yourself"
        )));
    }
    match connect_patiently(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Failure::machine(format!(
                "listen on unix://{shown}: a socket is there, and asking whether it is in use failed: {error}; \
                 choose another path"
            )));
        }
        Ok(_) => {
            return Err(Failure::machine(format!(
                "listen on unix://{shown}: a live server listens there; end it or choose another path"
            )));
        }
    }
    std::fs::remove_file(path).map_err(|error| {
        Failure::machine(format!(
            "remove the stale socket {shown}: {error}; remove it yourself or choose another path"
        ))
    })
}

/// Connects, and again for a while as long as that succeeds: the listener of a process that was
/// killed lives on until io_uring's asynchronous teardown lets go of it, some ms later.
fn connect_patiently(path: &Path) -> io::Result<UnixStream> {
    let give_up = Instant::now() + Duration::from_millis(500);
    loop {
        let answer = UnixStream::connect(path);
        if answer.is_err() || Instant::now() >= give_up {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("linerate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_live_socket_is_refused_and_a_stale_one_removed() {
        let directory = directory("paths");
        let path = directory.join("x.sock");
        assert!(free_path(&path).is_ok());
        let listener = UnixListener::bind(&path).unwrap();
        let error = free_path(&path).unwrap_err();
        assert!(error.text.contains("live server"), "{error}");
        drop(listener);
        assert!(free_path(&path).is_ok() && !path.exists());
        std::fs::write(&path, "text").unwrap();
        let error = free_path(&path).unwrap_err();
        assert!(error.text.contains("no socket"), "{error}");
        assert!(path.exists(), "what is not ours is not removed");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
