//! What users may set about a runtime: `--engine monoio:entries=4096,taskrun=defer`.

use engine::options::{AUTO, EngineOption, Options, Values, duration_text};

/// How a ring is told when to run completions (io_uring_setup(2)).
const TASKRUN: &str = "taskrun";

const ENTRIES: &str = "entries";
const COMPLETIONS: &str = "completions";
const SQPOLL: &str = "sqpoll";

const COMPLETIONS_OPTION: EngineOption = EngineOption {
    key: COMPLETIONS,
    values: Values::Integer(2, 65_536),
    default: AUTO,
    unit: "entries",
    meaning: "completion queue, rounded up to a power of two; auto: twice the submission queue",
};

const SQPOLL_OPTION: EngineOption = EngineOption {
    key: SQPOLL,
    values: Values::Duration(0, 10_000_000_000),
    default: "0us",
    unit: "ns",
    meaning: "a kernel thread submits, and sleeps when idle for this long (whole ms); 0: no thread",
};

/// The options of `tokio-uring`. It waits in epoll and never enters the ring to wait, so with
/// DEFER_TASKRUN nothing would ever complete: there is no such choice.
pub static OF_TOKIO_URING: [EngineOption; 4] = [
    EngineOption {
        key: ENTRIES,
        values: Values::Integer(1, 32_768),
        default: "256",
        unit: "entries",
        meaning: "submission queue, rounded up to a power of two",
    },
    COMPLETIONS_OPTION,
    EngineOption {
        key: TASKRUN,
        values: Values::Choice(&["interrupt", "coop"]),
        default: "interrupt",
        unit: "",
        meaning: "completions interrupt the thread, or wait for its next system call (COOP_TASKRUN)",
    },
    SQPOLL_OPTION,
];

/// The options of `monoio`.
pub static OF_MONOIO: [EngineOption; 4] = [
    EngineOption {
        key: ENTRIES,
        // It takes less as 256.
        values: Values::Integer(256, 32_768),
        default: "1024",
        unit: "entries",
        meaning: "submission queue, rounded up to a power of two",
    },
    COMPLETIONS_OPTION,
    EngineOption {
        key: TASKRUN,
        values: Values::Choice(&["interrupt", "coop", "defer"]),
        default: "interrupt",
        unit: "",
        meaning: "completions interrupt the thread, wait for its next system call (COOP_TASKRUN), or for its next wait (DEFER_TASKRUN)",
    },
    SQPOLL_OPTION,
];

/// The options of `monoio-legacy`.
pub static OF_MONOIO_LEGACY: [EngineOption; 1] = [EngineOption {
    key: ENTRIES,
    values: Values::Integer(256, 65_536),
    default: "1024",
    unit: "events",
    meaning: "events that one epoll_wait may bring",
}];

/// What neither runtime's public operations can express, by the names that engine `uring` has for
/// it.
pub fn no_runtime_has(key: &str) -> Option<&'static str> {
    Some(match key {
        "receive" => "it submits each receive singly, into a buffer of its own: no multishot",
        "buffers" | "buffer_size" => "it receives into one buffer per connection: no buffer group",
        "direct" => "it knows no direct descriptors: its sockets are plain ones",
        "send" | "zc" | "threshold" => "it has no zero-copy send for streams",
        "batch" | "min_wait" | "spin" | "napi" => "how it waits is its own affair",
        _ => return None,
    })
}

/// The settings of a runtime, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Entries of the submission queue, or events of one wait.
    pub entries: u32,
    /// The ring's; `None` without a ring.
    pub ring: Option<Ring>,
}

/// The settings of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    completions: Option<u32>,
    taskrun: &'static str,
    /// Idle time of the polling kernel thread, ms.
    sqpoll_ms: Option<u32>,
}

impl Settings {
    /// Reads what was written for `engine`.
    ///
    /// # Errors
    /// What is no option, no value, or excludes another.
    pub fn parse(
        engine: &str,
        table: &'static [EngineOption],
        written: &[(String, String)],
    ) -> Result<Self, String> {
        let options = Options::parse(engine, table, written)?;
        let number = |key| options.number(key).map(|number| number as u32);
        let settings = Self {
            entries: number(ENTRIES).expect("it has a default in every table"),
            ring: table
                .iter()
                .any(|option| option.key == TASKRUN)
                .then(|| Ring {
                    completions: number(COMPLETIONS),
                    taskrun: options.word(TASKRUN).unwrap_or("interrupt"),
                    sqpoll_ms: idle_ms(options.number(SQPOLL)),
                }),
        };
        settings
            .check()
            .map_err(|why| format!("engine {engine}: {why}"))?;
        Ok(settings)
    }

