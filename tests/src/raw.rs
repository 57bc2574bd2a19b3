//! Plain clients and servers that know nothing of linerate's engines: the other side of every test.

use crate::{Directory, Family};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// No read or write of a test waits longer than this.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a connection, blocking, with [`PATIENCE`].
#[derive(Debug)]
pub struct Conn(pub Socket);

impl Conn {
    /// Connects.
    ///
    /// # Panics
    /// When that fails.
    pub fn to(address: &SockAddr) -> Self {
        Self::try_to(address).unwrap_or_else(|error| panic!("connect to {address:?}: {error}"))
    }

    /// Connects.
    ///
    /// # Errors
    /// What the system said.
    pub fn try_to(address: &SockAddr) -> io::Result<Self> {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        if address.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        loop {
            match socket.connect(address) {
                // A Unix listener whose backlog is full; blocking connects wait, but not for ever.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => break other?,
            }
        }
        Ok(Self::of(socket))
    }

    /// A socket that is connected; reading and writing give up in time.
    pub fn of(socket: Socket) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    /// When the peer does not take them.
    pub fn say(&self, bytes: &[u8]) {
        (&self.0).write_all(bytes).expect("the peer reads");
    }

    /// Reads exactly so many bytes.
    ///
    /// # Panics
    /// When they do not come.
    pub fn hear(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        (&self.0)
            .read_exact(&mut bytes)
            .unwrap_or_else(|error| panic!("{length} bytes: {error}"));
        bytes
    }

    /// Reads to the peer's FIN.
    ///
    /// # Panics
    /// When something else comes.
    pub fn hear_all(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        (&self.0)
            .read_to_end(&mut bytes)
            .expect("bytes, then a FIN");
        bytes
    }

    /// Half-closes.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn finish(&self) {
        self.0
            .shutdown(Shutdown::Write)
            .expect("the connection is there");
    }

    /// Asserts that nothing comes for a while, neither a byte nor a FIN.
    ///
    /// # Panics
    /// When something does.
    pub fn hears_nothing_for(&self, time: Duration) {
        self.0.set_read_timeout(Some(time)).expect("a timeout");
        let answer = (&self.0).read(&mut [0; 16]);
        self.0.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let error = answer.expect_err("something came that was not asked for");
        assert!(is_timeout(&error), "{error}");
    }

    /// Closes with RST (on TCP).
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn reset(self) {
        self.0.set_linger(Some(Duration::ZERO)).expect("linger");
    }

    /// Sends without waiting until nothing is taken any more; returns how much was taken.
    ///
    /// # Panics
    /// When the peer closes.
    pub fn flood(&self, block: &[u8], at_most: usize) -> usize {
        self.0.set_nonblocking(true).expect("a mode");
        let (mut total, mut refused) = (0, 0);
        while refused < 30 && total < at_most {
            match (&self.0).write(block) {
                Ok(taken) => {
                    total += taken;
                    refused = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    refused += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("flooding: {error}"),
            }
        }
        self.0.set_nonblocking(false).expect("a mode");
        total
    }

    /// Another handle on the same connection.
    ///
    /// # Panics
    /// When no descriptors are left.
    pub fn again(&self) -> Self {
        Self(self.0.try_clone().expect("a descriptor"))
    }
}

/// Whether a read ended because its time was over.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A server of a test: a thread per connection.
pub struct Server {
    /// Where it listens.
    pub address: SockAddr,
    accepted: Arc<AtomicU32>,
    open: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
    _directory: Directory,
}

impl Server {
    /// Calls `serve` on a thread of its own for each connection, with its number from 0.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(family: Family, serve: impl Fn(Conn, u32) + Send + Sync + 'static) -> Self {
        let directory = Directory::new();
        let listener = listen(family, &directory, 1024);
        let address = listener.local_addr().expect("bound");
        let accepted = Arc::new(AtomicU32::new(0));
        let open = Arc::new(AtomicU32::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, now_open, ordered) =
            (Arc::clone(&accepted), Arc::clone(&open), Arc::clone(&stop));
        let serve = Arc::new(serve);
        let acceptor = std::thread::spawn(move || {
            listener.set_nonblocking(true).expect("a mode");
            while !ordered.load(SeqCst) {
                let Ok((socket, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                };
                socket.set_nonblocking(false).expect("a mode");
                let number = count.fetch_add(1, SeqCst);
                now_open.fetch_add(1, SeqCst);
                let (serve, now_open) = (Arc::clone(&serve), Arc::clone(&now_open));
                std::thread::spawn(move || {
                    serve(Conn::of(socket), number);
                    now_open.fetch_sub(1, SeqCst);
                });
            }
        });
        Self {
            address,
            accepted,
            open,
            stop,
            acceptor: Some(acceptor),
            _directory: directory,
        }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u32 {
        self.accepted.load(SeqCst)
    }

    /// Connections being served.
    pub fn open(&self) -> u32 {
        self.open.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// A listening socket.
///
/// # Panics
/// When it cannot listen.
pub fn listen(family: Family, directory: &Directory, backlog: i32) -> Socket {
    let socket = Socket::new(family.domain(), Type::STREAM, None).expect("a socket");
    socket
        .bind(&family.address(directory.path()))
        .expect("bind");
    socket.listen(backlog).expect("listen");
    socket
}

/// Echoes until the peer finishes or resets.
pub fn echo(conn: Conn, _: u32) {
    let mut block = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = (&conn.0).read(&mut block) {
        if (&conn.0).write_all(&block[..length]).is_err() {
            return;
        }
    }
}

/// Reads `request` bytes and answers with what `answer` makes of them, until the peer finishes.
/// `answer` gets the number of the request on this connection; `None` closes.
pub fn answer(conn: &Conn, request: usize, mut answer: impl FnMut(u64, &[u8]) -> Option<Vec<u8>>) {
    let mut block = vec![0; request];
    let mut number = 0;
    while (&conn.0).read_exact(&mut block).is_ok() {
        match answer(number, &block) {
            Some(bytes) if (&conn.0).write_all(&bytes).is_ok() => {}
            _ => return,
        }
        number += 1;
    }
}
