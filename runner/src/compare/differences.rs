//! What differs between the plans of two saved results: the work that was done, or the way in which.

use report::document::{Document, Pace, Plan, Queue, Sizes, WebSocketPlan};
use report::units::{format_rate, format_size, human_count, human_duration_ns};

/// What differs, in words: `--connections 1 and 8`.
#[derive(Debug, Default)]
pub(super) struct Differences {
    work: Vec<String>,
    ways: Vec<String>,
}

/// What is not the same of two results. How much is asked for, and of what, is work: who does less of it is not
/// faster. Engines, options, profiles and lengths are ways of doing or measuring it.
pub(super) fn between(old: &Document, new: &Document) -> Differences {
    type Fact = fn(&Plan) -> String;
    let work: [(&str, Fact); 14] = [
        ("--direction", |plan| {
            or_none(plan.direction.map(|direction| direction.name().to_owned()))
        }),
        ("target", target),
        ("--load-agents", |plan| plan.load_agents.to_string()),
        ("--connections", |plan| plan.connections.to_string()),
        ("--threads", |plan| plan.threads.to_string()),
        ("--rate", |plan| pace(&plan.pace)),
        ("--bitrate", |plan| {
            or_none(plan.bitrate_bits_per_second.map(format_rate))
        }),
        ("--pacing-rate", |plan| {
            or_none(plan.pacing_rate_bits_per_second.map(format_rate))
        }),
        ("--depth", |plan| plan.depth.to_string()),
        ("sizes", |plan| sizes(&plan.sizes)),
        ("messages", |plan| {
            or_none(plan.web_socket.as_ref().map(messages))
        }),
        ("--verify", |plan| plan.verify.to_string()),
        ("--closer", |plan| {
            or_none(
                plan.closer
                    .map(|closer| format!("{closer:?}").to_lowercase()),
            )
        }),
        ("--close", |plan| {
            or_none(plan.close.map(|how| format!("{how:?}").to_lowercase()))
        }),
    ];
    let ways: [(&str, Fact); 10] = [
        ("--queue", |plan| match plan.queue {
            Some(Queue::Shared) => "shared".to_owned(),
            // Of documents that do not say, each connection had its own.
            Some(Queue::Own) | None => "own".to_owned(),
        }),
        ("--engine", |plan| plan.engine.load.clone()),
        ("--testee-engine", |plan| {
            or_none(plan.engine.testee.clone())
        }),
        ("--testee-agents", |plan| {
            or_none(plan.testee_agents.map(|agents| agents.to_string()))
        }),
        ("--testee-threads", |plan| {
            or_none(plan.testee_threads.map(|threads| threads.to_string()))
        }),
        ("socket options", |plan| {
            let options = plan.socket_options.iter();
            let options: Vec<String> = options
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            or_none((!options.is_empty()).then(|| options.join(" ")))
        }),
        ("--source", |plan| {
            or_none((!plan.sources.is_empty()).then(|| plan.sources.join(",")))
        }),
        ("placement", |plan| {
            let testee = plan.placement.testee.as_deref();
            format!("{} / {}", plan.placement.load, testee.unwrap_or("none"))
        }),
        ("--warmup", |plan| human_duration_ns(plan.warmup_ns)),
        ("length", |plan| match (plan.duration_ns, plan.count) {
            (Some(ns), _) => human_duration_ns(ns),
            (None, count) => format!("{} operations", count.unwrap_or_default()),
        }),
    ];
    let differing = |facts: &[(&str, Fact)]| -> Vec<String> {
        let facts = facts.iter();
        facts
            .filter_map(|(name, fact)| differs(name, fact(&old.plan), fact(&new.plan)))
            .collect()
    };
    let mut found = Differences {
        work: differing(&work),
        ways: differing(&ways),
    };
    found
        .ways
        .extend(differs("profile", profiles(old), profiles(new)));
    found
}

impl Differences {
    /// What differs in the work; `None` if nothing does.
    pub fn work(&self) -> Option<String> {
        (!self.work.is_empty()).then(|| self.work.join(", "))
    }

    /// What differs in the way of doing it.
    pub fn ways(&self) -> Option<String> {
        (!self.ways.is_empty()).then(|| self.ways.join(", "))
    }
}

fn differs(name: &str, old: String, new: String) -> Option<String> {
    (old != new).then(|| format!("{name} {old} and {new}"))
}

fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| "none".to_owned())
}

/// Which way the bytes go: the port that a kernel chose, or another name of the same host, is no difference.
fn target(plan: &Plan) -> String {
    let target = &plan.target;
    let path = if target.loopback {
        "on this host"
    } else {
        "over a network"
    };
    let whose = if target.own_testee {
        "own testee"
    } else {
        "foreign"
    };
    format!("{whose} over {}, {path}", target.transport)
}

fn pace(pace: &Pace) -> String {
    match pace {
        Pace::Closed => "none (closed loop)".to_owned(),
        Pace::Constant { rate_per_second } => format!("{}/s", human_count(rate_per_second.get())),
        Pace::Each { every_ns, .. } => {
            format!("one per client every {}", human_duration_ns(*every_ns))
        }
        Pace::Poisson {
            rate_per_second, ..
        } => format!("{}/s (Poisson)", human_count(rate_per_second.get())),
    }
}

/// How messages of WebSockets go; what the handshake asks for is a way of being let in.
fn messages(plan: &WebSocketPlan) -> String {
    let fragments = plan.fragment_bytes.map_or_else(String::new, |bytes| {
        format!(" in fragments of {}", format_size(bytes))
    });
    format!("{}{fragments}", plan.sends.name())
}

fn sizes(sizes: &Sizes) -> String {
    let named = [
        ("--request", sizes.request_bytes),
        ("--response", sizes.response_bytes),
        ("--size", sizes.message_bytes),
    ];
    let parts: Vec<String> = named
        .into_iter()
        .filter_map(|(name, bytes)| Some(format!("{name} {}", format_size(bytes?))))
        .collect();
    parts.join(" ")
}

fn profiles(document: &Document) -> String {
    let profiles = document
        .hosts
        .iter()
        .filter_map(|host| host.profile.as_ref());
    let names: Vec<&str> = profiles.map(|profile| profile.name.as_str()).collect();
    match names[..] {
        [] => "none".to_owned(),
        _ => names.join(" "),
    }
}
