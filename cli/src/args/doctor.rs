//! `linerate doctor`.

use clap::{Args, ValueEnum};
use engine::endpoint::Endpoint;
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
    /// Host, address or endpoint that will be measured, as run takes it; loopback if not given
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

/// Where traffic to `text` goes: an endpoint, a host name or an address, with or without a port.
fn traffic(text: &str) -> Result<Traffic, String> {
    let endpoint = match text.parse::<Endpoint>() {
        Ok(endpoint) => endpoint,
        Err(_) => {
            let host = text.strip_prefix("tcp://").unwrap_or(text);
            let host = host.trim_matches(['[', ']']).to_owned();
            Endpoint::Tcp { host, port: 0 }
        }
    };
    let addresses = endpoint
        .resolve()
        .map_err(|error| format!("resolve '{text}': {error}"))?;
    match (&endpoint, addresses.first()) {
        (Endpoint::Unix(_), _) => Ok(Traffic::UnixSocket),
        (_, Some(address)) => address
            .as_socket()
            .map(Traffic::to)
            .ok_or_else(|| format!("'{text}' is no internet address")),
        (_, None) => Err(format!("'{text}' has no address")),
    }
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
        assert_eq!(traffic("/run/x"), Ok(Traffic::UnixSocket));
        assert_eq!(traffic("10.0.0.2:9000"), to("10.0.0.2"));
        assert_eq!(traffic("[::1]"), to("::1"));
        assert!(traffic("no such host").is_err());
    }

    #[test]
    fn a_link_local_target_has_its_interface_or_says_that_it_needs_one() {
        let loopback = if cfg!(target_os = "linux") {
            "lo"
        } else {
            "lo0"
        };
        for text in [
            format!("tcp://[fe80::1%{loopback}]:9000"),
            format!("fe80::1%{loopback}"),
        ] {
            let found = traffic(&text);
            let is_zoned = matches!(found, Ok(Traffic::InZone(address)) if address.scope_id() != 0);
            assert!(is_zoned, "{text}: {found:?}");
        }
        let missing = traffic("tcp://[fe80::1]:9000").expect_err("no interface is named");
        assert!(missing.contains("%INTERFACE"), "{missing}");
    }

    #[test]
    fn it_watches_neither_too_short_nor_for_ever() {
        assert_eq!(watch_ns("1s"), Ok(1_000_000_000));
        assert!(watch_ns("10ms").is_err() && watch_ns("1h").is_err());
    }
}
