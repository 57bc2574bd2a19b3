//! `linerate run`: a plan is conducted, watched, and its document handed over.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use report::Labelled;
use report::document::{AppliedProfile, Document, Interval, Message, RampPoint, Status};
use report::events::Event;
use report::findings::Finding;
use report::saved::View;
use report::success::missing_events;
use report::text::Style;
use runner::build_info::VERSION;
use runner::cancel::Cancel;
use runner::conduct::{Observer, Phase, RunLog, conduct};
use runner::error::{ExitClass, RunError};
use runner::plan::{Plan, forecast, spread_over_agents};

use crate::args::run::RunArgs;
use crate::args::run_groups::{Format, OutputArgs, RunOutputArgs};
use crate::output::{Destination, Lines, PAGE, Spare, apart, both, event_file, note_form};
use crate::problem::Problem;
use crate::progress::{Findings, Goal, Kind, Progress, State, Surroundings, say};
use crate::rank_listener;
use crate::render::render;
use crate::signals;
use crate::style;
use crate::trial_log::{self, now_unix_ns};

/// Measures.
///
/// # Errors
/// A plan that cannot be, an output that cannot be written, or why the run could not be completed.
pub fn run(args: &RunArgs) -> Result<ExitClass, Problem> {
    let output = args.workload.output();
    let mut request = args.workload.request();
    spread_over_agents(&mut request);
    let plan = Plan::new(request)?;
    if output.result.form() == Format::Hgrm && plan.workload().is_bulk() {
        return Err(
            Problem::usage("a stream has no latency, and hgrm shows nothing else")
                .with_cure("take another --format"),
        );
    }
    if output.event_record.is_some() {
        plan.check_event_record()?;
    }
    let mut outlet = Outlet::open(output)?;
    let plan = match &output.event_record {
        Some(path) => plan.recording_events(event_file(path)?),
        None => plan,
    };
    let rank_listener = rank_listener::open(args.workload.ranks(), plan.ranks())?;
    let (log, said) = log(&plan, &output.result)?;
    outlet.event(&Event::start(VERSION, now_unix_ns(), &plan.document()));
    let progress = progress(&plan, &output.result);
    let cancel = Cancel::new();
    signals::end_early(&cancel, progress.clearer(), output.result.quiet)?;
    let mut watcher = Watcher {
        progress,
        outlet: &mut outlet,
        first_round: true,
        until_told: plan.holds_until_told(),
        findings: Findings::default(),
        log,
    };
    said.iter().for_each(|line| watcher.note(line));
    forecast(&plan).iter().for_each(|line| watcher.note(line));
    if plan.holds_until_told() && std::io::stdin().is_terminal() && is_in_foreground() {
        end_on_enter(&cancel);
    }
    let outcome = conduct(&plan, rank_listener.as_ref(), &mut watcher, &cancel);
    // The ranks go before the result is written.
    drop(rank_listener);
    let log = watcher.log.take();
    drop(watcher);
    match outcome {
        Ok(document) => {
            if let (Some(log), Status::Ok) = (log, document.status)
                && let Err(error) = log.end()
            {
                say(&error.to_string());
            }
            outlet.finish(document)
        }
        Err(error) => outlet.fail(error),
    }
}

/// A line on the terminal is a wish to end.
fn end_on_enter(cancel: &Cancel) {
    let cancel = cancel.clone();
    // It ends with the process.
    let waiting = std::thread::Builder::new().name("enter".to_owned());
    let _ = waiting.spawn(move || {
        if std::io::stdin().read_line(&mut String::new()).is_ok() {
            cancel.raise_first();
        }
    });
}

/// Whether a line that is typed is for this process: a job in the background that reads is stopped (SIGTTIN). By the
/// foreground process group of the terminal and its own, fields 8 and 5 of proc_pid_stat(5).
fn is_in_foreground() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = fields.split_whitespace().collect();
    matches!(fields[..], [_, _, group, _, _, foreground, ..] if group == foreground)
}

/// The log of a run with several rounds, and what is to be said of it. A single round is lost with its run.
fn log(plan: &Plan, output: &OutputArgs) -> Result<(Option<RunLog>, Option<String>), Problem> {
    if plan.repeat() < 2 {
        return Ok((None, None));
    }
    let place = match trial_log::output_log(output) {
        Ok(place) => place,
        Err(error) => return Ok((None, Some(trial_log::without(error)))),
    };
    match RunLog::create(&place, plan, command(), now_unix_ns()) {
        Ok(log) => {
            let said = trial_log::kept(log.path());
            Ok((Some(log), Some(said)))
        }
        Err(error) => Ok((None, Some(trial_log::refused(&place, error)?))),
    }
}

