//! The registry: the only list of engines.

use engine::driver::{Driver, Probe};
use serde::{Deserialize, Serialize};

/// Every engine of this build, the preferred first.
static ENGINES: &[&dyn Driver] = &[
    #[cfg(target_os = "linux")]
    &engine_uring::URING,
    #[cfg(target_os = "linux")]
    &engine_kqueue::EPOLL,
    &engine_kqueue::KQUEUE,
    #[cfg(not(target_os = "linux"))]
    &engine_kqueue::EPOLL,
    &engine_kqueue::BLOCKING,
    #[cfg(target_os = "linux")]
    &engine_uring::TOKIO_URING,
    #[cfg(target_os = "linux")]
    &engine_uring::MONOIO,
    #[cfg(target_os = "linux")]
    &engine_uring::MONOIO_LEGACY,
];

/// Engines for tests, in no list: found by name only, and in release builds only with the feature
/// `slowed-engine`, so that no user meets them by accident.
static HIDDEN: &[&dyn Driver] = &[
    #[cfg(any(debug_assertions, feature = "slowed-engine"))]
    &engine_kqueue::SLOWED,
];

/// The name that lets linerate choose.
pub const AUTO: &str = "auto";

/// All engines of this build, the preferred first.
pub fn all() -> impl Iterator<Item = &'static dyn Driver> {
    ENGINES.iter().copied()
}

/// The engine with this name.
pub fn find(name: &str) -> Option<&'static dyn Driver> {
    let known = ENGINES.iter().chain(HIDDEN).copied();
    known.into_iter().find(|driver| driver.name() == name)
}

/// The names of all engines, for messages: `auto, uring, epoll, blocking`.
pub fn names() -> String {
    let names: Vec<&str> = std::iter::once(AUTO)
        .chain(all().map(Driver::name))
        .collect();
    names.join(", ")
}

/// What was chosen, and why.
#[derive(Clone)]
pub struct Chosen {
    /// The engine.
    pub driver: &'static dyn Driver,
    /// Why this one, in words for the user.
    pub reason: String,
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.driver.name(), self.reason)
    }
}

/// The first engine that runs here, and why those before it do not.
///
/// # Errors
/// When none runs, with each one's reason.
pub fn auto() -> Result<Chosen, String> {
    let mut refused = Vec::new();
    for driver in all() {
        match driver.probe() {
            Probe::Available(_) => {
                let reason = if refused.is_empty() {
                    format!("auto: {} works here", driver.name())
                } else {
                    format!("auto: {}", refused.join("; "))
                };
                return Ok(Chosen { driver, reason });
            }
            Probe::Limited { reason, cure } => {
                return Err(format!(
                    "auto: {} is here, but a limit stands in its way: {reason}; {cure}, or name another \
                     engine with --engine",
                    driver.name()
                ));
            }
            Probe::Unavailable { reason, cure } => {
                refused.push(format!(
                    "{} does not run here: {reason} ({cure})",
                    driver.name()
                ));
            }
        }
    }
    Err(format!("no engine runs here: {}", refused.join("; ")))
}

/// An engine as asked for: a name, and options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineChoice {
    /// `auto` or the name of an engine.
    pub name: String,
    /// Options, key and value, as written after the colon.
    pub options: Vec<(String, String)>,
}

impl Default for EngineChoice {
    fn default() -> Self {
        Self {
            name: AUTO.to_owned(),
            options: Vec::new(),
        }
    }
}

/// What an engine is called here: many call `uring` by the name of the interface.
fn canonical(name: &str) -> &str {
    match name {
        "io_uring" | "io-uring" | "iouring" => "uring",
        name => name,
    }
}

