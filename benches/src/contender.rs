//! The programs that are set beside each other: how each is started, placed and read.
//!
//! Every rate is transactions (or bits) per second over the time that really passed, as the program
//! itself measured it. A tool that prints one-way latency is converted: one transaction is there
//! and back, so transactions/s = 1 / (2 x one-way latency).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::child::{Process, Stop, free_port};

/// How long the spun contenders look before they sleep: longer than a round trip between two cores
/// that are awake, and as a time that is lost whenever there is only one core, short.
const SPIN: &str = "50us";

const START_LIMIT: Duration = Duration::from_secs(10);
const WARMUP_SECONDS: u64 = 1;
/// What a run may take beyond its warm-up and its window before it is killed.
const SLACK: Duration = Duration::from_secs(20);

/// An engine of linerate, and the floor of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
    /// A thread per connection.
    Blocking,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Uring, Kind::Epoll, Kind::Blocking];

    /// The name of the engine, and the end of the name of the floor.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Uring => "uring",
            Kind::Epoll => "epoll",
            Kind::Blocking => "blocking",
        }
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// Floor server and floor client.
    Floor(Kind),
    /// linerate's rr load and its own testee, one engine for both.
    LinerateRr(Kind),
    /// The same, and both sides look for bytes for [`SPIN`] before they sleep.
    LinerateSpun(Kind),
    /// linerate's load against the floor server.
    LinerateLoad(Kind),
    /// The floor client against linerate's testee.
    LinerateTestee(Kind),
    /// linerate's stream to its own testee.
    LinerateStream(Kind),
    /// iperf3, one stream.
    Iperf3,
    /// sockperf's ping-pong over TCP.
    Sockperf,
    /// qperf's tcp_lat.
    Qperf,
}

/// The CPUs of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// CPU of the server or testee.
    pub server_cpu: usize,
    /// CPU of the client or load.
    pub client_cpu: usize,
}

/// What both sides of a comparison have in common.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Connections.
    pub connections: usize,
    /// Bytes of a message, of a request and its answer, or of one send of a stream.
    pub size_bytes: usize,
    /// Every transaction has a connection of its own, which the server closes (floors and linerate).
    pub churn: bool,
    /// Where the two sides run.
    pub placement: Placement,
    /// Length of the window.
    pub seconds: u64,
    /// The binary `linerate`.
    pub linerate: PathBuf,
    /// The directory of the floors.
    pub floors: PathBuf,
}

/// One measured rate and the commands that gave it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Transactions/s, or bit/s for streams.
    pub rate: f64,
    /// The command lines.
    pub commands: Vec<String>,
}

impl Contender {
    /// Runs once. An error says which command failed and what it said.
    pub fn measure(self, setting: &Setting) -> Result<Measured, String> {
        let port = free_port()?;
        match self {
            Contender::Floor(kind) => {
                let server = setting.floor_server(kind, port);
                let client = setting.floor_client(kind, port);
                setting.pair(server, Stop::CloseStdin, port, client, floor_rate)
            }
            Contender::LinerateLoad(kind) => {
                let server = setting.floor_server(kind, port);
                let client = setting.linerate_load(kind, port);
                setting.pair(
                    server,
                    Stop::CloseStdin,
                    port,
                    client,
                    linerate_transactions,
                )
            }
            Contender::LinerateTestee(kind) => {
                let server = setting.linerate_testee(kind, port);
                let client = setting.floor_client(kind, port);
                setting.pair(server, Stop::Terminate, port, client, floor_rate)
            }
            Contender::LinerateRr(kind) => {
                setting.alone(setting.linerate_rr(kind.name()), linerate_transactions)
            }
            Contender::LinerateSpun(kind) => {
                let engine = format!("{}:spin={SPIN}", kind.name());
                setting.alone(setting.linerate_rr(&engine), linerate_transactions)
            }
            Contender::LinerateStream(kind) => {
                setting.alone(setting.linerate_stream(kind), linerate_received_bits)
            }
            Contender::Iperf3 => {
                let (server, client) = setting.iperf3(port);
                setting.pair(server, Stop::Kill, port, client, iperf3_received_bits)
            }
            Contender::Sockperf => {
                let (server, client) = setting.sockperf(port);
                setting.pair(server, Stop::Kill, port, client, sockperf_transactions)
            }
            Contender::Qperf => {
                let (server, client) = setting.qperf(port, free_port()?);
                setting.pair(server, Stop::Kill, port, client, qperf_transactions)
            }
        }
    }
}

