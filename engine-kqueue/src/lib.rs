//! Engines on readiness: `epoll` (Linux), `kqueue` (the BSDs and macOS), and `blocking` threads.
//!
//! `epoll` and `kqueue` share one core, [`readiness::Readiness`], which holds all logic and is
//! generic over a kevent-shaped [`selector::Selector`]. What differs between them is one file each.
//! The byte layouts of four systems' `struct kevent` are written down in [`layout`], so that they
//! are tested on Linux and asserted against libc on the real targets.

mod blocking;
mod drivers;
#[cfg(target_os = "linux")]
pub mod epoll;
#[cfg(test)]
mod fake;
#[cfg(not(target_os = "linux"))]
pub mod kqueue;
pub mod layout;
mod options;
pub mod readiness;
pub mod selector;
#[cfg(any(debug_assertions, feature = "slowed-engine"))]
mod slowed;
mod sys;
#[cfg(test)]
mod testing;

pub use blocking::{BLOCKING, BlockingDriver};
pub use drivers::{EPOLL, EpollDriver, KQUEUE, KqueueDriver};
#[cfg(any(debug_assertions, feature = "slowed-engine"))]
pub use slowed::SLOWED;

/// The selector of this system.
#[cfg(target_os = "linux")]
pub type Native = epoll::Epoll;
/// The selector of this system.
#[cfg(not(target_os = "linux"))]
pub type Native = kqueue::Kqueue;