fn command() -> Vec<String> {
    std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

fn progress(plan: &Plan, output: &OutputArgs) -> Progress {
    let kind = Kind::choose(output.progress, output.quiet, Surroundings::detect());
    let goal = match (plan.count(), plan.duration_ns()) {
        (Some(count), _) => Goal::Operations(count),
        (None, length_ns) => Goal::Time(length_ns.unwrap_or_default()),
    };
    Progress::start(
        kind,
        State::new(
            plan.workload(),
            plan.repeat(),
            goal,
            plan.connections().into(),
        ),
    )
}

/// Shows and records what happens.
struct Watcher<'a> {
    progress: Progress,
    outlet: &'a mut Outlet,
    first_round: bool,
    /// What is held is held until the user ends it.
    until_told: bool,
    findings: Findings,
    log: Option<RunLog>,
}

impl Watcher<'_> {
    /// A line that stays, unless nothing is to be said.
    fn note(&self, line: &str) {
        if !self.outlet.quiet {
            self.progress.note(line);
        }
    }
}

impl Observer for Watcher<'_> {
    fn round_started(&mut self, number: u32, _of: u32) {
        self.first_round = number == 1;
        self.progress.round(number);
    }

    fn prepared(&mut self, agent: &str, engine: &str, reason: &str) {
        // Every round prepares the same.
        if self.first_round {
            self.note(&format!("{agent}: engine {engine} ({reason})"));
        }
    }

    fn ranks(&mut self, news: &str) {
        self.note(news);
    }

    fn finding(&mut self, host: &str, finding: &Finding) {
        if let Some(line) = self.findings.line(host, finding) {
            self.note(&line);
        }
    }

    fn profile(&mut self, host: &str, profile: &AppliedProfile) {
        let summary = report::text::profile_summary(profile);
        self.note(&format!("profile {} on {host}: {summary}", profile.name));
    }

    fn phase(&mut self, phase: Phase) {
        match phase {
            Phase::Preparing => self.progress.phase("preparing"),
            Phase::WarmingUp => {
                if let Some(line) = self.findings.where_to_read() {
                    self.note(line);
                }
                self.progress.phase("warming up");
            }
            Phase::Measuring => self.progress.measuring(),
            Phase::Holding if self.until_told => {
                self.progress.phase("holding, until Enter or Ctrl-C")
            }
            Phase::Holding => self.progress.phase("holding"),
            Phase::Closing => self.progress.phase("closing"),
            Phase::Stopping => self.progress.phase("stopping"),
        }
    }

    fn window_part(&mut self, _round: u32, part: &Interval) {
        self.progress.interval(part);
    }

    fn interval(&mut self, round: u32, agent: &str, interval: &Interval) {
        self.outlet.event(&Event::interval(round, agent, *interval));
    }

    fn held(&mut self, standing: u64, lost: u64) {
        self.progress.held(standing, lost);
    }

    fn joining(&mut self, point: &RampPoint) {
        self.progress.joining(point);
    }

    fn recorded(&mut self, so_far: &Document) {
        let Some(log) = &mut self.log else {
            return;
        };
        if let Err(error) = log.keep(so_far) {
            self.note(&format!(
                "{error}; the run goes on, and its later rounds are in no log"
            ));
            self.log = None;
        }
    }

    fn warning(&mut self, warning: &Message) {
        self.outlet.event(&Event::Warning {
            warning: warning.clone(),
        });
    }
}

/// Where everything goes that is not progress.
struct Outlet {
    format: Format,
    destination: Destination,
    html: Option<Destination>,
    events: Option<Lines>,
    stdout_has_events: bool,
    /// Where agents record every event.
    event_record: Option<PathBuf>,
    /// stdout belongs to the events, so the text for people goes to stderr.
    text_to_stderr: bool,
    quiet: bool,
}

impl Outlet {
    /// Opens everything before the first agent starts.
    fn open(asked: &RunOutputArgs) -> Result<Self, Problem> {
        let RunOutputArgs {
            result: output,
            events,
            event_record,
        } = asked;
        let is_stdout = |path: Option<&Path>| path.is_none_or(|path| path.as_os_str() == "-");
        let events_on_stdout = events.as_deref().is_some_and(|path| is_stdout(Some(path)));
        let shared = events_on_stdout && is_stdout(output.output.as_deref());
        let format = output.form();
        if shared && format != Format::Text {
            return Err(
                Problem::usage("--events - and the result would both go to stdout")
                    .with_cure("give the result a file with --output FILE"),
            );
        }
        if is_stdout(output.html.as_deref()) && output.html.is_some() {
            return Err(
                Problem::usage("--html - would mix the page with the result")
                    .with_cure("for the page alone on stdout: --format html"),
            );
        }
        apart(
            &[
                ("--output", output.output.as_deref()),
                ("--html", output.html.as_deref()),
                ("--events", events.as_deref()),
                ("--event-record", event_record.as_deref()),
            ],
            &[],
        )?;
        note_form(format, output.output.as_deref(), output.quiet);
        Ok(Outlet {
            format,
            destination: Destination::open(output.output.as_deref())?,
            html: output
                .html
                .as_deref()
                .map(|path| Destination::open(Some(path)))
                .transpose()?,
            events: events.as_deref().map(Lines::open).transpose()?,
            stdout_has_events: events_on_stdout,
            event_record: event_record.clone(),
            text_to_stderr: shared,
            quiet: output.quiet,
        })
    }

