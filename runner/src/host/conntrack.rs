//! Connection tracking, which taxes each packet, even on loopback, where any rule of the namespace asks for it.
//!
//! That it is loaded says little: it works in a namespace only while a rule there needs it, and the count of
//! connections is 0 also on a machine that merely is idle. So the kernel is shown some traffic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use sysctl_profiles::ReadError;

use super::files;

/// Enough that connections of others, which come and go meanwhile, do not decide.
const DATAGRAMS: u64 = 16;

/// Whether connections are tracked in this namespace, in words, or why that is not known.
pub fn state() -> Result<String, String> {
    if !cfg!(target_os = "linux") {
        return Err(files::NOT_ON_THIS_SYSTEM.to_owned());
    }
    let before = match count() {
        Ok(before) => before?,
        Err(ReadError::Missing { .. }) => return Ok("not loaded".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let sent = send_over_loopback();
    let after = count().map_err(|error| error.to_string())??;
    in_words(before, after, sent)
}

fn count() -> Result<Result<u64, String>, ReadError> {
    let text = sysctl_profiles::read("net.netfilter.nf_conntrack_count")?;
    Ok(text
        .parse()
        .map_err(|_| format!("`{text}` is not a number")))
}

/// What the counts before and after some datagrams over loopback tell.
fn in_words(before: u64, after: u64, sent: Result<(), String>) -> Result<String, String> {
    let loopback = sent.map(|()| after >= before + DATAGRAMS / 2);
    match (before, loopback) {
        (_, Ok(true)) => Ok(format!(
            "loaded, tracks {after} connections in this namespace, over loopback too"
        )),
        (0, Ok(false)) => Ok("loaded, tracks nothing in this namespace".to_owned()),
        (0, Err(reason)) => Err(format!(
            "it is loaded, no connection is open that would show it, and none can be made over loopback ({reason})"
        )),
        (count, Ok(false)) => Ok(format!(
            "loaded, tracks {count} connections in this namespace, not over loopback"
        )),
        (count, Err(_)) => Ok(format!(
            "loaded, tracks {count} connections in this namespace"
        )),
    }
}

/// Each from a socket of its own to itself; nobody else is reached.
fn send_over_loopback() -> Result<(), String> {
    let v4 = send_to_itself(Ipv4Addr::LOCALHOST.into());
    v4.or_else(|_| send_to_itself(Ipv6Addr::LOCALHOST.into()))
        .map_err(|error| error.to_string())
}

fn send_to_itself(address: IpAddr) -> std::io::Result<()> {
    for _ in 0..DATAGRAMS {
        let socket = UdpSocket::bind((address, 0))?;
        socket.send_to(b"linerate", socket.local_addr()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_nothing_says_nothing_until_something_was_sent() {
        let words = |before, after, sent: Result<(), &str>| {
            in_words(before, after, sent.map_err(str::to_owned))
        };
        let tracked = words(0, 16, Ok(())).expect("known");
        assert!(tracked.contains("tracks 16") && tracked.ends_with("over loopback too"));
        let nothing = words(0, 0, Ok(())).expect("known");
        assert_eq!(nothing, "loaded, tracks nothing in this namespace");
        // Two connections of others came meanwhile.
        let exempt = words(17, 19, Ok(())).expect("known");
        assert!(exempt.contains("tracks 17") && exempt.ends_with("not over loopback"));
        let unknown = words(0, 0, Err("network is unreachable")).expect_err("nobody knows");
        assert!(unknown.contains("network is unreachable"), "{unknown}");
        let some = words(17, 17, Err("network is unreachable")).expect("known");
        assert_eq!(some, "loaded, tracks 17 connections in this namespace");
    }
}