impl Setting {
    fn limit(&self) -> Duration {
        SLACK + Duration::from_secs(self.seconds + WARMUP_SECONDS)
    }

    fn alone(
        &self,
        words: Vec<String>,
        read: fn(&str) -> Result<f64, String>,
    ) -> Result<Measured, String> {
        let process = Process::start(&words)?;
        let line = process.line().to_owned();
        let rate = read_rate(&process.finish(self.limit())?, &line, read)?;
        Ok(Measured {
            rate,
            commands: vec![without_directories(&line)],
        })
    }

    fn pair(
        &self,
        server: Vec<String>,
        stop: Stop,
        port: u16,
        client: Vec<String>,
        read: fn(&str) -> Result<f64, String>,
    ) -> Result<Measured, String> {
        let mut server = Process::start(&server)?;
        server.await_listening(port, START_LIMIT)?;
        let mut measured = self.alone(client, read)?;
        measured
            .commands
            .insert(0, without_directories(server.line()));
        server.stop(stop)?;
        Ok(measured)
    }

    fn on_server(&self, line: &str) -> Vec<String> {
        pinned(&self.placement.server_cpu.to_string(), line)
    }

    fn on_client(&self, line: &str) -> Vec<String> {
        pinned(&self.placement.client_cpu.to_string(), line)
    }

    /// linerate places its two agents itself, within the same CPUs that its peer may use.
    fn on_both(&self, line: &str) -> Vec<String> {
        let Placement {
            server_cpu,
            client_cpu,
        } = self.placement;
        let list = if server_cpu == client_cpu {
            server_cpu.to_string()
        } else {
            format!(
                "{},{}",
                server_cpu.min(client_cpu),
                server_cpu.max(client_cpu)
            )
        };
        pinned(
            &list,
            &format!("{line} --client-cpus {client_cpu} --testee-cpus {server_cpu}"),
        )
    }

    fn floor(&self, kind: Kind, rest: &str) -> String {
        let path = self.floors.join(format!("floor-{}", kind.name()));
        let Setting {
            connections,
            size_bytes,
            ..
        } = self;
        let churn = if self.churn { " --churn" } else { "" };
        format!(
            "{} {rest} --connections {connections} --size {size_bytes}{churn}",
            path.display()
        )
    }

    fn floor_server(&self, kind: Kind, port: u16) -> Vec<String> {
        self.on_server(&self.floor(kind, &format!("serve 127.0.0.1:{port}")))
    }

    /// With `--clock`, because linerate stamps every operation too.
    fn floor_client(&self, kind: Kind, port: u16) -> Vec<String> {
        let line = self.floor(kind, &format!("load 127.0.0.1:{port}"));
        self.on_client(&format!(
            "{line} --seconds {} --warmup-seconds {WARMUP_SECONDS} --clock",
            self.seconds
        ))
    }

    fn linerate_run(&self, engine: &str, what: &str) -> String {
        format!(
            "{} run {what} --engine {engine} --connections {} --duration {}s --warmup {WARMUP_SECONDS}s \
             --format json --quiet",
            self.linerate.display(),
            self.connections,
            self.seconds
        )
    }

    /// `rr`, or `crr` as the floors understand it.
    fn transactions(&self, target: &str) -> String {
        let size = self.size_bytes;
        let sizes = format!("{target} --request {size} --response {size}");
        match self.churn {
            false => format!("rr {sizes}"),
            true => format!("crr {sizes} --closer server"),
        }
    }

    fn linerate_rr(&self, engine: &str) -> Vec<String> {
        let line = self.linerate_run(engine, &self.transactions(""));
        self.on_both(&format!("{line} --testee-engine {engine}"))
    }

    fn linerate_stream(&self, kind: Kind) -> Vec<String> {
        let line = self.linerate_run(
            kind.name(),
            &format!("stream --direction send --size {}", self.size_bytes),
        );
        self.on_both(&format!("{line} --testee-engine {}", kind.name()))
    }

    fn linerate_load(&self, kind: Kind, port: u16) -> Vec<String> {
        let line = self.linerate_run(
            kind.name(),
            &self.transactions(&format!("tcp://127.0.0.1:{port}")),
        );
        self.on_client(&format!(
            "{line} --client-cpus {}",
            self.placement.client_cpu
        ))
    }

