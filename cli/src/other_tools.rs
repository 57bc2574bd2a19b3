//! Words of iperf3, netperf and wrk, and what they are here: who comes from there is answered with our option, and
//! not with whatever is spelt alike.

/// Where on our command line a word may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Behind `run` and `compare`, whatever the workload.
    Measuring,
    /// Where bytes stream.
    Stream,
    /// Where operations are counted: rr, echo, crr, cc.
    Operations,
    /// Where several operations may be in flight on a connection: rr, echo.
    Deep,
    /// Where a message has one size: echo, stream.
    OneSize,
    /// Where requests and responses have a size each: rr, crr.
    Exchange,
    /// Behind `serve`.
    Serving,
    /// Before any command.
    Top,
}

impl Standing {
    fn holds(self, path: &[&str]) -> bool {
        let (command, workload) = (path.first().copied(), path.get(1).copied());
        let measures = matches!(command, Some("run" | "compare"));
        let is = |workloads: &[&str]| measures && workload.is_some_and(|w| workloads.contains(&w));
        match self {
            Self::Measuring => measures,
            Self::Stream => is(&["stream"]),
            Self::Operations => is(&["rr", "echo", "crr", "cc"]),
            Self::Deep => is(&["rr", "echo"]),
            Self::OneSize => is(&["echo", "stream"]),
            Self::Exchange => is(&["rr", "crr"]),
            Self::Serving => command == Some("serve"),
            Self::Top => command.is_none(),
        }
    }
}

