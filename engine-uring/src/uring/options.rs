//! The options of engine `uring`: their table, what excludes what, and what was asked for.

use engine::options::{AUTO, EngineOption, Options, Values};

/// What users may write after `uring:`.
pub(crate) static OPTIONS: [EngineOption; 18] = [
    option(
        "receive",
        Values::Choice(&["multishot", "single"]),
        "multishot",
        "",
        "multishot: one request per connection, buffers from a group; single: one per arrival, into a hot buffer of its own",
    ),
    option(
        "buffers",
        Values::Integer(2, 32_768),
        AUTO,
        "buffers",
        "receive buffers in the group, a power of two; auto: two per connection, within bounds",
    ),
    option(
        "buffer_size",
        Values::Size(64, 16 << 20),
        AUTO,
        "bytes",
        "bytes of one receive buffer; auto: a message and a byte; for streams 1M in the group, 128K of its own",
    ),
    option(
        "batch",
        Values::Integer(1, 4096),
        "1",
        "completions",
        "completions to sleep for; more than 1 needs min_wait, which bounds the wait (Linux 6.12)",
    ),
    option(
        "min_wait",
        Values::Duration(0, 1_000_000_000),
        "0us",
        "",
        "how long to sleep for the whole batch; after it, one completion is enough",
    ),
    option(
        "spin",
        Values::Duration(0, 1_000_000_000),
        "0us",
        "",
        "how long to look for completions without a system call before sleeping",
    ),
    option(
        "taskrun",
        Values::Choice(&["defer", "coop"]),
        AUTO,
        "",
        "defer: completions are worked off in the worker's wait (Linux 6.1); coop: in any of its system calls (5.19)",
    ),
    option(
        "sqpoll",
        Values::Switch,
        "false",
        "",
        "a kernel thread takes submissions, so that sending needs no system call; it wants a CPU of its own",
    ),
    option(
        "sqpoll_idle",
        Values::Duration(1_000_000, 60_000_000_000),
        "10ms",
        "",
        "after how long without submissions that thread sleeps, whole milliseconds",
    ),
    option(
        "sqpoll_cpu",
        Values::Integer(0, 1_048_575),
        AUTO,
        "CPU number",
        "CPU that the thread is bound to; auto: any",
    ),
    option(
        "direct",
        Values::Switch,
        "false",
        "",
        "sockets are registered in the ring's table too, which saves look-ups; their descriptors stay, and RLIMIT_NOFILE counts them",
    ),
    option(
        "send",
        Values::Choice(&["plain", "zc"]),
        "plain",
        "",
        "zc: zero-copy sends; on loopback the kernel copies all the same, which is counted",
    ),
    option(
        "zc_threshold",
        Values::Size(1, 1 << 30),
        "16K",
        "bytes",
        "smaller sends are plain",
    ),
    option(
        "sq_entries",
        Values::Integer(8, 32_768),
        AUTO,
        "entries",
        "length of the submission queue; auto: by the number of connections",
    ),
    option(
        "cq_entries",
        Values::Integer(16, 65_536),
        AUTO,
        "entries",
        "length of the completion queue, at least that of the other; auto: four times the other, two per connection",
    ),
    option(
        "napi",
        Values::Duration(0, 10_000_000),
        "0us",
        "",
        "how long waits poll the network device before sleeping (Linux 6.9); loopback and Unix sockets have none",
    ),
    option(
        "napi_prefer",
        Values::Switch,
        "false",
        "",
        "polling is preferred to the device's interrupts; needs napi",
    ),
    option(
        "register_ring",
        Values::Switch,
        "true",
        "",
        "the ring's descriptor is registered, which saves its look-up at every wait (Linux 5.18)",
    ),
];

const fn option(
    key: &'static str,
    values: Values,
    default: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> EngineOption {
    EngineOption {
        key,
        values,
        default,
        unit,
        meaning,
    }
}

/// How completions are worked off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taskrun {
    /// The best that the kernel has.
    Auto,
    Defer,
    Coop,
}