    /// Role `echo`: the floor client sends n bytes and waits for n, which echo answers for any n. Only role `rr` knows
    /// when a request is answered, and so when to close.
    fn linerate_testee(&self, kind: Kind, port: u16) -> Vec<String> {
        let role = if self.churn {
            format!(
                "rr --request {0} --response {0} --close-after 1",
                self.size_bytes
            )
        } else {
            "echo".to_owned()
        };
        self.on_server(&format!(
            "{} serve --listen tcp://127.0.0.1:{port} --role {role} --engine {} --cpus {}",
            self.linerate.display(),
            kind.name(),
            self.placement.server_cpu
        ))
    }

    fn iperf3(&self, port: u16) -> (Vec<String>, Vec<String>) {
        let server = format!("iperf3 --server --one-off --bind 127.0.0.1 --port {port}");
        let client = format!(
            "iperf3 --client 127.0.0.1 --port {port} --time {} --omit {WARMUP_SECONDS} --length {} \
             --json",
            self.seconds, self.size_bytes
        );
        (self.on_server(&server), self.on_client(&client))
    }

    /// sockperf warms up for 0.4 s inside its time and cuts both ends of it, hence one second more.
    fn sockperf(&self, port: u16) -> (Vec<String>, Vec<String>) {
        let server = format!("sockperf server --tcp -i 127.0.0.1 -p {port}");
        let client = format!(
            "sockperf ping-pong --tcp -i 127.0.0.1 -p {port} -m {} -t {} --full-rtt",
            self.size_bytes,
            self.seconds + 1
        );
        (self.on_server(&server), self.on_client(&client))
    }

    /// `--unify_units` prints nanoseconds; the second port carries the data.
    fn qperf(&self, port: u16, data_port: u16) -> (Vec<String>, Vec<String>) {
        let server = format!("qperf --listen_port {port}");
        let client = format!(
            "qperf --listen_port {port} --ip_port {data_port} --msg_size {} --time {} \
             --unify_units --precision 8 127.0.0.1 tcp_lat",
            self.size_bytes, self.seconds
        );
        (self.on_server(&server), self.on_client(&client))
    }
}

fn pinned(cpus: &str, line: &str) -> Vec<String> {
    let words = ["taskset", "--cpu-list", cpus].into_iter();
    words
        .chain(line.split_whitespace())
        .map(String::from)
        .collect()
}

