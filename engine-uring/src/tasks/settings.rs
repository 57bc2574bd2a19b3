//! What users may set about a runtime: `--engine monoio:entries=4096,taskrun=defer`.

use engine::options::{AUTO, EngineOption, Options, Values};

const SQ_ENTRIES: &str = "sq_entries";
const CQ_ENTRIES: &str = "cq_entries";
const TASKRUN: &str = "taskrun";
const EVENTS: &str = "events";

// The keys are those of engine `uring`, where it has them; the defaults are the runtimes' own.

const CQ_ENTRIES_OPTION: EngineOption = EngineOption {
    key: CQ_ENTRIES,
    values: Values::Integer(2, 65_536),
    default: AUTO,
    unit: "entries",
    meaning: "length of the completion queue, at least that of the other; auto: twice the other. \
              Two per connection hold any burst; what does not fit waits in the kernel, uncounted",
};

/// The options of `tokio-uring`. It waits in epoll and never enters the ring to wait, so with
/// DEFER_TASKRUN nothing would ever complete: there is no such choice.
#[cfg(feature = "tokio-uring")]
pub static OF_TOKIO_URING: [EngineOption; 3] = [
    EngineOption {
        key: SQ_ENTRIES,
        values: Values::Integer(1, 32_768),
        default: "256",
        unit: "entries",
        meaning: "length of the submission queue",
    },
    CQ_ENTRIES_OPTION,
    EngineOption {
        key: TASKRUN,
        values: Values::Choice(&["interrupt", "coop"]),
        default: "interrupt",
        unit: "",
        meaning: "interrupt: completions interrupt the worker; coop: they wait for any of its system calls (Linux 5.19)",
    },
];

/// The options of `monoio`.
#[cfg(feature = "monoio")]
pub static OF_MONOIO: [EngineOption; 3] = [
    EngineOption {
        key: SQ_ENTRIES,
        // It takes less as 256.
        values: Values::Integer(256, 32_768),
        default: "1024",
        unit: "entries",
        meaning: "length of the submission queue",
    },
    CQ_ENTRIES_OPTION,
    EngineOption {
        key: TASKRUN,
        values: Values::Choice(&["interrupt", "coop", "defer"]),
        default: "interrupt",
        unit: "",
        meaning: "interrupt: completions interrupt the worker; coop: they wait for any of its system calls (Linux 5.19); defer: for its wait (6.1)",
    },
];

/// The options of `monoio-legacy`.
#[cfg(feature = "monoio")]
pub static OF_MONOIO_LEGACY: [EngineOption; 1] = [EngineOption {
    key: EVENTS,
    values: Values::Integer(256, 65_536),
    default: "1024",
    unit: "events",
    meaning: "events that one epoll_wait may bring",
}];

/// Why a runtime has none of these options of engine `uring`: its public operations or its loop
/// cannot express them.
pub fn no_runtime_has(key: &str) -> Option<&'static str> {
    Some(match key {
        "receive" => "it submits each receive singly, into a buffer of its own; no multishot",
        "buffers" | "buffer_size" => "it receives into one buffer per connection; no buffer group",
        "direct" => "it knows no direct descriptors; its sockets are plain ones",
        "send" | "zc_threshold" => "it has no zero-copy send for streams",
        "batch" | "min_wait" | "spin" | "register_ring" => "how it waits is its own affair",
        "napi" | "napi_prefer" => "it does not give access to its ring to register this",
        "sqpoll_cpu" => "it is not offered: the kernel chooses that thread's CPU",
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
        let has_ring = table.iter().any(|option| option.key == TASKRUN);
        let settings = Self {
            entries: number(if has_ring { SQ_ENTRIES } else { EVENTS })
                .expect("it has a default in every table"),
            ring: has_ring.then(|| Ring {
                completions: number(CQ_ENTRIES),
                taskrun: options.word(TASKRUN).unwrap_or("interrupt"),
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
        match ring.completions {
            Some(completions) if completions < self.entries => Err(format!(
                "cq_entries={completions} is less than the {} entries of the submission queue",
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
        builder
    }

    /// What is in force, key to value. A ring that would not have these is not built.
    pub fn granted(&self) -> Vec<(String, String)> {
        let pair = |key: &str, value: String| (key.to_owned(), value);
        let Some(ring) = self.ring else {
            return vec![pair(EVENTS, self.entries.to_string())];
        };
        let entries = self.entries.next_power_of_two();
        let completions = ring.completions.unwrap_or(2 * entries).next_power_of_two();
        vec![
            pair(SQ_ENTRIES, entries.to_string()),
            pair(CQ_ENTRIES, completions.to_string()),
            pair(TASKRUN, ring.taskrun.to_owned()),
        ]
    }
}

#[cfg(all(test, feature = "tokio-uring", feature = "monoio"))]
mod tests {
    use super::super::monoio::{OnEpoll, OnUring};
    use super::super::runtime::Runtime;
    use super::super::tokio_uring::TokioUring;
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
        let settings = parse(&OF_MONOIO, "sq_entries=300,taskrun=defer,cq_entries=5000").unwrap();
        let granted = settings.granted();
        let value = |key: &str| &granted.iter().find(|(name, _)| name == key).unwrap().1;
        assert_eq!(
            (value("sq_entries"), value("cq_entries"), value("taskrun")),
            (&"512".to_owned(), &"8192".to_owned(), &"defer".to_owned())
        );
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_its_reason() {
        for (table, text, says) in [
            (&OF_MONOIO[..], "cq_entries=512", "less than the 1024"),
            (&OF_MONOIO[..], "sq_entries=100", "write 256 to 32768"),
            (
                &OF_TOKIO_URING[..],
                "taskrun=defer",
                "write interrupt | coop",
            ),
            (&OF_MONOIO_LEGACY[..], "sqpoll=on", "unknown option"),
        ] {
            let error = parse(table, text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn each_option_of_uring_is_had_or_refused_with_a_reason() {
        for option in &crate::uring::OPTIONS {
            let key = option.key;
            for (table, lacks) in [
                (&OF_TOKIO_URING[..], TokioUring::lacks as fn(_, _) -> _),
                (&OF_MONOIO[..], OnUring::lacks),
                (&OF_MONOIO_LEGACY[..], OnEpoll::lacks),
            ] {
                let had = table.iter().any(|ours| ours.key == key);
                let lacking: Option<&str> = lacks(key, "");
                assert!(had != lacking.is_some(), "{key}");
            }
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
