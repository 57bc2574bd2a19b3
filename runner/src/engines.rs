//! The registry: the only list of engines.

use engine::driver::{Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome};
use engine::needs::Needs;
use report::document::Message;
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
    #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
    &engine_uring::TOKIO_URING,
    #[cfg(all(target_os = "linux", feature = "monoio"))]
    &engine_uring::MONOIO,
    #[cfg(all(target_os = "linux", feature = "monoio"))]
    &engine_uring::MONOIO_LEGACY,
];

/// Engines for tests, in no list: found by name only, and in release builds only with the feature
/// `slowed-engine`, so that no user meets them by accident.
static HIDDEN: &[&dyn Driver] = &[
    #[cfg(any(debug_assertions, feature = "slowed-engine"))]
    &engine_kqueue::SLOWED,
];

/// Engines that come by a feature of the build: listed where they are left out, too, with that reason.
static BY_FEATURE: [ByFeature; 3] = [
    ByFeature {
        name: "tokio-uring",
        feature: "tokio-uring",
        built_in: cfg!(feature = "tokio-uring"),
    },
    ByFeature {
        name: "monoio",
        feature: "monoio",
        built_in: cfg!(feature = "monoio"),
    },
    ByFeature {
        name: "monoio-legacy",
        feature: "monoio",
        built_in: cfg!(feature = "monoio"),
    },
];

/// Stands in for an engine that this build leaves out.
#[derive(Debug)]
struct ByFeature {
    name: &'static str,
    feature: &'static str,
    built_in: bool,
}

impl ByFeature {
    fn refusal(&self) -> String {
        format!("not built in (feature {})", self.feature)
    }
}

/// Those that this system could have and this build has not.
fn left_out() -> impl Iterator<Item = &'static dyn Driver> {
    BY_FEATURE
        .iter()
        .filter(|engine| cfg!(target_os = "linux") && !engine.built_in)
        .map(|engine| engine as &dyn Driver)
}

impl Driver for ByFeature {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> &'static str {
        "a runtime that this build leaves out"
    }

    fn probe(&self) -> Probe {
        Probe::Unavailable {
            reason: self.refusal(),
            cure: format!(
                "use a linerate that was built with --features {}, or another engine",
                self.feature
            ),
        }
    }

    fn serve(&self, _: ServeJob) -> Result<ServeOutcome, EngineError> {
        Err(EngineError::Machine(self.refusal()))
    }

    fn load(&self, _: LoadJob) -> Result<LoadOutcome, EngineError> {
        Err(EngineError::Machine(self.refusal()))
    }

    /// Another host's linerate may have it: what its options mean is for that one to judge.
    fn check_options(&self, _: &[(String, String)]) -> Result<(), String> {
        Ok(())
    }
}

/// The name that lets linerate choose.
pub const AUTO: &str = "auto";

/// All engines of this build, the preferred first, and after them those that it leaves out.
pub fn all() -> impl Iterator<Item = &'static dyn Driver> {
    ENGINES.iter().copied().chain(left_out())
}

/// The engine with this name.
pub fn find(name: &str) -> Option<&'static dyn Driver> {
    let mut known = all().chain(HIDDEN.iter().copied());
    known.find(|driver| driver.name() == name)
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
    /// `auto` has passed over an engine that is here, because a limit leaves no room for it: the user can
    /// raise that, and should know.
    pub passed_over: Option<Message>,
}

impl Chosen {
    fn named(driver: &'static dyn Driver, reason: &str) -> Self {
        Self {
            driver,
            reason: reason.to_owned(),
            passed_over: None,
        }
    }
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.driver.name(), self.reason)
    }
}

/// The first engine that runs here, with room for `workers` all at once, and why those before it do not.
///
/// # Errors
/// When none runs, with each one's reason.
pub fn auto(workers: &[Needs]) -> Result<Chosen, String> {
    first_with_room(all(), workers)
}

