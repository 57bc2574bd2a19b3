//! `linerate engines`: what runs here, what does not and why, and what `auto` takes.

use engine::driver::{Driver, Probe};
use engine::options::EngineOption;
use report::foreign::shown_lines;
use runner::engines;
use runner::error::ExitClass;
use serde::Serialize;

use crate::args::engines::{EnginesArgs, EnginesFormat};
use crate::output::Destination;
use crate::problem::Problem;

/// The schema of the JSON form.
const SCHEMA: &str = "linerate.engines/1";

#[derive(Debug, Serialize)]
struct Listing {
    schema: &'static str,
    /// What `auto` takes; null when nothing runs.
    auto: Option<String>,
    /// Why that one, or why none.
    auto_reason: String,
    engines: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    description: &'static str,
    available: bool,
    /// The interface is there, but a limit leaves no room for it.
    limited: bool,
    /// Features found, name and value.
    features: Vec<Feature>,
    /// Why it does not run, or which limit it meets; null if it runs.
    reason: Option<String>,
    /// What would help; null if it runs.
    cure: Option<String>,
    /// What can be written after the name.
    options: Vec<OptionEntry>,
}

#[derive(Debug, Serialize)]
struct OptionEntry {
    key: &'static str,
    /// The values that it accepts, in words.
    accepted: String,
    default: &'static str,
    /// What is counted; null for a switch or a choice.
    unit: Option<&'static str>,
    meaning: &'static str,
}

#[derive(Debug, Serialize)]
struct Feature {
    name: String,
    value: String,
}

/// Shows the engines.
///
/// # Errors
/// When stdout cannot be written, or when no engine runs here.
pub fn engines(args: &EnginesArgs) -> Result<ExitClass, Problem> {
    let listing = listing();
    let text = match args.format {
        EnginesFormat::Text if args.options => options_text(&listing),
        EnginesFormat::Text => text(&listing),
        EnginesFormat::Json => json(&listing)?,
    };
    Destination::Stdout.write(&shown_lines(&text))?;
    match listing.auto {
        Some(_) => Ok(ExitClass::Done),
        None => Err(runner::error::Failure::machine(listing.auto_reason).into()),
    }
}

fn listing() -> Listing {
    let (auto, auto_reason) = match engines::auto(&[]) {
        Ok(chosen) => (Some(chosen.driver.name().to_owned()), chosen.reason),
        Err(reason) => (None, reason),
    };
    Listing {
        schema: SCHEMA,
        auto,
        auto_reason,
        engines: engines::all().map(entry).collect(),
    }
}

fn entry(driver: &dyn Driver) -> Entry {
    let probe = driver.probe();
    let limited = matches!(probe, Probe::Limited { .. });
    let (features, refused) = match probe {
        Probe::Available(features) => (features, None),
        Probe::Limited { reason, cure } | Probe::Unavailable { reason, cure } => {
            (Vec::new(), Some((reason, cure)))
        }
    };
    let (reason, cure) = refused.unzip();
    Entry {
        name: driver.name(),
        description: driver.describe(),
        available: reason.is_none(),
        limited,
        features: features
            .into_iter()
            .map(|(name, value)| Feature { name, value })
            .collect(),
        reason,
        cure,
        options: driver.options().iter().map(option_entry).collect(),
    }
}

fn option_entry(option: &EngineOption) -> OptionEntry {
    OptionEntry {
        key: option.key,
        accepted: option.accepted(),
        default: option.default,
        unit: (!option.unit.is_empty()).then_some(option.unit),
        meaning: option.meaning,
    }
}

fn json(listing: &Listing) -> Result<String, Problem> {
    serde_json::to_string_pretty(listing)
        .map(|text| text + "\n")
        .map_err(|error| Problem::usage(format!("cannot write the engines as JSON: {error}")))
}

fn text(listing: &Listing) -> String {
    let mut text = String::new();
    let longest = listing.engines.iter().map(|entry| entry.name.len()).max();
    let width = longest.unwrap_or_default().max(9);
    let indent = " ".repeat(width + 1);
    for entry in &listing.engines {
        let state = match (&entry.reason, &listing.auto) {
            (Some(_), _) if entry.limited => "is here, but meets a limit",
            (Some(_), _) => "does not run here",
            (None, Some(auto)) if auto == entry.name => "runs here, and is what auto takes",
            (None, _) => "runs here",
        };
        text += &format!("{:<width$} {state}\n", entry.name);
        text += &format!("{indent}{}\n", entry.description);
        for Feature { name, value } in &entry.features {
            text += &format!("{indent}{name}: {value}\n");
        }
        if let Some(reason) = &entry.reason {
            text += &format!("{indent}why: {reason}\n");
        }
        if let Some(cure) = &entry.cure {
            text += &format!("{indent}cure: {cure}\n");
        }
        text.push('\n');
    }
    text + &format!("{}\n", listing.auto_reason)
}

