//! How a comparison leaves: analysed, rendered, written, and judged by `--fail-on`.

use std::io::IsTerminal;
use std::path::Path;

use report::Labelled;
use report::comparison::{
    Comparison, MetricName, OutcomeState, Threshold, Vary, analyse_all, words,
};
use report::document::{Document, LoadError, Status, Workload};
use report::saved::{Saved, View};
use report::text::Style;
use runner::compare::{self, Earlier, Outcome, SavedMethod, SavedRun};
use runner::error::ExitClass;
use runner::trials;

use crate::args::run_groups::{Format, OutputArgs};
use crate::output::{Destination, PAGE, Spare, apart, both, note_form};
use crate::problem::Problem;
use crate::progress::say;
use crate::render::{no_hgrm, render};
use crate::saved_file;
use crate::style;

/// Where a comparison goes.
pub struct Outlet {
    format: Format,
    destination: Destination,
    html: Option<Destination>,
    thresholds: Vec<Threshold>,
    quiet: bool,
    /// It was just measured, so that it may have been interrupted.
    measured: bool,
}

impl Outlet {
    /// Opens everything before the first run.
    ///
    /// # Errors
    /// A place that cannot be written, or a condition that cannot be read.
    pub fn open(
        output: &OutputArgs,
        fail_on: &[String],
        inputs: &[(&str, &Path)],
    ) -> Result<Self, Problem> {
        apart(
            &[
                ("--output", output.output.as_deref()),
                ("--html", output.html.as_deref()),
            ],
            inputs,
        )?;
        if output.form() == Format::Hgrm {
            return Err(no_hgrm());
        }
        note_form(output.form(), output.output.as_deref(), output.quiet);
        Ok(Outlet {
            format: output.form(),
            destination: Destination::open(output.output.as_deref())?,
            html: page(output)?,
            thresholds: thresholds(fail_on)?,
            quiet: output.quiet,
            measured: false,
        })
    }

    /// Refuses a condition on what none of these workloads has, before anything is measured.
    ///
    /// # Errors
    /// Which one, and what to do.
    pub fn check_conditions(&self, workloads: &[Workload], vary: Vary) -> Result<(), Problem> {
        let has = |threshold: &Threshold| {
            let mut all = workloads.iter();
            all.any(|workload| threshold.metric(*workload, vary).is_of(*workload))
        };
        match self.thresholds.iter().find(|threshold| !has(threshold)) {
            None => Ok(()),
            Some(threshold) => Err(Problem::usage(format!(
                "--fail-on '{}': the workload has no such metric",
                threshold.text()
            ))
            .with_cure(
                "a stream has throughput and cpu_per_kib, the others rate, p99 and cpu_per_op",
            )),
        }
    }

    /// What was just measured.
    ///
    /// # Errors
    /// Why it could not be measured, a place that cannot be written, or a condition that holds.
    pub fn finish(mut self, outcome: Outcome) -> Result<ExitClass, Problem> {
        self.measured = true;
        let Outcome {
            comparison,
            failure,
        } = outcome;
        let has_rounds = comparison.has_rounds();
        let problem = match failure {
            Some(failure) => Problem::from(failure),
            None if !has_rounds && comparison.status == Status::Interrupted => interrupted(),
            None => return self.hand_over(comparison),
        };
        // A report for people on nothing at all would only hide the one line that matters.
        if self.format != Format::Text || has_rounds {
            match self.hand_over(comparison) {
                // Wrong bytes weigh more than that it could not go on.
                Err(problem) if problem.class == ExitClass::CheckFailed => return Err(problem),
                // Why it failed decides how it ends.
                Err(problem) => say(&problem.line()),
                Ok(_) => {}
            }
        }
        Err(problem)
    }

    /// A saved comparison, or the log of one, analysed by this version.
    ///
    /// # Errors
    /// A file that is none, a place that cannot be written, or a condition that holds.
    pub fn again(self, path: &Path) -> Result<ExitClass, Problem> {
        if trials::header_of(path).is_ok() {
            let comparison = logged(path)?;
            return self.hand_over(comparison);
        }
        match load(path)? {
            Saved::Comparison(comparison) => self.hand_over(*comparison),
            Saved::Run(_) => Err(Problem::usage(format!(
                "{} is the result of run and no comparison",
                path.display()
            ))
            .with_cure(
                "show it with linerate report, or compare two of them: linerate compare OLD NEW",
            )),
        }
    }