    fn event(&mut self, event: &Event) {
        let Some(lines) = &mut self.events else {
            return;
        };
        let written = match event.line() {
            Ok(line) => lines.write(&line),
            Err(error) => Err(Problem::usage(format!("cannot write an event: {error}"))),
        };
        // The measurement is worth more than its events.
        if let Err(problem) = written {
            say(&problem.line());
        }
    }

    fn finish(mut self, mut document: Document) -> Result<ExitClass, Problem> {
        self.end_events(document.status, document.errors.clone());
        let events = self.events.take().map_or(Ok(()), Lines::end);
        let class = ExitClass::of_document(&document);
        let missing = missing_events(&document.rounds);
        let incomplete = report::success::incomplete(&document)
            .or_else(|| missing.as_ref().map(|missing| missing.text.clone()));
        let record = missing.and_then(|missing| missing.failure);
        let record = record.map_or(Ok(()), |why| {
            Err(Problem::usage(why).with_cure("the events after that are lost"))
        });
        both(both(events, record), self.hand_over(&mut document))?;
        match class {
            ExitClass::CheckFailed => Err(Problem {
                class,
                text: incomplete.unwrap_or_else(|| {
                    "a check failed: bytes came back other than they were sent".to_owned()
                }),
                cure: None,
            }),
            class => Ok(class),
        }
    }

    fn fail(mut self, error: RunError) -> Result<ExitClass, Problem> {
        let RunError { failure, document } = error;
        let status = document
            .as_ref()
            .map_or(Status::Failed, |document| document.status);
        self.end_events(status, vec![failure.message()]);
        // A report for people on nothing at all would only hide the one line that matters, and nothing has
        // no distribution.
        let needs_rounds = matches!(self.format, Format::Text | Format::Hgrm);
        let worth = |document: &Document| !needs_rounds || !document.rounds.is_empty();
        if let Some(mut document) = document.filter(|document| worth(document))
            && let Err(problem) = self.hand_over(&mut document)
        {
            // Why it failed decides how it ends.
            say(&problem.line());
        }
        Err(failure.into())
    }

    fn end_events(&mut self, status: Status, errors: Vec<Message>) {
        self.event(&Event::End {
            at_unix_ns: now_unix_ns(),
            status,
            errors,
        });
    }

    /// Writes the result, and says where it is.
    fn hand_over(mut self, document: &mut Document) -> Result<(), Problem> {
        document.command = command();
        self.point_to_events();
        let page = match self.html.take() {
            Some(place) => self.save(place, document),
            None => Ok(()),
        };
        both(page, self.save_result(document))
    }

    /// Writes the result, and says where it is.
    fn save_result(self, document: &Document) -> Result<(), Problem> {
        let text = self.render(self.format, document)?;
        if self.text_to_stderr {
            if !self.quiet {
                say(text.trim_end());
            }
            return Ok(());
        }
        let path = self
            .destination
            .path()
            .map(|path| path.display().to_string());
        let spare = Spare::of_result(self.format, !self.stdout_has_events);
        self.destination.keep(&text, spare)?;
        if let (Some(path), false) = (path, self.quiet) {
            say(&headline(document));
            say(&format!("the result is in {path}"));
            if self.format == Format::Json {
                say(&format!(
                    "to see it with plots: linerate report {path} --format html --output {path}.html"
                ));
            }
        }
        Ok(())
    }

    /// Says where every event is.
    fn point_to_events(&self) {
        if let (Some(path), false) = (&self.event_record, self.quiet) {
            let path = path.display();
            say(&format!(
                "every event is in {path}; to add them up: linerate events stats {path}"
            ));
        }
    }

    /// Writes the page, and says where it is.
    fn save(&self, place: Destination, document: &Document) -> Result<(), Problem> {
        let page = self.render(Format::Html, document)?;
        let path = place.path().map(|path| path.display().to_string());
        place.keep(&page, PAGE)?;
        if let (Some(path), false) = (path, self.quiet) {
            say(&format!("the page with plots is in {path}"));
        }
        Ok(())
    }

    fn render(&self, format: Format, document: &Document) -> Result<String, Problem> {
        render(
            format,
            &[Labelled::new(label(document), View::Run(document))],
            &self.style(),
        )
    }

    fn style(&self) -> Style {
        let terminal = match (self.text_to_stderr, &self.destination) {
            (true, _) => std::io::stderr().is_terminal(),
            (false, Destination::Stdout) => std::io::stdout().is_terminal(),
            (false, _) => false,
        };
        style::of(terminal)
    }
}

/// What a result is called where several could stand: what it measured, by which engine.
fn label(document: &Document) -> String {
    let plan = &document.plan;
    format!("{} {}", plan.workload.name(), plan.engine.load)
}

/// The first paragraph of the text: the answer, in one sentence.
fn headline(document: &Document) -> String {
    let text = report::text::render(document, &Style::default());
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}
