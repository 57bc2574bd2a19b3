//! The options of the engines of this crate: their tables, and what was asked for.

use engine::options::{AUTO, EngineOption, Options, Values, duration_text};
use std::time::Duration;

/// The longest time to spin: beyond it, a core is simply given away.
const SPIN_LIMIT_NS: u64 = 1_000_000_000;

/// The most events that one wait takes by itself, and the most that may be asked for.
const BATCH_DEFAULT_MAX: u32 = 1024;
const BATCH_LIMIT: u64 = 65_536;

/// What users may write after `epoll:` and `kqueue:`.
pub static READINESS: [EngineOption; 3] = [
    EngineOption {
        key: "trigger",
        values: Values::Choice(&["edge", "level"]),
        default: "edge",
        unit: "",
        meaning: "edge: what has arrived is reported once, and the engine remembers what it has not read; \
                  level: it is reported until it is read, one receive per report",
    },
    EngineOption {
        key: "spin",
        values: Values::Duration(0, SPIN_LIMIT_NS),
        default: "0us",
        unit: "",
        meaning: "how long to ask for events again and again before sleeping; it wants a CPU of its own",
    },
    EngineOption {
        key: "batch",
        values: Values::Integer(1, BATCH_LIMIT),
        default: AUTO,
        unit: "events",
        meaning: "events taken from the kernel in one wait at most; auto: by the number of connections, \
                  up to 1024",
    },
];

/// What users may write after `blocking:`.
pub static BLOCKING: [EngineOption; 1] = [EngineOption {
    key: "spin",
    values: Values::Duration(0, SPIN_LIMIT_NS),
    default: "0us",
    unit: "",
    meaning: "how long to try to receive without waiting before a receive that sleeps; it wants a CPU of \
              its own for every connection",
}];

/// Granted options, key to value.
type Granted = Vec<(String, String)>;

/// The options of a readiness engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadinessOptions {
    /// Readiness to read is asked for as a level.
    pub level: bool,
    /// How long to look for events before sleeping.
    pub spin: Duration,
    /// Events per wait at most.
    pub batch: u32,
}

impl ReadinessOptions {
    /// Reads what was written for `engine`, which will have so many connections.
    ///
    /// # Errors
    /// What is no option, or no value of it.
    pub fn read(
        engine: &str,
        written: &[(String, String)],
        connections: u32,
    ) -> Result<Self, String> {
        let options = Options::parse(engine, &READINESS, written)?;
        let by_connections = connections.saturating_add(2).clamp(16, BATCH_DEFAULT_MAX);
        Ok(Self {
            level: options.word("trigger") == Some("level"),
            spin: spin(&options),
            batch: options
                .number("batch")
                .map_or(by_connections, |batch| batch as u32),
        })
    }

    /// What is in force.
    pub fn granted(&self) -> Granted {
        let trigger = if self.level { "level" } else { "edge" };
        vec![
            ("trigger".to_owned(), trigger.to_owned()),
            ("spin".to_owned(), text(self.spin)),
            ("batch".to_owned(), self.batch.to_string()),
        ]
    }
}

/// The options of `blocking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockingOptions {
    /// How long to try to receive before sleeping.
    pub spin: Duration,
}

impl BlockingOptions {
    /// Reads what was written.
    ///
    /// # Errors
    /// What is no option, or no value of it.
    pub fn read(written: &[(String, String)]) -> Result<Self, String> {
        let options = Options::parse("blocking", &BLOCKING, written)?;
        Ok(Self {
            spin: spin(&options),
        })
    }

    /// What is in force.
    pub fn granted(&self) -> Granted {
        vec![("spin".to_owned(), text(self.spin))]
    }
}

fn spin(options: &Options) -> Duration {
    Duration::from_nanos(options.number("spin").unwrap_or(0))
}

fn text(duration: Duration) -> String {
    duration_text(duration.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Granted {
        text.split(',')
            .filter_map(|option| option.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn granted(text: &str, connections: u32) -> String {
        let options = ReadinessOptions::read("epoll", &written(text), connections).unwrap();
        let granted = options.granted();
        let pairs: Vec<String> = granted.iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join(",")
    }

    #[test]
    fn what_is_in_force_is_said_as_it_is_written() {
        assert_eq!(granted("", 1), "trigger=edge,spin=0us,batch=16");
        assert_eq!(granted("", 256), "trigger=edge,spin=0us,batch=258");
        assert_eq!(granted("", u32::MAX), "trigger=edge,spin=0us,batch=1024");
        let all = "trigger=level,spin=50us,batch=1";
        assert_eq!(granted(all, 256), all);
        let blocking = BlockingOptions::read(&written("spin=2ms")).unwrap();
        assert_eq!(blocking.granted(), written("spin=2ms"));
    }

    #[test]
    fn what_is_not_accepted_is_refused() {
        for text in ["trigger=both", "spin=1h", "spin=2s", "batch=0", "warp=9"] {
            assert!(
                ReadinessOptions::read("epoll", &written(text), 1).is_err(),
                "{text}"
            );
        }
        for text in ["trigger=edge", "spin=fast"] {
            assert!(BlockingOptions::read(&written(text)).is_err(), "{text}");
        }
    }
}
