//! Arms of a comparison as command lines of `run`: what an arm measures and the command that repeats it are one
//! thing, and plan files know every option that `run` knows.

use clap::{ArgAction, Args, Command, FromArgMatches};
use report::document::Workload;
use runner::compare::{ArmRequest, CellRequest};
use runner::plan::{PlanRequest, spread_over_agents};

use crate::args::run::with_shape;
use crate::args::run_groups::{PlanArgs, ShapeArgs};

/// A run of a comparison is short, for there are many; long enough for twenty slices.
const DURATION: &str = "2s";
/// The slices of which steadiness is judged. Who repeats one run does not need them.
const INTERVAL_NS: u64 = 100_000_000;

/// The options of `run`, each given once, but for those of which every host has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLine {
    workload: Workload,
    target: Option<String>,
    /// Long names, with values where the option takes one.
    options: Vec<(String, Option<String>)>,
}

impl RunLine {
    /// `run WORKLOAD` and nothing else.
    pub fn of(workload: Workload) -> Self {
        Self {
            workload,
            target: None,
            options: Vec::new(),
        }
    }

    /// Names the target.
    pub fn set_target(&mut self, target: &str) {
        self.target = Some(target.to_owned());
    }

    /// Whether it has a target of its own.
    pub fn has_target(&self) -> bool {
        self.target.is_some()
    }

    /// Sets an option, instead of what it was.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.unset(name);
        self.options
            .push((name.to_owned(), value.map(str::to_owned)));
    }

    /// Sets an option that takes several values, instead of what it was: between commas where it takes a list, and
    /// given again for each where it does not.
    pub fn set_list(&mut self, name: &str, values: &[String]) {
        if self.is_repeated(name) {
            self.unset(name);
            let values = values.iter().cloned();
            self.options
                .extend(values.map(|value| (name.to_owned(), Some(value))));
        } else {
            self.set(name, Some(&values.join(",")));
        }
    }

    /// Takes an option back.
    pub fn unset(&mut self, name: &str) {
        self.options.retain(|(known, _)| known != name);
    }

    /// Whether the option is set.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| known == name)
    }

    /// What `run` would do by itself differs in a comparison: runs are shorter.
    pub fn with_defaults(mut self) -> Self {
        let is_open_ended = !self.workload.holds();
        if is_open_ended && !self.has("duration") && !self.has("count") {
            self.set("duration", Some(DURATION));
        }
        self
    }

    /// Turns a switch on or off: `--NAME`, or `--no-NAME` where there is one.
    pub fn switch(&mut self, name: &str, on: bool) {
        let off = format!("no-{name}");
        self.unset(name);
        self.unset(&off);
        if on {
            self.set(name, None);
        } else if self.knows(&off) {
            self.set(&off, None);
        }
    }

    /// Whether `run` has this option.
    fn knows(&self, name: &str) -> bool {
        let command = with_shape!(self.workload, S => command::<S>(self.workload));
        let mut arguments = command.get_arguments();
        arguments.any(|argument| argument.get_long() == Some(name))
    }

    /// Whether the option is given again for each of its values.
    fn is_repeated(&self, name: &str) -> bool {
        let command = with_shape!(self.workload, S => command::<S>(self.workload));
        let mut arguments = command.get_arguments();
        let argument = arguments.find(|argument| argument.get_long() == Some(name));
        argument.is_some_and(|argument| {
            matches!(argument.get_action(), ArgAction::Append)
                && argument.get_value_delimiter().is_none()
        })
    }

    /// The words behind the workload, an option and its value as one: so none is taken for another.
    fn words(&self) -> impl Iterator<Item = String> {
        let options = self.options.iter().map(|(name, value)| match value {
            None => format!("--{name}"),
            Some(value) => format!("--{name}={value}"),
        });
        options.chain(self.target.iter().cloned())
    }

    /// The command as one would type it.
    pub fn command(&self) -> String {
        let mut words = vec!["linerate".to_owned(), "run".to_owned()];
        words.push(self.workload.name().to_owned());
        words.extend(self.target.iter().cloned());
        for (name, value) in &self.options {
            match value {
                None => words.push(format!("--{name}")),
                Some(value) if value.starts_with('-') => words.push(format!("--{name}={value}")),
                Some(value) => words.extend([format!("--{name}"), value.clone()]),
            }
        }
        report::text::as_typed(&words)
    }

    /// What it asks for.
    ///
    /// # Errors
    /// An option that `run` does not have, or a value that it cannot read, with what helps.
    pub fn request(&self) -> Result<PlanRequest, clap::Error> {
        with_shape!(self.workload, S => self.parse::<S>())
    }

    fn parse<S: ShapeArgs>(&self) -> Result<PlanRequest, clap::Error> {
        let matches = command::<S>(self.workload).try_get_matches_from(self.words())?;
        Ok(PlanArgs::<S>::from_arg_matches(&matches)?.request())
    }

    /// The arm that runs it.
    ///
    /// # Errors
    /// As [`RunLine::request`].
    pub fn arm(&self, label: &str) -> Result<ArmRequest, clap::Error> {
        let mut request = self.request()?;
        request.common.interval_ns.get_or_insert(INTERVAL_NS);
        spread_over_agents(&mut request);
        Ok(ArmRequest {
            label: label.to_owned(),
            command: self.command(),
            request,
        })
    }
}

