//! Helpers of the tests that see linerate as its users do: through sockets, and through its binary.
//!
//! Rules of this suite: every wait has a deadline ([`within`]); what cannot run here says so
//! ([`skip`]); nothing is left behind (every process, thread and file has an owner that drops it).

pub mod binary;
pub mod load;
pub mod network;
pub mod process;
pub mod raw;
pub mod settings;
pub mod testee;
mod turns;
pub mod variants;
pub mod web_socket;

use engine::driver::{Driver, Probe};
use socket2::{Domain, SockAddr};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Runs `body` and fails if it has not ended after `seconds`, instead of hanging. Waiting for a test that
/// runs [`alone`] does not count.
///
/// # Panics
/// When the time is over, and with whatever `body` panics with.
pub fn within<T: Send + 'static>(seconds: u64, body: impl FnOnce() -> T + Send + 'static) -> T {
    let _turn = turns::beside_others();
    timed(seconds, body)
}

/// As [`within`], while no other test of this process runs: for what asserts times, or looks at the whole
/// process.
///
/// # Panics
/// When the time is over, and with whatever `body` panics with.
pub fn alone<T: Send + 'static>(seconds: u64, body: impl FnOnce() -> T + Send + 'static) -> T {
    let _turn = turns::alone();
    timed(seconds, body)
}

fn timed<T: Send + 'static>(seconds: u64, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = sync_channel(1);
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let worker = std::thread::Builder::new()
        .name(name)
        .spawn(move || sender.send(body()).expect("the waiting thread is there"))
        .expect("a thread for the test");
    match receiver.recv_timeout(Duration::from_secs(seconds)) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("not done after {seconds} s"),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("a body that returned has sent its value"),
        },
    }
}

/// Says that a test, or a part of it, cannot run here. Missing programs are a failure in CI, where
/// they are installed: `why` then reads "PROGRAM is not installed".
///
/// # Panics
/// In CI, for a missing program.
pub fn skip(name: &str, why: &str) {
    // Straight to the descriptor: the harness would swallow the output of a passing test.
    let line = format!("SKIPPED: {name}: {why}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        !(ci && why.ends_with("is not installed")),
        "{why}, and this is CI"
    );
}

/// The drivers that the suite is run on: all of this system.
pub fn drivers() -> Vec<&'static dyn Driver> {
    vec![
        #[cfg(target_os = "linux")]
        &engine_uring::URING,
        #[cfg(target_os = "linux")]
        &engine_kqueue::EPOLL,
        #[cfg(not(target_os = "linux"))]
        &engine_kqueue::KQUEUE,
        &engine_kqueue::BLOCKING,
        #[cfg(target_os = "linux")]
        &engine_uring::TOKIO_URING,
        #[cfg(target_os = "linux")]
        &engine_uring::MONOIO,
        #[cfg(target_os = "linux")]
        &engine_uring::MONOIO_LEGACY,
    ]
}

/// The driver of this name, or `None` (and a line that says why) if it does not run here.
///
/// # Panics
/// When there is no such driver on this system.
pub fn driver(name: &str) -> Option<&'static dyn Driver> {
    let variants = variants::VARIANTS
        .iter()
        .map(|variant| variant as &dyn Driver);
    let driver = drivers()
        .into_iter()
        .chain(variants)
        .find(|driver| driver.name() == name)
        .expect("a known name");
    match driver.probe() {
        Probe::Available(_) => Some(driver),
        Probe::Limited { reason, .. } | Probe::Unavailable { reason, .. } => {
            skip(name, &reason);
            None
        }
    }
}

/// What kind of socket a test uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TCP over IPv4 loopback.
    Tcp4,
    /// TCP over IPv6 loopback.
    Tcp6,
    /// Unix stream sockets.
    Unix,
}

/// All families that exist here.
pub fn families() -> Vec<Family> {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has_ipv6 {
        skip("tcp6", "there is no IPv6 loopback address");
    }
    [Family::Tcp4, Family::Tcp6, Family::Unix]
        .into_iter()
        .filter(|family| has_ipv6 || *family != Family::Tcp6)
        .collect()
}

impl Family {
    /// An address to listen on: a free port, or a path in `directory`.
    ///
    /// # Panics
    /// When the path is too long for a socket.
    pub fn address(self, directory: &Path) -> SockAddr {
        match self {
            Self::Tcp4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            Self::Tcp6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into(),
            Self::Unix => SockAddr::unix(directory.join("s")).expect("a short path"),
        }
    }

    /// The socket domain.
    pub fn domain(self) -> Domain {
        match self {
            Self::Tcp4 => Domain::IPV4,
            Self::Tcp6 => Domain::IPV6,
            Self::Unix => Domain::UNIX,
        }
    }

    /// Whether it is TCP, which knows RST and TIME_WAIT.
    pub fn is_tcp(self) -> bool {
        self != Self::Unix
    }
}

/// A directory that is removed when dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A new, empty one.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("linerate-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes that differ from position to position: xorshift64, so that no two buffers are equal.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Waits until `condition` holds; false if it does not within `timeout`.
pub fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + timeout;
    while !condition() {
        if std::time::Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// One test per function and engine: `for_every_engine!(name, ...)`, where `name` is a function of
/// the enclosing module that takes a `&'static dyn Driver`. Each has 60 s. With `alone: name, ...` no other
/// test of the process runs meanwhile.
#[macro_export]
macro_rules! for_every_engine {
    (alone: $($test:ident),* $(,)?) => { $crate::engines_by!(alone, $($test),*); };
    ($($test:ident),* $(,)?) => { $crate::engines_by!(within, $($test),*); };
}

/// See [`for_every_engine`].
#[macro_export]
macro_rules! engines_by {
    ($by:ident, $($test:ident),*) => {
        #[cfg(target_os = "linux")]
        mod uring { $($crate::one_engine!($by, $test, "uring");)* }
        #[cfg(target_os = "linux")]
        mod epoll { $($crate::one_engine!($by, $test, "epoll");)* }
        #[cfg(not(target_os = "linux"))]
        mod kqueue { $($crate::one_engine!($by, $test, "kqueue");)* }
        mod blocking { $($crate::one_engine!($by, $test, "blocking");)* }
        #[cfg(target_os = "linux")]
        mod tokio_uring { $($crate::one_engine!($by, $test, "tokio-uring");)* }
        #[cfg(target_os = "linux")]
        mod monoio { $($crate::one_engine!($by, $test, "monoio");)* }
        #[cfg(target_os = "linux")]
        mod monoio_legacy { $($crate::one_engine!($by, $test, "monoio-legacy");)* }
    };
}

/// See [`for_every_engine`]; `$by` is [`within`] or [`alone`].
#[macro_export]
macro_rules! one_engine {
    ($by:ident, $test:ident, $engine:literal) => {
        #[test]
        fn $test() {
            if let Some(driver) = $crate::driver($engine) {
                $crate::$by(60, move || super::$test(driver));
            }
        }
    };
}

/// Runs `body` for each family, naming the family if it fails.
///
/// # Panics
/// When `body` does.
pub fn each_family(mut body: impl FnMut(Family)) {
    for family in families() {
        let named = Named(family);
        body(family);
        std::mem::forget(named);
    }
}

struct Named(Family);

impl Drop for Named {
    fn drop(&mut self) {
        eprintln!("... with {:?}", self.0);
    }
}
