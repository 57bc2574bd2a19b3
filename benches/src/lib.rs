//! What the bare loops under `floor/` and the `side-by-side` runner share.
//!
//! The floors show what the kernel permits; the runner sets linerate beside them and beside peers
//! from the distribution, in turn, and prints ratios with their spread. Nothing here is part of
//! the product: `linerate` does not depend on this package.

pub mod floor;

#[path = "../floor/blocking.rs"]
pub mod floor_blocking;
#[cfg(target_os = "linux")]
#[path = "../floor/epoll.rs"]
pub mod floor_epoll;
#[cfg(target_os = "linux")]
#[path = "../floor/uring.rs"]
pub mod floor_uring;

#[path = "../floor/churn_blocking.rs"]
pub mod floor_churn_blocking;
#[cfg(target_os = "linux")]
#[path = "../floor/churn_epoll.rs"]
pub mod floor_churn_epoll;
#[cfg(target_os = "linux")]
#[path = "../floor/churn_uring.rs"]
pub mod floor_churn_uring;

#[cfg(target_os = "linux")]
pub mod buffer_ring;
#[cfg(target_os = "linux")]
pub mod epoll;
#[cfg(target_os = "linux")]
pub mod uring;

#[cfg(unix)]
pub mod child;
pub mod compare;
#[cfg(unix)]
pub mod contender;
#[cfg(unix)]
pub mod experiments;
pub mod machine;