/// A kernel thread that takes submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubmissionPolling {
    pub(super) idle_ms: u32,
    pub(super) cpu: Option<u32>,
}

/// What a user asked for. Every field that is `None` is the engine's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    /// A buffer of each connection's own instead of the group.
    pub(super) own_buffers: bool,
    pub(super) buffers: Option<u32>,
    pub(super) buffer_bytes: Option<u32>,
    pub(super) batch: u32,
    pub(super) min_wait_us: u32,
    pub(super) spin_ns: u64,
    pub(super) taskrun: Taskrun,
    pub(super) polling: Option<SubmissionPolling>,
    pub(super) direct: bool,
    /// Sends of at least so many bytes are zero-copy.
    pub(super) zero_copy_from: Option<usize>,
    pub(super) sq_entries: Option<u32>,
    pub(super) cq_entries: Option<u32>,
    pub(super) napi_us: u32,
    pub(super) napi_prefer: bool,
    pub(super) register_ring: bool,
}

impl Wishes {
    /// Reads what was written after `uring:`.
    ///
    /// # Errors
    /// What is no option, no value of it, or excludes another, with the reason.
    pub(super) fn read(written: &[(String, String)]) -> Result<Self, String> {
        let options = Options::parse("uring", &OPTIONS, written)?;
        conflicts(&options)?;
        let number = |key| options.number(key).map(|number| number as u32);
        let whole = |key, unit_ns| whole(&options, key, unit_ns);
        let buffers = number("buffers");
        if let Some(count) = buffers.filter(|count| !count.is_power_of_two()) {
            return Err(refused(&format!(
                "buffers={count}: the kernel's buffer ring needs a power of two; write {} or {}",
                count.next_power_of_two() / 2,
                count.next_power_of_two()
            )));
        }
        Ok(Self {
            own_buffers: options.word("receive") == Some("single"),
            buffers,
            buffer_bytes: number("buffer_size"),
            batch: number("batch").unwrap_or(1),
            min_wait_us: whole("min_wait", 1_000)?,
            spin_ns: options.number("spin").unwrap_or(0),
            taskrun: match options.word("taskrun") {
                Some("defer") => Taskrun::Defer,
                Some(_) => Taskrun::Coop,
                None => Taskrun::Auto,
            },
            polling: options
                .switch("sqpoll")
                .then(|| {
                    Ok::<_, String>(SubmissionPolling {
                        idle_ms: whole("sqpoll_idle", 1_000_000)?,
                        cpu: number("sqpoll_cpu"),
                    })
                })
                .transpose()?,
            direct: options.switch("direct"),
            zero_copy_from: (options.word("send") == Some("zc"))
                .then(|| options.number("zc_threshold").unwrap_or(0) as usize),
            sq_entries: number("sq_entries"),
            cq_entries: number("cq_entries"),
            napi_us: whole("napi", 1_000)?,
            napi_prefer: options.switch("napi_prefer"),
            register_ring: options.switch("register_ring"),
        })
    }
}

/// What excludes what, each with its reason.
fn conflicts(options: &Options) -> Result<(), String> {
    let is_on = |key| options.is_written(key) && options.switch(key);
    let number = |key| options.number(key).unwrap_or(0);
    let zero_copy = options.word("send") == Some("zc");
    let needs = |key: &str, met: bool, what: &str| match met || !options.is_written(key) {
        true => Ok(()),
        false => Err(refused(&format!("{key} without {what} has no effect"))),
    };
    if is_on("sqpoll") && options.word("taskrun").is_some() {
        return Err(refused(
            "sqpoll excludes taskrun: with a polling thread the kernel works completions off in that thread",
        ));
    }
    if options.word("receive") == Some("single") && options.is_written("buffers") {
        return Err(refused(
            "receive=single excludes buffers: each connection has one of its own (buffer_size is allowed)",
        ));
    }
    if number("batch") > 1 && number("min_wait") == 0 {
        return Err(refused(
            "batch needs min_wait: a wait for more completions than can come would never end",
        ));
    }
    let (sq, cq) = (options.number("sq_entries"), options.number("cq_entries"));
    if let (Some(sq), Some(cq)) = (sq, cq)
        && cq < sq
    {
        return Err(refused(&format!(
            "cq_entries={cq} is below sq_entries={sq}: every submission may complete at once"
        )));
    }
    needs("min_wait", number("batch") > 1, "batch=N, N above 1,")?;
    needs("sqpoll_idle", is_on("sqpoll"), "sqpoll=true")?;
    needs("sqpoll_cpu", is_on("sqpoll"), "sqpoll=true")?;
    needs("zc_threshold", zero_copy, "send=zc")?;
    needs("napi_prefer", number("napi") > 0, "napi")
}