fn options_text(listing: &Listing) -> String {
    let mut text = String::new();
    for entry in &listing.engines {
        text += &format!("{}\n", entry.name);
        if entry.options.is_empty() {
            text += "  has no options\n";
        }
        let width = entry.options.iter().map(|option| option.key.len()).max();
        for option in &entry.options {
            text += &format!(
                "  {:<width$}  {} [default: {}]\n  {:<width$}  {}\n",
                option.key,
                option.accepted,
                option.default,
                "",
                option.meaning,
                width = width.unwrap_or_default(),
            );
        }
        text.push('\n');
    }
    text + "Write them after the name: --engine NAME:key=value,key=value (also --testee-engine, and serve --engine).\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::driver::{EngineError, LoadJob, LoadOutcome, ServeJob, ServeOutcome};
    use engine::options::Values;

    /// An engine that only describes itself.
    struct Described(&'static str, &'static str, Probe, &'static [EngineOption]);

    impl Driver for Described {
        fn name(&self) -> &'static str {
            self.0
        }

        fn describe(&self) -> &'static str {
            self.1
        }

        fn probe(&self) -> Probe {
            self.2.clone()
        }

        fn options(&self) -> &'static [EngineOption] {
            self.3
        }

        fn serve(&self, _: ServeJob) -> Result<ServeOutcome, EngineError> {
            Err(EngineError::Machine("it serves nothing".to_owned()))
        }

        fn load(&self, _: LoadJob) -> Result<LoadOutcome, EngineError> {
            Err(EngineError::Machine("it loads nothing".to_owned()))
        }
    }

    static SPIN: [EngineOption; 1] = [EngineOption {
        key: "spin",
        values: Values::Duration(0, 1_000_000),
        default: "0us",
        unit: "",
        meaning: "how long to look before it sleeps",
    }];

    fn sample() -> Listing {
        let refused = Probe::Unavailable {
            reason: "io_uring_setup is refused by seccomp".to_owned(),
            cure: "allow it in the container's profile".to_owned(),
        };
        let limited = Probe::Limited {
            reason: "the locked-memory limit is 64 KiB".to_owned(),
            cure: "ulimit -l unlimited".to_owned(),
        };
        let features = vec![("edge-triggered".to_owned(), "no".to_owned())];
        let available = Probe::Available(features);
        Listing {
            schema: SCHEMA,
            auto: Some("epoll".to_owned()),
            auto_reason: "auto: uring does not run here".to_owned(),
            engines: vec![
                entry(&Described("uring", "raw io_uring", refused, &[])),
                entry(&Described("tight", "another", limited, &[])),
                entry(&Described("epoll", "readiness", available, &SPIN)),
            ],
        }
    }

    #[test]
    fn the_text_says_why_and_what_would_help() {
        assert_eq!(
            text(&sample()),
            "uring     does not run here\n          raw io_uring\n          \
             why: io_uring_setup is refused by seccomp\n          \
             cure: allow it in the container's profile\n\n\
             tight     is here, but meets a limit\n          another\n          \
             why: the locked-memory limit is 64 KiB\n          cure: ulimit -l unlimited\n\n\
             epoll     runs here, and is what auto takes\n          readiness\n          \
             edge-triggered: no\n\nauto: uring does not run here\n"
        );
    }

    #[test]
    fn the_options_are_listed_with_values_and_default() {
        assert_eq!(
            options_text(&sample()),
            "uring\n  has no options\n\ntight\n  has no options\n\nepoll\n  spin  0us to 1ms [default: 0us]\n        \
             how long to look before it sleeps\n\n\
             Write them after the name: --engine NAME:key=value,key=value (also --testee-engine, and serve --engine).\n"
        );
    }

    #[test]
    fn the_json_names_every_engine() {
        let value: serde_json::Value = serde_json::from_str(&json(&sample()).unwrap()).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["auto"], "epoll");
        assert_eq!(value["engines"][0]["available"], false);
        assert_eq!(value["engines"][1]["limited"], true);
        assert_eq!(value["engines"][2]["features"][0]["name"], "edge-triggered");
        assert_eq!(value["engines"][2]["options"][0]["accepted"], "0us to 1ms");
    }
}