/// The options of `run` that make a plan, and none that say where the result goes.
fn command<S: Args>(workload: Workload) -> Command {
    let command = Command::new(workload.name()).no_binary_name(true);
    PlanArgs::<S>::augment_args(command)
}

/// Arms with their names, once for each number of connections; for none, as they are.
///
/// # Errors
/// As [`RunLine::request`].
pub fn cells(
    arms: &[(String, RunLine)],
    connections: &[u32],
) -> Result<Vec<CellRequest>, clap::Error> {
    let Some((_, first)) = arms.first() else {
        return Ok(Vec::new());
    };
    let of = |label: String, connections: Option<u32>| {
        let arms = arms.iter().map(|(label, line)| {
            let mut line = line.clone();
            if let Some(connections) = connections {
                line.set("connections", Some(&connections.to_string()));
            }
            line.with_defaults().arm(label)
        });
        Ok(CellRequest {
            label,
            arms: arms.collect::<Result<_, clap::Error>>()?,
        })
    };
    let workload = first.workload.name();
    if connections.is_empty() {
        return Ok(vec![of(workload.to_owned(), None)?]);
    }
    let counts = connections.iter();
    counts
        .map(|&count| {
            let plural = if count == 1 { "" } else { "s" };
            of(
                format!("{workload}, {count} connection{plural}"),
                Some(count),
            )
        })
        .collect()
}

/// Names with a number behind those that were there before: an engine can be compared with itself.
pub fn unique(names: &[String]) -> Vec<String> {
    names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let earlier = names[..index].iter().filter(|other| *other == name).count();
            match earlier {
                0 => name.clone(),
                earlier => format!("{name} ({})", earlier + 1),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_line_is_a_command_and_a_request() {
        let mut line = RunLine::of(Workload::Rr);
        line.set("testee-via", Some("ssh b"));
        line.set("testee-host", Some("10.0.0.2"));
        line.set("engine", Some("uring"));
        line.set("engine", Some("epoll"));
        line.set("no-nodelay", None);
        assert_eq!(
            line.command(),
            "linerate run rr --testee-via 'ssh b' --testee-host 10.0.0.2 --engine epoll --no-nodelay"
        );
        let request = line.request().unwrap();
        assert_eq!(request.common.testee_via, ["ssh b"]);
        assert_eq!(request.common.engine.as_deref(), Some("epoll"));
        assert_eq!(request.common.socket.nodelay, Some(false));
        line.unset("no-nodelay");
        assert_eq!(line.request().unwrap().common.socket.nodelay, None);
    }

    #[test]
    fn compare_takes_an_option_again_for_each_host() {
        let line = [
            "linerate",
            "compare",
            "rr",
            "tcp://10.0.0.9:9",
            "--engines",
            "epoll,uring",
            "--vary",
            "load",
            "--load-via",
            "ssh a",
            "--load-via",
            "ssh b",
            "--source",
            "10.0.0.1,10.0.0.2",
        ];
        let cli = crate::args::Cli::try_parse_from(line).unwrap();
        let crate::args::Command::Compare(args) = cli.command else {
            panic!("another command");
        };
        let line = args.workload.unwrap().asked().line;
        let request = line.request().unwrap();
        assert_eq!(request.common.load_via, ["ssh a", "ssh b"]);
        assert_eq!(request.common.sources, ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn every_workload_reads_its_own_options() {
        for (workload, option, value) in [
            (Workload::Rr, "request", "1K"),
            (Workload::Echo, "size", "64K"),
            (Workload::Stream, "direction", "both"),
            (Workload::Crr, "closer", "server"),
            (Workload::Cc, "close", "rst"),
        ] {
            let mut line = RunLine::of(workload);
            line.set(option, Some(value));
            assert!(line.request().is_ok(), "{}", line.command());
            line.set("colour", Some("red"));
            let error = line.request().unwrap_err().to_string();
            assert!(error.contains("--colour"), "{error}");
        }
    }

    #[test]
    fn a_switch_goes_both_ways() {
        let mut line = RunLine::of(Workload::Rr);
        line.switch("nodelay", false);
        assert_eq!(line.command(), "linerate run rr --no-nodelay");
        line.switch("nodelay", true);
        assert_eq!(line.command(), "linerate run rr --nodelay");
        line.switch("fast-open", true);
        line.switch("fast-open", false);
        assert_eq!(line.command(), "linerate run rr --nodelay");
        // A value for a switch is no target.
        line.set("fast-open", Some("yes"));
        assert!(line.request().is_err());
    }

    #[test]
    fn runs_are_short_unless_told_otherwise() {
        let line = RunLine::of(Workload::Cc).with_defaults();
        assert_eq!(line.command(), "linerate run cc --duration 2s");
        let arm = line.arm("cc").unwrap();
        assert_eq!(arm.command, "linerate run cc --duration 2s");
        assert_eq!(arm.request.common.interval_ns, Some(INTERVAL_NS));
        let mut counted = RunLine::of(Workload::Cc);
        counted.set("count", Some("5k"));
        assert!(!counted.with_defaults().has("duration"));
    }

    #[test]
    fn names_become_unique() {
        let names = ["a", "b", "a", "a"].map(str::to_owned);
        assert_eq!(unique(&names), ["a", "b", "a (2)", "a (3)"]);
    }
}
