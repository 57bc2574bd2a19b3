//! The part of a floor that is not its loop: arguments, the measured window, the one line of output.
//!
//! Every floor speaks the same wire: whatever bytes arrive are sent back. For a client that sends
//! n bytes and waits for n bytes, echo and request/response are therefore the same floor.

use std::io;
use std::process::exit;
use std::time::{Duration, Instant};

/// Largest message of a floor. A message of this size always fits into the socket buffers of a
/// fresh loopback connection, so the loops stay bare: a short write is an error and not a case.
pub const SIZE_BYTES_MAX: usize = 16 * 1024;

const USAGE: &str = "usage:
  serve ADDR [--connections N] [--size BYTES] [--churn]     echo until standard input closes
  load  ADDR [--connections N] [--size BYTES] [--churn] [--seconds S] [--warmup-seconds S] [--clock]

  --connections   connections (load), or how many to size the buffers for (serve); default 1
  --size          bytes per message, 1..=16384; default 1
  --churn         a connection an operation, closed by the server
  --clock         read the clock before and after every operation, as linerate does";

/// What the command line asked for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Echo on this address until standard input closes.
    Serve(Options),
    /// A closed loop against this address for the measured time.
    Load(Options),
}

/// The options of both roles; `serve` uses `connections` and `size_bytes` to size its buffers.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen or connect, `ip:port`.
    pub address: String,
    /// Connections, at least 1.
    pub connections: usize,
    /// Bytes of a message, 1 to [`SIZE_BYTES_MAX`].
    pub size_bytes: usize,
    /// Time before the window, not counted.
    pub warmup: Duration,
    /// Length of the window.
    pub measured: Duration,
    /// Every operation has a connection of its own, which the server closes.
    pub churn: bool,
    /// Read the clock twice per operation.
    pub clock: bool,
}

/// What a floor does in each role.
pub struct Loops {
    /// The server, and the one that closes after each answer.
    pub serve: [fn(&Options) -> io::Result<()>; 2],
    /// The client, and the one with a connection an operation.
    pub load: [fn(&Options) -> io::Result<()>; 2],
}

/// Runs a floor: parses the arguments, calls the role, turns an error into exit code 1.
pub fn run(loops: &Loops) {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Command::Serve(options)) => loops.serve[usize::from(options.churn)](&options),
        Ok(Command::Load(options)) => loops.load[usize::from(options.churn)](&options),
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            exit(2);
        }
    };
    if let Err(error) = outcome {
        eprintln!("floor failed: {error}");
        exit(1);
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let role = arguments.next().ok_or("a role is missing")?;
    let address = arguments.next().ok_or("an address is missing")?;
    let mut options = Options {
        address,
        connections: 1,
        size_bytes: 1,
        warmup: Duration::from_secs(1),
        measured: Duration::from_secs(3),
        churn: false,
        clock: false,
    };
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--clock" => options.clock = true,
            "--churn" => options.churn = true,
            _ => with_value(&mut options, &name, arguments.next())?,
        }
    }
    match role.as_str() {
        "serve" => Ok(Command::Serve(options)),
        "load" => Ok(Command::Load(options)),
        _ => Err(format!("unknown role {role}")),
    }
}

fn with_value(options: &mut Options, name: &str, value: Option<String>) -> Result<(), String> {
    let value = value.ok_or(format!("{name} needs a value"))?;
    match name {
        "--connections" => options.connections = whole(name, &value, 1, 65_536)?,
        "--size" => options.size_bytes = whole(name, &value, 1, SIZE_BYTES_MAX)?,
        "--seconds" => options.measured = seconds(name, &value)?,
        "--warmup-seconds" => options.warmup = seconds(name, &value)?,
        _ => return Err(format!("unknown option {name}")),
    }
    Ok(())
}

fn whole(name: &str, value: &str, min: usize, max: usize) -> Result<usize, String> {
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!(
            "{name} {value}: a whole number from {min} to {max} is needed"
        )),
    }
}