impl EngineChoice {
    /// Reads `NAME` or `NAME:key=value,...`. Whether the engine exists is checked by
    /// [`EngineChoice::check`], for it may be one of another host.
    ///
    /// # Errors
    /// How to write one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let name = canonical(name);
        if name.is_empty() {
            return Err(format!(
                "engine '{text}': the name is missing; engines are {}",
                names()
            ));
        }
        let options = rest
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| match part.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err(format!(
                    "engine '{text}': write options as {name}:key=value,key=value"
                )),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if name == AUTO && !options.is_empty() {
            return Err(format!(
                "engine '{text}': options belong to one engine; name it instead of auto"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            options,
        })
    }

    /// Checks that this build has the engine, and that the engine accepts the options.
    ///
    /// # Errors
    /// The engines that there are, or what the engine accepts.
    pub fn check(&self) -> Result<(), String> {
        if self.name == AUTO {
            return Ok(());
        }
        match find(&self.name) {
            Some(driver) => driver.check_options(&self.options),
            None => Err(format!(
                "engine '{}' does not exist in this build; engines are {} (see `linerate engines`)",
                self.name,
                names()
            )),
        }
    }

    /// The engine to use on this machine.
    ///
    /// # Errors
    /// Why it does not run here, and what to do. Nothing falls back silently.
    pub fn choose(&self) -> Result<Chosen, String> {
        if self.name == AUTO {
            return auto();
        }
        self.check()?;
        let driver = find(&self.name).ok_or_else(names)?;
        match driver.probe() {
            Probe::Available(_) => Ok(Chosen {
                driver,
                reason: "asked for by name".to_owned(),
            }),
            Probe::Limited { reason, cure } => Err(format!(
                "engine {} is here, but a limit stands in its way: {reason}; {cure}",
                self.name
            )),
            Probe::Unavailable { reason, cure } => Err(format!(
                "engine {} does not run here: {reason}; {cure}",
                self.name
            )),
        }
    }
}

impl std::fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        for (index, (key, value)) in self.options.iter().enumerate() {
            let separator = if index == 0 { ':' } else { ',' };
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::options::Options;

    #[test]
    fn choices_parse_and_print() {
        for text in ["auto", "uring", "uring:receive=single,buffers=64"] {
            assert_eq!(EngineChoice::parse(text).unwrap().to_string(), text);
        }
        for text in ["io_uring:send=zc", "io-uring:send=zc"] {
            assert_eq!(
                EngineChoice::parse(text).unwrap().to_string(),
                "uring:send=zc"
            );
        }
        for text in ["", ":a=b", "uring:a", "uring:=b", "auto:a=b"] {
            assert!(EngineChoice::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_engine_is_answered_with_those_that_exist() {
        let error = EngineChoice::parse("warp").unwrap().check().unwrap_err();
        assert!(error.contains("engines are auto, "), "{error}");
    }

    #[test]
    fn options_that_the_engine_does_not_have_are_refused() {
        for driver in all() {
            let choice = EngineChoice::parse(&format!("{}:warp=9", driver.name())).unwrap();
            let error = choice.check().unwrap_err();
            assert!(error.contains("unknown option 'warp'"), "{error}");
        }
    }

    #[test]
    fn every_option_says_what_it_is_and_its_default_is_accepted() {
        for driver in all() {
            let mut keys = std::collections::BTreeSet::new();
            for option in driver.options() {
                let place = format!("{}:{}", driver.name(), option.key);
                assert!(keys.insert(option.key), "{place} is there twice");
                assert!(!option.meaning.is_empty(), "{place}");
                let alone = [(option.key.to_owned(), option.default.to_owned())];
                Options::parse(driver.name(), driver.options(), &alone).unwrap();
            }
        }
    }

    #[test]
    fn what_is_for_tests_is_in_no_list() {
        assert!(find("slowed").is_some());
        assert!(all().all(|driver| driver.name() != "slowed") && !names().contains("slowed"));
    }

    #[test]
    fn auto_finds_one_and_says_why() {
        let chosen = auto().unwrap();
        assert!(chosen.reason.starts_with("auto: "), "{chosen:?}");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(Driver::name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