    /// Two saved results.
    ///
    /// # Errors
    /// Files that are none or do not fit together, a place that cannot be written, or a condition
    /// that holds.
    pub fn saved(
        self,
        old: &Path,
        new: &Path,
        metrics: &[MetricName],
        allow_different: bool,
    ) -> Result<ExitClass, Problem> {
        let (old, new) = (run(old)?, run(new)?);
        let method = SavedMethod {
            vary: varied(&old.document, &new.document),
            metrics: metrics.to_vec(),
            allow_different,
        };
        let mut comparison = compare::saved(&old, &new, &method)?;
        comparison.command = command();
        self.hand_over(comparison)
    }

    fn hand_over(mut self, mut comparison: Comparison) -> Result<ExitClass, Problem> {
        analyse_all(&mut comparison);
        let text = self.render(self.format, &comparison)?;
        let page = match self.html.take() {
            Some(page) => self.save_page(page, &comparison),
            None => Ok(()),
        };
        let destination = std::mem::replace(&mut self.destination, Destination::Stdout);
        if destination.path().is_some() && comparison.has_rounds() && !self.quiet {
            say(&words::headline(&comparison));
        }
        let spare = Spare::of_result(self.format, true);
        let result = self.keep(destination, &text, spare, "the result is in");
        both(page, result)?;
        self.judge(&comparison)
    }

    fn save_page(&self, place: Destination, comparison: &Comparison) -> Result<(), Problem> {
        let html = self.render(Format::Html, comparison)?;
        self.keep(place, &html, PAGE, "the page with plots is in")
    }

    /// Writes it, and says where it is.
    fn keep(
        &self,
        place: Destination,
        text: &str,
        spare: Spare,
        what: &str,
    ) -> Result<(), Problem> {
        let path = place.path().map(|path| path.display().to_string());
        place.keep(text, spare)?;
        if let (Some(path), false) = (path, self.quiet) {
            say(&format!("{what} {path}"));
        }
        Ok(())
    }

    fn render(&self, format: Format, comparison: &Comparison) -> Result<String, Problem> {
        let view = Labelled::new("comparison".to_owned(), View::Comparison(comparison));
        render(format, &[view], &self.style())
    }

    fn style(&self) -> Style {
        let stdout = matches!(self.destination, Destination::Stdout);
        style::of(stdout && std::io::stdout().is_terminal())
    }

    /// The exit code.
    fn judge(&self, comparison: &Comparison) -> Result<ExitClass, Problem> {
        if self.measured && comparison.status == Status::Interrupted {
            return Ok(ExitClass::Interrupted);
        }
        let outcomes = self
            .thresholds
            .iter()
            .flat_map(|each| each.check(comparison));
        let (mut exceeded, mut undecided) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome.state {
                OutcomeState::Kept if self.quiet => {}
                OutcomeState::Kept => say(&outcome.words),
                OutcomeState::Exceeded => exceeded.push(outcome.words),
                OutcomeState::Undecided => undecided.push(outcome.words),
            }
        }
        let settled = !exceeded.is_empty() || has_wrong_bytes(comparison);
        if settled && !self.quiet {
            undecided.iter().for_each(|words| say(words));
        }
        if !exceeded.is_empty() {
            return Err(check_failed(&exceeded.join("; ")));
        }
        if has_wrong_bytes(comparison) {
            return Err(check_failed("bytes came back other than they were sent"));
        }
        match undecided.is_empty() {
            true => Ok(ExitClass::Done),
            false => Err(nothing_can_be_said(&undecided.join(" "))),
        }
    }
}

/// A comparison that is in a log, as far as it came, not analysed yet.
///
/// # Errors
/// A file that is no such log.
pub fn logged(path: &Path) -> Result<Comparison, Problem> {
    let earlier = Earlier::read(path)?;
    if let Some(remark) = earlier.remark() {
        say(&remark);
    }
    let command = earlier.command().to_vec();
    let Outcome {
        mut comparison,
        failure,
    } = compare::again(earlier);
    comparison.command = command;
    match failure {
        Some(failure) if !comparison.has_rounds() => Err(failure.into()),
        _ => Ok(comparison),
    }
}

/// The user ended it too early.
fn interrupted() -> Problem {
    Problem {
        class: ExitClass::Interrupted,
        text: "interrupted before a round that counts was complete: there is nothing to compare"
            .to_owned(),
        cure: None,
    }
}

