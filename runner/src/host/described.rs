//! What an agent, and `doctor`, say of their host.

use super::{Traffic, describe};
use engine::driver::Probe;
use report::document::Host;

/// This host, with whether io_uring works here.
pub(crate) fn describe_host(traffic: Traffic) -> Host {
    let raw = crate::engines::all().find(|driver| driver.capabilities().is_io_uring);
    let io_uring = match raw.map(|driver| driver.probe()) {
        Some(Probe::Available(_)) => Ok(()),
        Some(Probe::Limited { reason, .. } | Probe::Unavailable { reason, .. }) => Err(reason),
        None => Err("io_uring is a Linux interface".to_owned()),
    };
    describe(traffic, io_uring)
}
