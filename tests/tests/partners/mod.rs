//! Programs that we did not write, on both sides of a connection.

mod clients;
mod netperf;
mod servers;
mod web_sockets;

use linerate_tests::testee::Testee;
use std::process::Command;

/// Python with a script and arguments.
fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = linerate_tests::process::piped("python3");
    command.arg("-c").arg(script).args(arguments);
    command
}

/// The port of a testee.
fn port(testee: &Testee) -> String {
    let address = testee.address.as_socket().expect("an address of TCP");
    address.port().to_string()
}
