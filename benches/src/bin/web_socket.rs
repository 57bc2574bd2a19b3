//! WebSockets beside peers, and the C10K test: rows for RESULTS.md.

#[cfg(target_os = "linux")]
fn main() {
    std::process::exit(linux::main());
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("web-socket needs Linux: it reads CPU times from /proc");
    std::process::exit(3);
}

#[cfg(target_os = "linux")]
mod linux {
    use linerate_benches::child::{Process, Stop, free_port};
    use linerate_benches::compare::median;
    use linerate_benches::machine;
    use report::units::{human_bytes, human_ns};
    use serde_json::Value;
    use std::path::PathBuf;
    use std::time::Duration;

    const USAGE: &str = "\
WebSocket echo beside peers, in turn, and the C10K WebSocket test; prints Markdown.

usage: web-socket peers [options]     messages/s and CPU a message of echo servers under linerate's load
       web-socket clients [options]   10,000 clients, a message per second each, on each engine

  --engines A,B,...     linerate's engines; default uring,epoll (peers), uring,epoll,tokio-uring,monoio (clients)
  --seconds S           length of each window; default 3 (peers), 60 (clients)
  --turns N             of peers: how often each has its turn; default 7
  --sizes A,B,...       of peers: bytes of a message; default 64,16384
  --peer NAME=COMMAND   of peers: a further server, started with a port as its last argument; may be repeated
  --linerate PATH       the binary to measure; default: beside this program

The server has CPU 1, the load CPU 0. Python's websockets and npm's ws take part where they are installed (Debian:
python3-websockets, node-ws).";

    const SERVER_CPU: &str = "1";
    const LOAD_CPU: &str = "0";
    /// Beyond the window: start, connections, drain.
    const RUN_MARGIN: Duration = Duration::from_secs(60);

    struct Options {
        engines: Option<Vec<String>>,
        seconds: Option<u64>,
        turns: usize,
        sizes: Vec<u64>,
        peers: Vec<(String, Vec<String>)>,
        linerate: PathBuf,
    }

    pub fn main() -> i32 {
        let mut words = std::env::args().skip(1);
        let what = words.next().unwrap_or_default();
        let done = parse(words).and_then(|options| match what.as_str() {
            "peers" => peers(&options),
            "clients" => clients(&options),
            _ => Err(USAGE.to_owned()),
        });
        match done {
            Ok(()) => 0,
            Err(message) => {
                eprintln!("{message}");
                1
            }
        }
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let own = std::env::current_exe().map_err(|error| format!("who am I: {error}"))?;
        let mut options = Options {
            engines: None,
            seconds: None,
            turns: 7,
            sizes: vec![64, 16_384],
            peers: Vec::new(),
            linerate: own.with_file_name("linerate"),
        };
        while let Some(name) = words.next() {
            let value = words
                .next()
                .ok_or(format!("{name} needs a value\n\n{USAGE}"))?;
            let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
            let number = |text: &str| {
                let wrong = |_| format!("{name} {text}: a whole number is needed");
                text.parse::<u64>().map_err(wrong)
            };
            match name.as_str() {
                "--engines" => options.engines = Some(list()),
                "--seconds" => options.seconds = Some(number(&value)?),
                "--turns" => options.turns = number(&value)?.max(1) as usize,
                "--sizes" => {
                    options.sizes = list()
                        .iter()
                        .map(|text| number(text))
                        .collect::<Result<_, _>>()?;
                }
                "--peer" => {
                    let (name, command) = value.split_once('=').ok_or("--peer NAME=COMMAND")?;
                    let words = command.split_whitespace().map(str::to_owned).collect();
                    options.peers.push((name.to_owned(), words));
                }
                "--linerate" => options.linerate = value.into(),
                _ => return Err(format!("unknown option {name}\n\n{USAGE}")),
            }
        }
        Ok(options)
    }

