//! `linerate engines`: what runs here, what does not and why, and what `auto` takes.

use engine::driver::Probe;
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
    /// Features found, name and value.
    features: Vec<Feature>,
    /// Why it does not run; null if it does.
    reason: Option<String>,
    /// What would help; null if it runs.
    cure: Option<String>,
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
        EnginesFormat::Text => text(&listing),
        EnginesFormat::Json => json(&listing)?,
    };
    Destination::Stdout.write(&text)?;
    match listing.auto {
        Some(_) => Ok(ExitClass::Done),
        None => Err(runner::error::Failure::machine(listing.auto_reason).into()),
    }
}

fn listing() -> Listing {
    let (auto, auto_reason) = match engines::auto() {
        Ok(chosen) => (Some(chosen.driver.name().to_owned()), chosen.reason),
        Err(reason) => (None, reason),
    };
    Listing {
        schema: SCHEMA,
        auto,
        auto_reason,
        engines: engines::all()
            .map(|driver| entry(driver.name(), driver.describe(), driver.probe()))
            .collect(),
    }
}

fn entry(name: &'static str, description: &'static str, probe: Probe) -> Entry {
    let (features, refused) = match probe {
        Probe::Available(features) => (features, None),
        Probe::Unavailable { reason, cure } => (Vec::new(), Some((reason, cure))),
    };
    let (reason, cure) = refused.unzip();
    Entry {
        name,
        description,
        available: reason.is_none(),
        features: features
            .into_iter()
            .map(|(name, value)| Feature { name, value })
            .collect(),
        reason,
        cure,
    }
}

fn json(listing: &Listing) -> Result<String, Problem> {
    serde_json::to_string_pretty(listing)
        .map(|text| text + "\n")
        .map_err(|error| Problem::usage(format!("cannot write the engines as JSON: {error}")))
}

fn text(listing: &Listing) -> String {
    let mut text = String::new();
    for entry in &listing.engines {
        let state = match (&entry.reason, &listing.auto) {
            (Some(_), _) => "does not run here",
            (None, Some(auto)) if auto == entry.name => "runs here, and is what auto takes",
            (None, _) => "runs here",
        };
        text += &format!("{:<9} {state}\n", entry.name);
        text += &format!("          {}\n", entry.description);
        for Feature { name, value } in &entry.features {
            text += &format!("          {name}: {value}\n");
        }
        if let Some(reason) = &entry.reason {
            text += &format!("          why: {reason}\n");
        }
        if let Some(cure) = &entry.cure {
            text += &format!("          cure: {cure}\n");
        }
        text.push('\n');
    }
    text + &format!("{}\n", listing.auto_reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Listing {
        let refused = Probe::Unavailable {
            reason: "io_uring_setup is refused by seccomp".to_owned(),
            cure: "allow it in the container's profile".to_owned(),
        };
        let features = vec![("edge-triggered".to_owned(), "no".to_owned())];
        Listing {
            schema: SCHEMA,
            auto: Some("epoll".to_owned()),
            auto_reason: "auto: uring does not run here".to_owned(),
            engines: vec![
                entry("uring", "raw io_uring", refused),
                entry("epoll", "readiness", Probe::Available(features)),
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
             epoll     runs here, and is what auto takes\n          readiness\n          \
             edge-triggered: no\n\nauto: uring does not run here\n"
        );
    }

    #[test]
    fn the_json_names_every_engine() {
        let value: serde_json::Value = serde_json::from_str(&json(&sample()).unwrap()).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["auto"], "epoll");
        assert_eq!(value["engines"][0]["available"], false);
        assert_eq!(value["engines"][1]["features"][0]["name"], "edge-triggered");
    }
}