fn seconds(name: &str, value: &str) -> Result<Duration, String> {
    match value.parse::<f64>() {
        Ok(number) if (0.0..=3600.0).contains(&number) => Ok(Duration::from_secs_f64(number)),
        _ => Err(format!("{name} {value}: seconds from 0 to 3600 are needed")),
    }
}

/// The measured window of a closed loop: warm-up before it, drain after it, both uncounted.
#[derive(Debug)]
pub struct Window {
    options: Options,
    phase: Phase,
    turns_from: Instant,
    opened: Instant,
    closed: Instant,
    operations: u64,
    latency_sum: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measure,
    Drain,
}

impl Window {
    /// Starts the warm-up now.
    pub fn start(options: &Options) -> Self {
        let now = Instant::now();
        Self {
            options: options.clone(),
            phase: Phase::WarmUp,
            turns_from: now,
            opened: now,
            closed: now,
            operations: 0,
            latency_sum: Duration::ZERO,
        }
    }

    /// Reads the clock, once per turn of the loop; true while new operations may start.
    #[inline]
    pub fn turn(&mut self) -> bool {
        let now = Instant::now();
        if self.phase == Phase::WarmUp && now - self.turns_from >= self.options.warmup {
            self.phase = Phase::Measure;
            self.opened = now;
        } else if self.phase == Phase::Measure && now - self.opened >= self.options.measured {
            self.phase = Phase::Drain;
            self.closed = now;
        }
        self.phase != Phase::Drain
    }

    /// The moment of sending, when `--clock` asks for it.
    #[inline]
    pub fn stamp(&self) -> Option<Instant> {
        self.options.clock.then(Instant::now)
    }

    /// One answer is complete. The second clock read of the operation happens here.
    #[inline]
    pub fn completed(&mut self, sent: Option<Instant>) {
        let latency = sent.map(|at| at.elapsed());
        if self.phase == Phase::Measure {
            self.operations += 1;
            self.latency_sum += latency.unwrap_or_default();
        }
    }

    /// Prints the result line.
    pub fn report(&self) {
        report(
            &self.options,
            self.operations,
            self.closed - self.opened,
            self.latency_sum,
        );
    }
}

/// Prints one JSON object on one line: the rate over the time that really passed.
pub fn report(options: &Options, operations: u64, measured: Duration, latency_sum: Duration) {
    let seconds = measured.as_secs_f64();
    let mean_ns = (options.clock && operations > 0)
        .then(|| latency_sum.as_nanos() as f64 / operations as f64);
    let line = serde_json::json!({
        "operations_per_second": operations as f64 / seconds,
        "operations": operations,
        "measured_seconds": seconds,
        "connections": options.connections,
        "size_bytes": options.size_bytes,
        "mean_latency_ns": mean_ns,
    });
    println!("{line}");
}

/// An error for a peer that broke the closed loop: closed early, or took only part of a message.
pub fn broken(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = String> + use<> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        words.into_iter()
    }

    #[test]
    fn options_are_read_and_bounded() {
        let Ok(Command::Load(options)) =
            parse(words("load 127.0.0.1:9 --size 64 --clock --seconds 0.5"))
        else {
            panic!("a valid command line was refused");
        };
        assert_eq!(
            (options.size_bytes, options.connections, options.clock),
            (64, 1, true)
        );
        assert_eq!(options.measured, Duration::from_millis(500));
        assert!(parse(words("load 127.0.0.1:9 --size 16385")).is_err());
        assert!(parse(words("load 127.0.0.1:9 --connections 0")).is_err());
        assert!(parse(words("load 127.0.0.1:9 --seconds")).is_err());
        assert!(parse(words("dance 127.0.0.1:9")).is_err());
    }

    #[test]
    fn only_the_window_counts() {
        let Ok(Command::Load(options)) =
            parse(words("load x --warmup-seconds 0 --seconds 0 --clock"))
        else {
            panic!("a valid command line was refused");
        };
        let mut window = Window::start(&options);
        window.completed(window.stamp());
        assert_eq!(window.operations, 0, "warm-up");
        assert!(window.turn());
        window.completed(window.stamp());
        assert!(!window.turn());
        window.completed(window.stamp());
        assert_eq!(window.operations, 1, "drain");
    }
}