    fn heading() -> String {
        let command: Vec<String> = std::env::args().skip(1).collect();
        format!(
            "Machine: {}. Command: `web-socket {}`\n",
            machine::line(),
            command.join(" ")
        )
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    impl Options {
        /// The document of a run.
        fn run(&self, line: &str, seconds: u64) -> Result<Value, String> {
            let mut command = vec![self.linerate.display().to_string()];
            command.extend(words(line));
            command.extend(words("--format json --quiet"));
            let limit = Duration::from_secs(seconds) + RUN_MARGIN;
            let text = Process::start(&command)?.finish(limit)?;
            serde_json::from_str(&text).map_err(|error| format!("`{line}`: {error}"))
        }
    }

    fn number(document: &Value, pointer: &str) -> f64 {
        document
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    }

    // ---- peers -----------------------------------------------------------------------------

    struct Server {
        name: String,
        process: Process,
        port: u16,
        /// Messages per second and CPU time a message, ns, of each turn.
        turns: Vec<(f64, f64)>,
    }

    impl Server {
        fn start(name: &str, command: &[String], port: u16) -> Result<Self, String> {
            let mut pinned = words(&format!("taskset -c {SERVER_CPU}"));
            pinned.extend_from_slice(command);
            let mut process = Process::start(&pinned)?;
            process.await_listening(port, Duration::from_secs(20))?;
            Ok(Self {
                name: name.to_owned(),
                process,
                port,
                turns: Vec::new(),
            })
        }
    }

    /// All servers, linerate's first. A peer that does not come up is named and left out.
    fn servers(options: &Options) -> Result<Vec<Server>, String> {
        let mut servers = Vec::new();
        let engines = options.engines.clone().unwrap_or(words("uring epoll"));
        for engine in engines {
            let port = free_port()?;
            let mut command = vec![options.linerate.display().to_string()];
            command.extend(words(&format!(
                "serve --listen tcp://127.0.0.1:{port} --role ws --engine {engine} --cpus {SERVER_CPU}"
            )));
            servers.push(Server::start(
                &format!("linerate, {engine}"),
                &command,
                port,
            )?);
        }
        let here = env!("CARGO_MANIFEST_DIR");
        let known = [
            (
                "npm ws",
                format!("env NODE_PATH=/usr/share/nodejs node {here}/web_socket_peer.js"),
            ),
            (
                "Python websockets",
                format!("/usr/bin/python3 {here}/web_socket_peer.py"),
            ),
        ];
        let known = known.map(|(name, command)| (name.to_owned(), words(&command)));
        for (name, mut command) in options.peers.iter().cloned().chain(known) {
            let port = free_port()?;
            command.push(port.to_string());
            match Server::start(&name, &command, port) {
                Ok(server) => servers.push(server),
                Err(error) => eprintln!("without {name}: {error}"),
            }
        }
        Ok(servers)
    }

    fn peers(options: &Options) -> Result<(), String> {
        let seconds = options.seconds.unwrap_or(3);
        println!("{}", heading());
        println!(
            "| bytes | server | messages/s, median | least .. most | CPU a message, median | least .. most |"
        );
        println!("|---:|---|---:|---:|---:|---:|");
        let mut servers = servers(options)?;
        for size in &options.sizes {
            for _ in 0..options.turns {
                for server in &mut servers {
                    let line = format!(
                        "run ws ws://127.0.0.1:{}/ -c 64 -w 0s -d {seconds}s --size {size} --engine uring \
                         --client-cpus {LOAD_CPU}",
                        server.port
                    );
                    let before_ns = server.process.cpu_time_ns()?;
                    let document = options.run(&line, seconds)?;
                    let cpu_ns = server.process.cpu_time_ns()? - before_ns;
                    let messages = number(&document, "/rounds/0/measured/totals/operations");
                    let rate = number(&document, "/rounds/0/rates/operations_per_second");
                    server.turns.push((rate, cpu_ns / messages));
                }
            }
            for server in &mut servers {
                let turns = std::mem::take(&mut server.turns);
                let mut rates: Vec<f64> = turns.iter().map(|turn| turn.0).collect();
                let mut costs: Vec<f64> = turns.iter().map(|turn| turn.1).collect();
                println!(
                    "| {size} | {} | {} | {} |",
                    server.name,
                    spread(&mut rates, |rate| format!("{:.1} k", rate / 1e3)),
                    spread(&mut costs, human_ns),
                );
            }
        }
        servers
            .into_iter()
            .try_for_each(|server| server.process.stop(Stop::Terminate))
    }

    /// `MEDIAN | LEAST .. MOST`.
    fn spread(values: &mut [f64], show: impl Fn(f64) -> String) -> String {
        let middle = median(values).unwrap_or(f64::NAN);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} | {} .. {}", show(middle), show(least), show(most))
    }

    // ---- clients ---------------------------------------------------------------------------

    fn clients(options: &Options) -> Result<(), String> {
        let seconds = options.seconds.unwrap_or(60);
        let engines = options.engines.clone();
        let engines = engines.unwrap_or(words("uring epoll tokio-uring monoio"));
        println!("{}", heading());
        println!(
            "| engine | clients opened, lost | messages due, answered, errors | response time p50, p99, max | handshake p50, p99 | \
             CPU a message, load and testee | memory a client, load and testee |"
        );
        println!("|---|---:|---:|---|---|---|---|");
        for engine in engines {
            let line = format!(
                "run ws --clients 10000 --ramp 1ms --message-every 1s -d {seconds}s --engine {engine} \
                 --testee-engine {engine} --client-cpus {LOAD_CPU} --testee-cpus {SERVER_CPU}"
            );
            let document = options.run(&line, seconds)?;
            println!("| {engine} | {} |", client_row(&document));
        }
        Ok(())
    }

    fn client_row(document: &Value) -> String {
        let measured = |what: &str| number(document, &format!("/rounds/0/measured/{what}"));
        let cost = |what: &str| number(document, &format!("/rounds/0/cost/{what}"));
        let errors = document.pointer("/rounds/0/measured/errors");
        let errors = errors.and_then(Value::as_array).into_iter().flatten();
        // Not sum(): that of nothing is -0.
        let errors = errors.fold(0.0, |sum, error| sum + number(error, "/count"));
        let answered = measured("totals/operations");
        let due = answered + errors + measured("unfinished/count");
        let latency =
            |kind: &str, what: &str| human_ns(measured(&format!("latency/{kind}/{what}_ns")));
        format!(
            "{}, {} | {due}, {answered}, {errors} | {}, {}, {} | {}, {} | {}, {} | {}, {}",
            measured("clients/opened"),
            measured("clients/lost_total"),
            latency("response", "p50"),
            latency("response", "p99"),
            latency("response", "max"),
            latency("handshake", "p50"),
            latency("handshake", "p99"),
            human_ns(cost("load/cpu_ns_per_operation")),
            human_ns(cost("testee/cpu_ns_per_operation")),
            human_bytes(cost("load/memory_bytes_per_connection")),
            human_bytes(cost("testee/memory_bytes_per_connection")),
        )
    }
}