    /// What the kernel would answer with EINVAL, with the reason.
    fn check(&self) -> Result<(), String> {
        let Some(ring) = self.ring else { return Ok(()) };
        if ring.sqpoll_ms.is_some() && ring.taskrun != "interrupt" {
            return Err(format!(
                "sqpoll excludes taskrun={}: a kernel thread submits, so there is no system call \
                 to wait for; leave one of them out",
                ring.taskrun
            ));
        }
        match ring.completions {
            Some(completions) if completions < self.entries => Err(format!(
                "completions={completions} is less than the {} entries of the submission queue",
                self.entries
            )),
            _ => Ok(()),
        }
    }

    /// That the runtime could not be built with these.
    pub fn failed(&self, engine: &str, error: &std::io::Error) -> String {
        let granted = self.granted();
        let written: Vec<_> = granted
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let written = written.join(",");
        format!("starting the runtime {engine}:{written}: {error}; does it start without options?")
    }

    /// How to build the ring of a runtime.
    pub fn ring_builder(&self) -> io_uring_06::Builder {
        let mut builder = io_uring_06::IoUring::builder();
        let Some(ring) = self.ring else {
            return builder;
        };
        if let Some(completions) = ring.completions {
            builder.setup_cqsize(completions);
        }
        match ring.taskrun {
            "coop" => builder.setup_coop_taskrun(),
            "defer" => builder.setup_single_issuer().setup_defer_taskrun(),
            _ => &mut builder,
        };
        if let Some(idle_ms) = ring.sqpoll_ms {
            builder.setup_sqpoll(idle_ms);
        }
        builder
    }

    /// What is in force, key to value. A ring that would not have these is not built.
    pub fn granted(&self) -> Vec<(String, String)> {
        let pair = |key: &str, value: String| (key.to_owned(), value);
        let Some(ring) = self.ring else {
            return vec![pair(ENTRIES, self.entries.to_string())];
        };
        let entries = self.entries.next_power_of_two();
        let completions = ring.completions.unwrap_or(2 * entries).next_power_of_two();
        let sqpoll = ring.sqpoll_ms.map_or("0us".to_owned(), |ms| {
            duration_text(u64::from(ms) * 1_000_000)
        });
        vec![
            pair(ENTRIES, entries.to_string()),
            pair(COMPLETIONS, completions.to_string()),
            pair(TASKRUN, ring.taskrun.to_owned()),
            pair(SQPOLL, sqpoll),
        ]
    }
}

/// The kernel counts this in ms.
fn idle_ms(ns: Option<u64>) -> Option<u32> {
    ns.filter(|&ns| ns > 0)
        .map(|ns| ns.div_ceil(1_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(table: &'static [EngineOption], text: &str) -> Result<Settings, String> {
        let written: Vec<_> = text
            .split(',')
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Settings::parse("test", table, &written)
    }

    #[test]
    fn what_is_written_is_granted() {
        let settings = parse(&OF_MONOIO, "entries=300,taskrun=defer,completions=5000").unwrap();
        let granted = settings.granted();
        let value = |key: &str| &granted.iter().find(|(name, _)| name == key).unwrap().1;
        assert_eq!(
            (value("entries"), value("completions"), value("taskrun")),
            (&"512".to_owned(), &"8192".to_owned(), &"defer".to_owned())
        );
        let settings = parse(&OF_TOKIO_URING, "sqpoll=1500us").unwrap();
        assert_eq!(settings.ring.unwrap().sqpoll_ms, Some(2));
        assert!(
            settings
                .granted()
                .contains(&("sqpoll".into(), "2ms".into()))
        );
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_its_reason() {
        for (table, text, says) in [
            (
                &OF_MONOIO[..],
                "sqpoll=1ms,taskrun=defer",
                "sqpoll excludes",
            ),
            (&OF_MONOIO[..], "completions=512", "less than the 1024"),
            (&OF_MONOIO[..], "entries=100", "write 256 to 32768"),
            (
                &OF_TOKIO_URING[..],
                "taskrun=defer",
                "write interrupt | coop",
            ),
            (&OF_MONOIO_LEGACY[..], "sqpoll=1ms", "unknown option"),
        ] {
            let error = parse(table, text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn every_table_has_the_entries_of_its_runtime() {
        for (table, entries) in [
            (&OF_TOKIO_URING[..], 256),
            (&OF_MONOIO[..], 1_024),
            (&OF_MONOIO_LEGACY[..], 1_024),
        ] {
            assert_eq!(parse(table, "").unwrap().entries, entries);
        }
    }
}