/// Words of one meaning in one tool, where they may stand, and what is written here.
type Row = (
    Standing,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const IPERF3: &str = "iperf3";
const NETPERF: &str = "netperf";
const WRK: &str = "wrk";
/// Words of ours that belong to other workloads.
const OURS: &str = "";

/// What stands first wins where one tool has a word twice.
const WORDS: &[Row] = {
    use Standing::*;
    &[
        (
            Top,
            IPERF3,
            &["-s", "--server"],
            "linerate serve --listen tcp://127.0.0.1:5201 --role discard",
        ),
        (
            Top,
            IPERF3,
            &["-c", "--client"],
            "linerate run stream tcp://HOST:PORT",
        ),
        (Top, NETPERF, &["-H"], "linerate run rr tcp://HOST:PORT"),
        (
            Serving,
            IPERF3,
            &["-p", "--port"],
            "the port of --listen tcp://127.0.0.1:PORT",
        ),
        (
            Serving,
            IPERF3,
            &["-B", "--bind"],
            "the address of --listen tcp://ADDRESS:PORT",
        ),
        (Serving, IPERF3, &["-1"], "--one-off"),
        (Serving, IPERF3, &["-A", "--affinity"], "--cpus"),
        (
            Serving,
            NETPERF,
            &["-L"],
            "the address of --listen tcp://ADDRESS:PORT",
        ),
        (
            Measuring,
            IPERF3,
            &["--client"],
            "the target, which stands alone: tcp://HOST:PORT",
        ),
        (
            Measuring,
            NETPERF,
            &["-H"],
            "the target, which stands alone: tcp://HOST:PORT",
        ),
        (
            Measuring,
            IPERF3,
            &["-p", "--port"],
            "the port of the target: tcp://HOST:PORT",
        ),
        (Measuring, IPERF3, &["-P", "--parallel"], "--connections"),
        (
            Measuring,
            IPERF3,
            &["--time"],
            "--duration, with a unit: --duration 10s",
        ),
        (Measuring, IPERF3, &["-k", "--blockcount"], "--count"),
        (
            Measuring,
            IPERF3,
            &["--bytes"],
            "--duration, or --count times --size",
        ),
        (OneSize, IPERF3, &["-l", "--length", "--len"], "--size"),
        (
            Exchange,
            IPERF3,
            &["--length", "--len"],
            "--request and --response",
        ),
        (Stream, IPERF3, &["-b", "--bandwidth"], "--bitrate"),
        (Stream, IPERF3, &["--fq-rate"], "--pacing-rate"),
        (Stream, IPERF3, &["-R", "--reverse"], "--direction receive"),
        (
            Stream,
            IPERF3,
            &["--bidir", "--dualtest"],
            "--direction both",
        ),
        (
            Stream,
            IPERF3,
            &["-Z", "--zerocopy"],
            "--engine uring:send=zc",
        ),
        (Measuring, IPERF3, &["--window"], "--sndbuf and --rcvbuf"),
        (Measuring, IPERF3, &["-M", "--set-mss"], "--mss"),
        (Measuring, IPERF3, &["-N", "--no-delay"], "--nodelay"),
        (Measuring, IPERF3, &["-S", "--dscp"], "--tos"),
        (
            Measuring,
            IPERF3,
            &["-C", "--linux-congestion"],
            "--congestion",
        ),
        (
            Measuring,
            IPERF3,
            &["-O", "--omit"],
            "--warmup, with a unit: --warmup 2s",
        ),
        (Measuring, IPERF3, &["-J", "--json"], "--format json"),
        (Measuring, IPERF3, &["--json-stream"], "--events -"),
        (Measuring, IPERF3, &["--logfile"], "--output"),
        (
            Measuring,
            IPERF3,
            &["-A", "--affinity"],
            "--client-cpus and --testee-cpus",
        ),
        (Measuring, IPERF3, &["-B", "--bind"], "--source"),
        (
            Measuring,
            IPERF3,
            &["-4", "--version4", "-6", "--version6"],
            "an address of that version as the target: tcp://127.0.0.1:PORT or tcp://[::1]:PORT",
        ),
        (
            Measuring,
            IPERF3,
            &["-u", "--udp"],
            "nothing: linerate measures TCP and Unix sockets",
        ),
        (
            Measuring,
            IPERF3,
            &["--rcv-timeout"],
            "--timeout, with a unit: --timeout 5s",
        ),
        (
            Measuring,
            NETPERF,
            &["-l"],
            "--duration, with a unit: --duration 10s",
        ),
        (Measuring, NETPERF, &["-D"], "--nodelay"),
        (Exchange, NETPERF, &["-s", "-S"], "--sndbuf and --rcvbuf"),
        (OneSize, NETPERF, &["-m"], "--size"),
        (Deep, NETPERF, &["-b"], "--depth"),
        (
            Measuring,
            NETPERF,
            &["-T"],
            "--client-cpus and --testee-cpus",
        ),
        (Measuring, NETPERF, &["-L"], "--source"),
        (
            Measuring,
            NETPERF,
            &["-I"],
            "--repeat, whose result has a confidence interval",
        ),
        (
            Measuring,
            NETPERF,
            &["-C"],
            "always on: both sides' CPU time is in every result",
        ),
        (Operations, WRK, &["-R"], "--rate"),
        (
            Measuring,
            WRK,
            &["-L", "--latency"],
            "always on: percentiles are in every result",
        ),
        (
            Exchange,
            OURS,
            &["--size"],
            "--request and --response in this workload; --size is for echo and stream",
        ),
        (
            OneSize,
            OURS,
            &["--request", "--response"],
            "--size in this workload; --request and --response are for rr and crr",
        ),
        (
            Stream,
            OURS,
            &["--rate"],
            "--bitrate in a stream; --rate is for operations",
        ),
        (
            Stream,
            OURS,
            &["--depth"],
            "for rr and echo; a stream always has as much in flight as the kernel takes",
        ),
        (
            Operations,
            OURS,
            &["--bitrate"],
            "--rate, operations per second, in this workload; --bitrate is for streams",
        ),
        (
            Operations,
            OURS,
            &["--direction"],
            "for streams; an operation goes there and back",
        ),
    ]
};

/// What an option of another tool, or of another workload, is at this place: `-P of iperf3 is --connections`.
pub fn option(word: &str, path: &[&str]) -> Option<String> {
    let found: Vec<&Row> = WORDS
        .iter()
        .filter(|(place, _, words, _)| place.holds(path) && words.contains(&word))
        .collect();
    let (_, tool, ..) = found.first()?;
    if *tool == OURS {
        return found.first().map(|(.., ours)| format!("it is {ours}"));
    }
    let parts: Vec<String> = found
        .iter()
        .map(|(_, tool, _, ours)| format!("{word} of {tool} is {ours}"))
        .collect();
    Some(parts.join("; "))
}

/// What a value tells of an option that means another thing here: `-c HOST`, `-t TCP_RR`, `-r 1,1`, `-w 256K`.
pub fn value(option: &str, value: &str) -> Option<String> {
    let long = option.split_whitespace().next()?;
    match long {
        "--connections"
            if !value.starts_with(|c: char| c.is_ascii_digit()) || is_address(value) =>
        {
            Some(format!(
                "the target stands alone, without an option: tcp://{value}:PORT"
            ))
        }
        "--threads" => test(value).map(|ours| format!("{value} of netperf is {ours}")),
        "--repeat" => {
            let (request, response) = value.split_once(',')?;
            Some(format!(
                "-r of netperf is --request {request} --response {response}"
            ))
        }
        "--warmup" if ends_as_size(value) => {
            Some("-w of iperf3 is --sndbuf and --rcvbuf".to_owned())
        }
        _ => None,
    }
}

fn is_address(value: &str) -> bool {
    value.parse::<std::net::IpAddr>().is_ok()
}

fn ends_as_size(value: &str) -> bool {
    value.ends_with(['k', 'K', 'M', 'G'])
}

/// A word where a command or a workload should stand: a workload without its `run`, a test of netperf, or what
/// other tools call it.
pub fn command(word: &str, path: &[&str]) -> Option<String> {
    if let (true, Some(workload)) = (path.is_empty(), workload(word)) {
        return Some(format!("linerate run {workload}"));
    }
    if let Some(ours) = test(word) {
        return Some(ours.to_owned());
    }
    Some(
        match (path, word) {
            (["run" | "compare"], "ping" | "latency" | "rtt" | "pingpong") => "linerate run rr",
            (["run" | "compare"], "throughput" | "bandwidth" | "bulk") => "linerate run stream",
            (["run" | "compare"], "connect" | "connections") => "linerate run cc",
            ([], "server" | "listen" | "testee") => {
                "linerate serve --listen tcp://127.0.0.1:9000 --role echo"
            }
            ([], "client" | "bench" | "measure" | "load" | "test") => "linerate run rr",
            _ => return None,
        }
        .to_owned(),
    )
}

fn workload(word: &str) -> Option<&str> {
    ["rr", "echo", "stream", "crr", "cc"]
        .into_iter()
        .find(|workload| *workload == word)
}

/// Tests of netperf.
fn test(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_uppercase().as_str() {
        "TCP_RR" => "linerate run rr",
        "TCP_STREAM" => "linerate run stream",
        "TCP_MAERTS" => "linerate run stream --direction receive",
        "TCP_CRR" => "linerate run crr",
        "TCP_CC" => "linerate run cc",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;

    #[test]
    fn words_are_answered_where_they_stand() {
        let of = |word, path: &[&str]| option(word, path).unwrap_or_default();
        assert_eq!(of("-P", &["run", "rr"]), "-P of iperf3 is --connections");
        assert_eq!(
            of("--json", &["compare", "rr"]),
            "--json of iperf3 is --format json"
        );
        assert_eq!(
            of("-R", &["run", "stream"]),
            "-R of iperf3 is --direction receive"
        );
        assert_eq!(of("-R", &["run", "rr"]), "-R of wrk is --rate");
        assert_eq!(
            of("-l", &["run", "stream"]),
            "-l of iperf3 is --size; -l of netperf is --duration, with a unit: --duration 10s"
        );
        assert!(of("--size", &["run", "rr"]).starts_with("it is --request and --response"));
        assert!(of("-s", &[]).contains("linerate serve"));
        assert_eq!(option("--json", &["serve"]), None);
        assert_eq!(option("--nosuch", &["run", "rr"]), None);
    }

    #[test]
    fn values_tell_what_was_meant() {
        for (option, given, part) in [
            ("--connections <N>", "10.0.0.2", "tcp://10.0.0.2:PORT"),
            ("--connections <N>", "server", "tcp://server:PORT"),
            ("--threads <N>", "TCP_CRR", "linerate run crr"),
            ("--repeat <N>", "1,64", "--request 1 --response 64"),
            ("--warmup <DURATION>", "256K", "--sndbuf"),
        ] {
            let tip = value(option, given).unwrap_or_default();
            assert!(tip.contains(part), "{option} {given}: {tip}");
        }
        assert_eq!(value("--connections <N>", "5x"), None);
        assert_eq!(value("--warmup <DURATION>", "5"), None);
    }

    #[test]
    fn commands_are_found_by_other_names() {
        assert_eq!(command("rr", &[]).as_deref(), Some("linerate run rr"));
        assert_eq!(
            command("tcp_rr", &["run"]).as_deref(),
            Some("linerate run rr")
        );
        assert!(command("server", &[]).is_some_and(|tip| tip.contains("serve")));
        assert_eq!(command("nosuch", &[]), None);
    }

    /// A word that we know needs no translation, and every option that is named exists.
    #[test]
    fn no_word_of_the_table_is_one_of_ours() {
        let mut cli = Cli::command();
        cli.build();
        for path in [
            &["run", "rr"][..],
            &["run", "echo"],
            &["run", "stream"],
            &["run", "crr"],
            &["run", "cc"],
            &["serve"],
        ] {
            let command = path.iter().fold(&cli, |command, word| {
                command.find_subcommand(word).expect("a command")
            });
            let longs: Vec<String> = command
                .get_arguments()
                .filter_map(|argument| argument.get_long().map(|long| format!("--{long}")))
                .collect();
            let shorts: Vec<String> = command
                .get_arguments()
                .filter_map(|argument| argument.get_short().map(|short| format!("-{short}")))
                .collect();
            for (place, tool, words, ours) in WORDS.iter().filter(|(place, ..)| place.holds(path)) {
                for word in *words {
                    assert!(
                        !longs.contains(&(*word).to_owned())
                            && !shorts.contains(&(*word).to_owned()),
                        "{path:?}: {word} of {tool} at {place:?} is an option of ours"
                    );
                }
                let named = ours
                    .split([' ', ',', ';', ':'])
                    .find(|word| word.starts_with("--"));
                if let Some(named) = named {
                    assert!(longs.contains(&named.to_owned()), "{path:?}: {named}");
                }
            }
        }
    }
}