fn first_with_room(
    engines: impl Iterator<Item = &'static dyn Driver>,
    workers: &[Needs],
) -> Result<Chosen, String> {
    let mut refused = Vec::new();
    let mut passed_over = None;
    for driver in engines {
        match driver.probe_for(workers) {
            Probe::Available(_) => {
                let reason = if refused.is_empty() {
                    format!("auto: {} works here", driver.name())
                } else {
                    format!("auto: {}", refused.join("; "))
                };
                return Ok(Chosen {
                    driver,
                    reason,
                    passed_over,
                });
            }
            Probe::Limited { reason, cure } => {
                let why = format!(
                    "{} is here, but a limit leaves no room for it: {reason}",
                    driver.name()
                );
                let warning = || Message::new("engine_passed_over", &why).with_cure(&cure);
                passed_over.get_or_insert_with(warning);
                refused.push(format!("{why} ({cure})"));
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

/// The engine that [`auto`] would take for `workers` if there were not `driver`.
pub fn instead_of(driver: &dyn Driver, workers: &[Needs]) -> Option<&'static dyn Driver> {
    let others = all().filter(|other| other.name() != driver.name());
    first_with_room(others, workers)
        .ok()
        .map(|chosen| chosen.driver)
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

    /// The engine to use on this machine for `workers`, which run at once.
    ///
    /// # Errors
    /// Why it does not run here, and what to do. Nothing falls back silently.
    pub fn choose(&self, workers: &[Needs]) -> Result<Chosen, String> {
        if self.name == AUTO {
            return auto(workers);
        }
        self.check()?;
        let driver = find(&self.name).ok_or_else(names)?;
        match driver.probe() {
            Probe::Available(_) => Ok(Chosen::named(driver, "asked for by name")),
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

impl EngineChoice {
    /// As [`EngineChoice::choose`], where another agent of the same side may have chosen before: an `auto` is
    /// then what that one took, for all its agents are one side of a measurement.
    ///
    /// # Errors
    /// As there.
    pub fn choose_as(&self, first: Option<&str>, workers: &[Needs]) -> Result<Chosen, String> {
        match first.filter(|_| self.name == AUTO).and_then(find) {
            Some(driver) => Ok(Chosen::named(
                driver,
                "auto: what the first agent of this side took",
            )),
            None => self.choose(workers),
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
    fn an_engine_that_is_left_out_says_by_which_feature_it_comes() {
        for engine in &BY_FEATURE {
            let Probe::Unavailable { reason, cure } = engine.probe() else {
                panic!("{engine:?} stands in for what is not there");
            };
            assert_eq!(reason, format!("not built in (feature {})", engine.feature));
            assert!(
                cure.contains(&format!("--features {}", engine.feature)),
                "{cure}"
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_runtimes_are_listed_in_every_build() {
        for engine in &BY_FEATURE {
            let rows = all().filter(|driver| driver.name() == engine.name).count();
            assert_eq!(rows, 1, "{engine:?}");
            let there = ENGINES.iter().any(|driver| driver.name() == engine.name);
            assert_eq!(there, engine.built_in, "{engine:?}");
        }
    }

    #[test]
    fn options_that_the_engine_does_not_have_are_refused() {
        for driver in ENGINES {
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
        let chosen = auto(&[]).unwrap();
        let other = instead_of(chosen.driver, &[]).unwrap();
        assert_ne!(other.name(), chosen.driver.name());
        assert!(chosen.reason.starts_with("auto: "), "{chosen:?}");
    }

    /// Has room for so many workers.
    #[derive(Debug)]
    struct Roomy(&'static str, usize);

    impl Driver for Roomy {
        fn name(&self) -> &'static str {
            self.0
        }

        fn describe(&self) -> &'static str {
            "has room for some"
        }

        fn probe(&self) -> Probe {
            Probe::Available(Vec::new())
        }

        fn probe_for(&self, workers: &[Needs]) -> Probe {
            match workers.len() <= self.1 {
                true => self.probe(),
                false => Probe::Limited {
                    reason: "a full house".to_owned(),
                    cure: "a larger house".to_owned(),
                },
            }
        }

        fn serve(&self, _: ServeJob) -> Result<ServeOutcome, EngineError> {
            unreachable!("only probed")
        }

        fn load(&self, _: LoadJob) -> Result<LoadOutcome, EngineError> {
            unreachable!("only probed")
        }
    }

    #[test]
    fn auto_passes_over_an_engine_without_room_for_all_workers_and_warns() {
        static SMALL: Roomy = Roomy("small", 2);
        static LARGE: Roomy = Roomy("large", 8);
        let choose = |workers: usize| {
            let needs = engine::workload::ServeSpec::Echo.needs(10, None, None);
            let engines: [&'static dyn Driver; 2] = [&SMALL, &LARGE];
            first_with_room(engines.into_iter(), &vec![needs; workers])
        };
        let fits = choose(2).unwrap();
        assert_eq!((fits.driver.name(), fits.passed_over), ("small", None));
        let passed = choose(3).unwrap();
        assert_eq!(passed.driver.name(), "large");
        assert!(
            passed.reason.contains("a full house (a larger house)"),
            "{passed:?}"
        );
        assert_eq!(
            passed.passed_over.unwrap().cure.as_deref(),
            Some("a larger house")
        );
        assert!(choose(9).unwrap_err().contains("large is here"));
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