/// A duration as the kernel takes it.
fn whole(options: &Options, key: &str, unit_ns: u64) -> Result<u32, String> {
    let ns = options.number(key).unwrap_or(0);
    if ns.is_multiple_of(unit_ns) {
        return Ok((ns / unit_ns) as u32);
    }
    let unit = if unit_ns == 1_000 { "micro" } else { "milli" };
    Err(refused(&format!(
        "{key}={}: the kernel counts whole {unit}seconds",
        engine::options::duration_text(ns)
    )))
}

fn refused(why: &str) -> String {
    format!("engine uring: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wishes, String> {
        let written: Vec<(String, String)> = text
            .split(',')
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Wishes::read(&written)
    }

    #[test]
    fn nothing_written_is_the_plain_engine() {
        let wishes = read("").unwrap();
        assert_eq!(
            (wishes.batch, wishes.min_wait_us, wishes.spin_ns),
            (1, 0, 0)
        );
        assert_eq!((wishes.taskrun, wishes.polling), (Taskrun::Auto, None));
        assert_eq!((wishes.zero_copy_from, wishes.direct), (None, false));
        assert!(!wishes.own_buffers && wishes.register_ring);
    }

    #[test]
    fn options_become_what_the_kernel_takes() {
        let wishes =
            read("batch=16,min_wait=50us,spin=5us,sqpoll=on,sqpoll_idle=2ms,sqpoll_cpu=1").unwrap();
        assert_eq!(
            (wishes.batch, wishes.min_wait_us, wishes.spin_ns),
            (16, 50, 5_000)
        );
        let polling = SubmissionPolling {
            idle_ms: 2,
            cpu: Some(1),
        };
        assert_eq!(wishes.polling, Some(polling));
        let wishes = read("send=zc,zc_threshold=64K,receive=single,buffer_size=4K").unwrap();
        assert_eq!(wishes.zero_copy_from, Some(65_536));
        assert_eq!(
            (wishes.own_buffers, wishes.buffer_bytes),
            (true, Some(4096))
        );
        assert_eq!(read("send=zc").unwrap().zero_copy_from, Some(16_384));
    }

    #[test]
    fn what_cannot_work_together_is_refused_with_its_reason() {
        for (text, says) in [
            (
                "sqpoll=true,taskrun=defer",
                "works completions off in that thread",
            ),
            ("sqpoll=true,taskrun=coop", "sqpoll excludes taskrun"),
            ("receive=single,buffers=64", "one of its own"),
            ("batch=8", "would never end"),
            ("min_wait=5us", "without batch=N"),
            ("sqpoll_cpu=1", "without sqpoll=true"),
            ("sqpoll=false,sqpoll_idle=1ms", "without sqpoll=true"),
            ("zc_threshold=1K", "without send=zc"),
            ("napi_prefer=true", "without napi"),
            ("sq_entries=64,cq_entries=32", "may complete at once"),
            ("buffers=100", "write 64 or 128"),
            ("batch=2,min_wait=1500ns", "whole microseconds"),
            ("sqpoll=on,sqpoll_idle=1500us", "whole milliseconds"),
            ("sqpol=1", "unknown option 'sqpol'"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("engine uring: "), "{error}");
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
