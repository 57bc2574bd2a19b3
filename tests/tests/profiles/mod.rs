//! Profiles of settings as users meet them: applied, shown, refused, and always put back.
//!
//! Every test has a network namespace and a state directory of its own; this machine's settings are
//! never touched.

#![cfg(target_os = "linux")]

mod crashes;
mod measuring;
mod refusals;
mod standing;
mod successors;
mod two_hosts;

use linerate_tests::binary::Call;
use linerate_tests::settings::{Host, PROFILE};

/// A short run of `rr` with its own testee.
const QUICK: [&str; 8] = [
    "--duration",
    "50ms",
    "--warmup",
    "0s",
    "--placement",
    "unpinned",
    "--format",
    "json",
];

/// `more`, and of [`QUICK`] what it does not say itself.
fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let own = QUICK.chunks(2).filter(|option| !more.contains(&option[0]));
    own.flatten().chain(more).copied().collect()
}

/// `linerate run rr --profile FILE` and `more`, on `host`.
fn run(host: &Host, profile: &str, more: &[&str]) -> Call {
    let mut line = vec!["run", "rr", "--profile", profile];
    line.extend(quick(more));
    host.linerate(&line)
}

/// The same with [`PROFILE`].
fn run_profile(host: &Host, more: &[&str]) -> Call {
    let profile = host.file("profile.toml", PROFILE);
    run(host, &profile, more)
}
