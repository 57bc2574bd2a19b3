//! `linerate doctor`.

use std::net::{IpAddr, ToSocketAddrs};

use clap::{Args, ValueEnum};
use report::units::parse_duration_ns;
use runner::host::Traffic;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    about = "Say whether this machine is fit to measure, and what would make it fitter",
    long_about = "Say whether this machine is fit to measure: io_uring, limits, clocks, CPUs, packet filters, the \
        network interface, and who else is using the machine. Each finding says what it does to a measurement and \
        which command changes it. Nothing is changed. `run` and `compare` warn of \
        the same findings, after a shorter look.",
    after_help = "\
Examples:
  linerate doctor                    for measurements over loopback
  linerate doctor 10.0.0.2           for measurements against that host: its interface is examined
  linerate doctor --format json

Exit codes:
  0 fit, perhaps with warnings     1 there is a problem     2 wrong usage"
)]
pub struct DoctorArgs {
    /// Host, address or endpoint that will be measured; loopback if not given
    #[arg(value_name = "TARGET", value_parser = traffic, default_value = "127.0.0.1")]
    pub target: Traffic,

    /// How long to watch who uses the CPUs
    #[arg(long, value_name = "DURATION", value_parser = watch_ns, default_value = "1s")]
    pub watch: u64,

    /// Form of the findings
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: DoctorFormat,
}

/// Forms of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Where traffic to `text` goes: an endpoint, a host name or an address.
fn traffic(text: &str) -> Result<Traffic, String> {
    if text.starts_with("unix:") {
        return Ok(Traffic::UnixSocket);
    }
    let place = text.strip_prefix("tcp://").unwrap_or(text);
    if let Ok(address) = place.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(Traffic::To(address));
    }
    let resolved = place
        .to_socket_addrs()
        .or_else(|_| (place, 0).to_socket_addrs())
        .map_err(|error| format!("resolve '{place}': {error}"))?;
    resolved
        .map(|address| Traffic::To(address.ip()))
        .next()
        .ok_or_else(|| format!("'{place}' has no address"))
}

fn watch_ns(text: &str) -> Result<u64, String> {
    let ns = parse_duration_ns(text).map_err(|error| error.to_string())?;
    if (100_000_000..=60_000_000_000).contains(&ns) {
        Ok(ns)
    } else {
        Err("CPU time is counted in ticks of some ms: watch for 100ms to 60s".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_endpoint_an_address_or_a_name() {
        let to = |address: &str| Ok(Traffic::To(address.parse().expect("an address")));
        assert_eq!(traffic("10.0.0.2"), to("10.0.0.2"));
        assert_eq!(traffic("tcp://10.0.0.2:9000"), to("10.0.0.2"));
        assert_eq!(traffic("tcp://[::1]:9000"), to("::1"));
        assert_eq!(traffic("::1"), to("::1"));
        assert_eq!(traffic("unix:///run/x"), Ok(Traffic::UnixSocket));
        assert!(traffic("no such host").is_err());
    }

    #[test]
    fn it_watches_neither_too_short_nor_for_ever() {
        assert_eq!(watch_ns("1s"), Ok(1_000_000_000));
        assert!(watch_ns("10ms").is_err() && watch_ns("1h").is_err());
    }
}