fn has_wrong_bytes(comparison: &Comparison) -> bool {
    let rounds = comparison.cells.iter().flat_map(|cell| &cell.rounds);
    // Where no operation brought its bytes back the run has failed and has no numbers at all.
    let mut reasons = rounds
        .flat_map(|round| &round.runs)
        .flat_map(|run| run.invalid.iter().chain(&run.failure));
    reasons.any(|why| why.code == ExitClass::CheckFailed.message_code())
}

/// The place of the page. It is no place for two documents.
fn page(output: &OutputArgs) -> Result<Option<Destination>, Problem> {
    let Some(path) = output.html.as_deref() else {
        return Ok(None);
    };
    if path.as_os_str() == "-" {
        return Err(
            Problem::usage("--html - would mix the page with the result")
                .with_cure("for the page alone on stdout: --format html"),
        );
    }
    Destination::open(Some(path)).map(Some)
}

fn thresholds(texts: &[String]) -> Result<Vec<Threshold>, Problem> {
    let read = |text: &String| {
        text.parse::<Threshold>()
            .map_err(|error| Problem::usage(format!("--fail-on {error}")))
    };
    texts.iter().map(read).collect()
}

/// The command line.
pub fn command() -> Vec<String> {
    let words = std::env::args_os();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

fn load(path: &Path) -> Result<Saved, Problem> {
    let name = path.display();
    let cure = "name a result that --format json --output FILE wrote (workloads are rr, echo, stream, crr, cc)";
    saved_file::load(path).map_err(|error| {
        let problem = match error {
            LoadError::Unreadable(_) => Problem::usage(format!("cannot read {name}: {error}")),
            _ => Problem::usage(format!("{name}: {error}")),
        };
        match error {
            // The text says already which linerate reads it.
            LoadError::UnknownSchema { .. } => problem,
            _ => problem.with_cure(cure),
        }
    })
}

fn run(path: &Path) -> Result<SavedRun, Problem> {
    match load(path)? {
        Saved::Run(document) => Ok(SavedRun {
            label: path.display().to_string(),
            document: *document,
        }),
        Saved::Comparison(_) => Err(Problem::usage(format!(
            "{} is a comparison already, and two of them cannot be compared",
            path.display()
        ))
        .with_cure("analyse it with linerate compare --again FILE")),
    }
}

/// Which side two results differ in, by the engines that were asked for.
fn varied(old: &Document, new: &Document) -> Vary {
    let (old, new) = (&old.plan.engine, &new.plan.engine);
    match (old.load == new.load, old.testee == new.testee) {
        (true, false) => Vary::Testee,
        (false, true) => Vary::Load,
        _ => Vary::Both,
    }
}

fn check_failed(why: &str) -> Problem {
    Problem {
        class: ExitClass::CheckFailed,
        text: format!("a check failed: {why}"),
        cure: None,
    }
}

/// A gate that cannot fail is none.
fn nothing_can_be_said(why: &str) -> Problem {
    Problem {
        class: ExitClass::Undecided,
        text: format!("nothing can be said: {}", why.trim_end_matches('.')),
        cure: Some(
            "measure more rounds or longer ones (--rounds, --duration; of saved results run --repeat), or on a quieter \
             machine"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::comparison::{ArmRun, Cell, CellRound, Method, StopReason};
    use report::document::Message;

    /// A comparison of one run, which failed for this reason.
    fn failed(class: ExitClass) -> Comparison {
        let why = Message::new(class.message_code(), "no operation succeeded");
        let mut comparison = Comparison::new("0", Vec::new(), Method::new(1, Vary::Testee));
        comparison.cells.push(Cell {
            label: "echo".to_owned(),
            workload: Workload::Echo,
            connections: 1,
            primary_metrics: Vec::new(),
            arms: Vec::new(),
            rounds: vec![CellRound {
                number: 1,
                discarded: false,
                started_at_unix_ns: 0,
                order: vec![0],
                runs: vec![ArmRun::failed(0, 0, why)],
                remarks: Vec::new(),
            }],
            stopped: StopReason::Rounds,
            analysis: None,
        });
        comparison
    }

    #[test]
    fn nothing_but_wrong_bytes_are_wrong_bytes_too() {
        assert!(has_wrong_bytes(&failed(ExitClass::CheckFailed)));
        assert!(!has_wrong_bytes(&failed(ExitClass::Peer)));
    }
}