/// A command line as it is published: where a program lies on this machine is nobody's business.
pub fn without_directories(line: &str) -> String {
    let shown = |word: &str| match word.strip_prefix('/') {
        Some(path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
        None => word.to_owned(),
    };
    line.split_whitespace()
        .map(shown)
        .collect::<Vec<_>>()
        .join(" ")
}

fn read_rate(
    stdout: &str,
    line: &str,
    read: fn(&str) -> Result<f64, String>,
) -> Result<f64, String> {
    match read(stdout) {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        Ok(rate) => Err(format!("`{line}` reported a rate of {rate}")),
        Err(error) => Err(format!("`{line}`: {error}")),
    }
}

fn number(json: &str, pointer: &str) -> Result<f64, String> {
    let value: Value =
        serde_json::from_str(json).map_err(|error| format!("the output is not JSON: {error}"))?;
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .ok_or_else(|| format!("the output has no number at {pointer}"))
}

fn floor_rate(stdout: &str) -> Result<f64, String> {
    number(stdout, "/operations_per_second")
}

/// A run with failed operations is no measurement of the same work.
fn linerate_rate(stdout: &str, pointer: &str) -> Result<f64, String> {
    let value: Value = serde_json::from_str(stdout)
        .map_err(|error| format!("the output is not a JSON document: {error}"))?;
    let status = value.pointer("/status").and_then(Value::as_str);
    let failures = value.pointer("/rounds/0/measured/errors");
    match (status, failures.and_then(Value::as_array)) {
        (Some("ok"), Some(errors)) if errors.is_empty() => number(stdout, pointer),
        (Some("ok"), Some(errors)) => Err(format!("operations failed: {errors:?}")),
        (status, _) => Err(format!("the document has status {status:?}")),
    }
}

fn linerate_transactions(stdout: &str) -> Result<f64, String> {
    linerate_rate(stdout, "/rounds/0/rates/operations_per_second")
}

fn linerate_received_bits(stdout: &str) -> Result<f64, String> {
    linerate_rate(stdout, "/rounds/0/rates/to_testee_bits_per_second")
}

/// What the receiver counted, as on linerate's side.
fn iperf3_received_bits(stdout: &str) -> Result<f64, String> {
    number(stdout, "/end/sum_received/bits_per_second")
}

/// From the counts and not from the latency, of which sockperf prints half by default.
fn sockperf_transactions(stdout: &str) -> Result<f64, String> {
    let line = stdout
        .lines()
        .find(|line| line.contains("[Valid Duration]"))
        .ok_or("the output has no line [Valid Duration]")?;
    let field = |name: &str| -> Result<f64, String> {
        let rest = line.split_once(name).map(|(_, rest)| rest).unwrap_or("");
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        rest[..end.unwrap_or(rest.len())]
            .parse()
            .map_err(|_| format!("no number after {name} in `{line}`"))
    };
    Ok(field("ReceivedMessages=")? / field("RunTime=")?)
}

/// qperf prints the time of one way: half of a transaction.
fn qperf_transactions(stdout: &str) -> Result<f64, String> {
    let line = stdout
        .lines()
        .find_map(|line| line.trim().strip_prefix("latency"))
        .ok_or("the output has no line `latency`")?;
    let one_way_ns: f64 = line
        .trim_start_matches([' ', '='])
        .strip_suffix("ns")
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| format!("`{line}` is not a number of ns"))?;
    Ok(1e9 / (2.0 * one_way_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_latency_becomes_transactions() {
        let qperf = "tcp_lat:\n    latency  =  5000.5 ns\n";
        assert_eq!(qperf_transactions(qperf), Ok(1e9 / 10_001.0));
        assert!(qperf_transactions("tcp_lat:\n    latency  =  5 us\n").is_err());
    }

    #[test]
    fn sockperf_counts_are_used_and_not_its_latency() {
        let text = "sockperf: [Total Run] RunTime=1.000 sec; ReceivedMessages=22258\n\
                    sockperf: [Valid Duration] RunTime=0.500 sec; SentMessages=7; \
                    ReceivedMessages=7288\n";
        assert_eq!(sockperf_transactions(text), Ok(14_576.0));
        assert!(sockperf_transactions("nothing").is_err());
    }

    #[test]
    fn documents_with_failures_give_no_rate() {
        let document = |status: &str, errors: &str| {
            format!(
                r#"{{"status":"{status}","rounds":[{{"measured":{{"errors":{errors}}},
                "rates":{{"operations_per_second":5.5,"to_testee_bits_per_second":8}}}}]}}"#
            )
        };
        assert_eq!(linerate_transactions(&document("ok", "[]")), Ok(5.5));
        assert_eq!(linerate_received_bits(&document("ok", "[]")), Ok(8.0));
        assert!(linerate_transactions(&document("interrupted", "[]")).is_err());
        assert!(linerate_transactions(&document("ok", r#"[{"kind":"reset"}]"#)).is_err());
        assert!(linerate_transactions("").is_err());
    }

    #[test]
    fn published_commands_name_no_directory() {
        assert_eq!(
            without_directories("taskset 1 /a/b/linerate run tcp://127.0.0.1:9"),
            "taskset 1 linerate run tcp://127.0.0.1:9"
        );
    }

    #[test]
    fn both_placements_name_the_same_cpus_as_the_peer() {
        let mut setting = Setting {
            connections: 16,
            size_bytes: 1,
            churn: false,
            placement: Placement {
                server_cpu: 0,
                client_cpu: 1,
            },
            seconds: 3,
            linerate: "linerate".into(),
            floors: "bin".into(),
        };
        let line = setting.linerate_rr(Kind::Uring.name()).join(" ");
        assert!(
            line.starts_with("taskset --cpu-list 0,1 linerate run rr"),
            "{line}"
        );
        assert!(line.contains("--client-cpus 1 --testee-cpus 0"), "{line}");
        assert!(
            setting
                .floor_client(Kind::Uring, 9)
                .join(" ")
                .starts_with("taskset --cpu-list 1 bin/floor-uring load 127.0.0.1:9")
        );
        setting.placement.client_cpu = 0;
        let line = setting.linerate_rr(Kind::Epoll.name()).join(" ");
        assert!(line.starts_with("taskset --cpu-list 0 linerate"), "{line}");
    }
}
