//! `linerate compare`: arms from the command line or a file, rounds conducted and watched, the document analysed
//! and handed over.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use report::comparison::{StopReason, Vary};
use report::document::{Document, Message};
use report::findings::Finding;
use report::units::{counted, human_bit_rate, human_count, human_ns};
use runner::cancel::Cancel;
use runner::compare::{
    Book, CellRequest, Earlier, Experiment, ExperimentRequest, Observer, Position, conduct, engines,
};
use runner::conduct::Phase;
use runner::error::{ExitClass, Failure};
use runner::plan::CommonRequest;
use runner::ranks::RankListener;

use crate::args::compare::{ArmsArgs, Asked, CompareArgs, MethodArgs, Side};
use crate::args::run_groups::OutputArgs;
use crate::arms::{RunLine, cells, unique};
use crate::comparison_outlet::Outlet;
use crate::problem::Problem;
use crate::progress::{Comparing, Findings, Kind, Step, Surroundings, in_words, say};
use crate::signals::end_early;
use crate::trial_log::{self, now_unix_ns, output_log};
use crate::{comparison_outlet, plan_file, rank_listener, usage};

/// Compares.
///
/// # Errors
/// Arms that cannot be, an output that cannot be written, or why there is nothing to analyse.
pub fn compare(args: &CompareArgs) -> Result<ExitClass, Problem> {
    if let Some(workload) = &args.workload {
        let asked = workload.asked();
        let cells = cells_of(&asked)?;
        let vary = asked.arms.vary().into();
        return measure(cells, vary, asked.method, asked.output);
    }
    let source = &args.source;
    if let Some(path) = &source.resume {
        return resume(path, &args.method, &args.output);
    }
    if let Some(path) = &source.plan {
        let file = plan_file::read(path)?;
        let of_workload = |arms: &Vec<_>| cells(arms, &file.connections);
        let cells: Result<Vec<_>, _> = file.arms.iter().map(of_workload).collect();
        let cells: Vec<CellRequest> = cells.map_err(unreadable)?.concat();
        let vary = varied(&cells);
        return measure(cells, vary, &args.method, &args.output);
    }
    let again = source.again.as_deref().map(|path| ("analysed", path));
    let read = source.files.iter().map(|path| ("compared", path.as_path()));
    let inputs: Vec<_> = again.into_iter().chain(read).collect();
    let outlet = Outlet::open(&args.output, &args.method.fail_on, &inputs)?;
    match (&source.again, &source.files[..]) {
        (Some(path), _) => outlet.again(path),
        (None, [old, new]) => {
            outlet.saved(old, new, &args.method.metric, source.allow_different)
        }
        (None, [word]) => Err(Problem::usage(format!(
            "'{}' is no workload (rr, echo, stream, crr, cc), and a comparison of saved results takes two files",
            word.display()
        ))
        .with_cure("see linerate compare --help")),
        _ => Err(Problem::usage("there is nothing to compare").with_cure(
            "name a workload and engines, for example: linerate compare rr --engines uring,epoll",
        )),
    }
}

// ---- arms ----------------------------------------------------------------------------------

fn unreadable(error: clap::Error) -> Problem {
    Problem::usage(usage::sentence(&error, &["compare"]))
}

fn cells_of(asked: &Asked<'_>) -> Result<Vec<CellRequest>, Problem> {
    let arms = arms(asked.arms, &asked.line)?;
    cells(&arms, asked.connections).map_err(unreadable)
}

/// One line per engine or profile, the baseline first.
fn arms(args: &ArmsArgs, line: &RunLine) -> Result<Vec<(String, RunLine)>, Problem> {
    let by_profile = !args.profiles.is_empty();
    let (option, mut names) = match by_profile {
        true => ("--profiles", args.profiles.clone()),
        false => ("--engines", engines(&args.engines).map_err(Problem::usage)?),
    };
    if let Some(baseline) = &args.baseline {
        let place = names.iter().position(|name| name == baseline);
        let place = place.ok_or_else(|| {
            Problem::usage(format!("--baseline {baseline} is none of the {option}"))
                .with_cure(format!("choose one of {}", names.join(" and ")))
        })?;
        names[..=place].rotate_right(1);
    }
    let options: &[&str] = match (by_profile, args.vary()) {
        (true, Side::Testee) => &["profile-testee"],
        (true, Side::Load) => &["profile-load"],
        (true, Side::Both) => &["profile"],
        (false, Side::Testee) => &["testee-engine"],
        (false, Side::Load) => &["engine"],
        (false, Side::Both) => &["engine", "testee-engine"],
    };
    if !by_profile {
        check_sides(args.vary(), line, options)?;
    }
    let with = |name: &String| {
        let mut line = line.clone();
        if !(by_profile && name == NO_PROFILE) {
            options
                .iter()
                .for_each(|option| line.set(option, Some(name)));
        }
        line
    };
    Ok(unique(&names)
        .into_iter()
        .zip(names.iter().map(with))
        .collect())
}

/// In `--profiles`: the machine as it is.
const NO_PROFILE: &str = "none";

/// The engine of a side that is varied comes from the list, and a target of others has none of ours.
fn check_sides(vary: Side, line: &RunLine, options: &[&str]) -> Result<(), Problem> {
    let vary = Vary::from(vary).name();
    if let Some(option) = options.iter().find(|option| line.has(option)) {
        return Err(Problem::usage(format!(
            "--{option} does not go with --vary {vary}: that side gets its engine from --engines"
        ))
        .with_cure("leave it out, or vary the other side"));
    }
    if line.has_target() && options.contains(&"testee-engine") {
        return Err(Problem::usage(format!(
            "--vary {vary} does not go with a target: linerate does not start it and cannot choose its engine"
        ))
        .with_cure("use --vary load, or leave the target out"));
    }
    Ok(())
}

/// The side in which the arms of a plan file differ.
fn varied(cells: &[CellRequest]) -> Vary {
    let all_like_the_first = |reset: fn(&mut CommonRequest)| {
        cells.iter().all(|cell| {
            let mut requests = cell.arms.iter().map(|arm| {
                let mut request = arm.request.clone();
                reset(&mut request.common);
                request
            });
            let first = requests.next();
            requests.all(|request| Some(request) == first)
        })
    };
    let without_testee = |common: &mut CommonRequest| {
        (common.testee_engine, common.testee_cpus) = (None, None);
        (common.testee_threads, common.testee_agents) = (None, None);
    };
    let without_load = |common: &mut CommonRequest| {
        (common.engine, common.client_cpus) = (None, None);
        (common.threads, common.load_agents) = (None, None);
    };
    if all_like_the_first(without_testee) {
        Vary::Testee
    } else if all_like_the_first(without_load) {
        Vary::Load
    } else {
        Vary::Both
    }
}

// ---- measuring -----------------------------------------------------------------------------

fn measure(
    cells: Vec<CellRequest>,
    vary: Vary,
    method: &MethodArgs,
    output: &OutputArgs,
) -> Result<ExitClass, Problem> {
    let arms = cells.iter().flat_map(|cell| &cell.arms);
    let workloads: Vec<_> = arms.map(|arm| arm.request.shape.workload()).collect();
    let experiment = Experiment::new(ExperimentRequest {
        cells,
        vary,
        metrics: method.metric.clone(),
        rounds: method.rounds,
        budget_ns: method.budget,
        precision: method.precision,
        pause_ns: method.pause,
        seed: method.seed.unwrap_or_else(seed_of_the_clock),
    })?;
    experiment.check_engines()?;
    let outlet = Outlet::open(output, &method.fail_on, &[])?;
    outlet.check_conditions(&workloads, vary)?;
    // Before a log of the same name is put aside.
    let rank_listener = rank_listener::open(&method.ranks, experiment.ranks())?;
    let command = comparison_outlet::command();
    let (book, log) = match output_log(output) {
        Ok(place) => match Book::create(&place, &experiment, command.clone(), now_unix_ns()) {
            Ok(book) => (book, None),
            Err(error) => (Book::default(), Some(trial_log::refused(&place, error)?)),
        },
        Err(error) => (Book::default(), Some(trial_log::without(error))),
    };
    let mut lines = vec![announcement(&experiment)];
    lines.extend(log);
    lines.extend(book.path().map(trial_log::kept));
    conduct_on(
        &experiment,
        rank_listener,
        book,
        outlet,
        &lines,
        command,
        output,
    )
}

/// Goes on with what was ended before its end.
fn resume(path: &Path, method: &MethodArgs, output: &OutputArgs) -> Result<ExitClass, Problem> {
    let earlier = Earlier::read(path)?;
    let mut lines: Vec<String> = earlier.remark().into_iter().collect();
    let command = earlier.command().to_vec();
    let rounds = earlier.rounds();
    let (experiment, book) = earlier.resume()?;
    experiment.check_engines()?;
    let outlet = Outlet::open(output, &method.fail_on, &[("gone on with", path)])?;
    lines.push(announcement(&experiment));
    lines.push(format!(
        "{} of it {} in {}",
        counted(rounds as u64, "round"),
        if rounds == 1 { "is" } else { "are" },
        path.display()
    ));
    let rank_listener = rank_listener::open(&method.ranks, experiment.ranks())?;
    conduct_on(
        &experiment,
        rank_listener,
        book,
        outlet,
        &lines,
        command,
        output,
    )
}

/// Conducts it, with `lines` said before; `command` is the one that began it.
fn conduct_on(
    experiment: &Experiment,
    rank_listener: Option<RankListener>,
    mut book: Book,
    outlet: Outlet,
    lines: &[String],
    command: Vec<String>,
    output: &OutputArgs,
) -> Result<ExitClass, Problem> {
    let kind = Kind::choose(output.progress, output.quiet, Surroundings::detect());
    let progress = Comparing::start(kind);
    if !output.quiet {
        lines.iter().for_each(|line| progress.note(line));
    }
    let cancel = Cancel::new();
    end_early(&cancel, progress.clearer(), output.quiet)?;
    let mut watcher = Watcher {
        progress,
        told: Vec::new(),
        findings: Findings::default(),
        quiet: output.quiet,
    };
    let mut outcome = conduct(
        experiment,
        rank_listener.as_ref(),
        &mut book,
        &mut watcher,
        &cancel,
    );
    drop(rank_listener);
    drop(watcher);
    outcome.comparison.command = command;
    let unfinished = book.path().map(ToOwned::to_owned);
    let ended = outlet.finish(outcome);
    if let (Some(path), false) = (unfinished, output.quiet) {
        say(&format!("to go on with it: {}", to_resume(&path)));
    }
    ended
}

/// The command that goes on with the comparison of a trial log.
fn to_resume(log: &Path) -> String {
    let log = log.display().to_string();
    report::text::as_typed(&["linerate", "compare", "--resume", &log].map(str::to_owned))
}

/// Nobody needs it to be secret, only to differ from the last one. Short enough to be typed.
fn seed_of_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |passed| {
        u64::from(passed.subsec_nanos()) ^ passed.as_secs()
    }) & 0xffff_ffff
}

/// What will be done and how long it takes.
fn announcement(experiment: &Experiment) -> String {
    let (method, length) = (experiment.method(), experiment.length());
    let cells: Vec<_> = experiment.cells().collect();
    let arms = cells.first().map_or(0, |(_, arms)| arms.len());
    let cells = match cells.len() {
        1 => String::new(),
        count => format!("{count} cells of "),
    };
    let at_most = method.budget_ns.is_some() || method.precision_target.is_some();
    format!(
        "compare: {cells}{} arms and a control, {} rounds after a discarded one: {} runs, {} {} (seed {})",
        arms - 1,
        method.rounds_planned,
        length.runs,
        if at_most { "at most" } else { "about" },
        in_words(Duration::from_nanos(length.total_ns)),
        method.seed
    )
}

/// Shows what happens.
struct Watcher {
    progress: Comparing,
    /// What was said of engines: every arm prepares two, and most are alike.
    told: Vec<String>,
    findings: Findings,
    quiet: bool,
}

impl Watcher {
    /// A line that stays, unless nothing is to be said.
    fn note(&self, line: &str) {
        if !self.quiet {
            self.progress.note(line);
        }
    }
}

impl Observer for Watcher {
    fn finding(&mut self, host: &str, finding: &Finding) {
        if let Some(line) = self.findings.line(host, finding) {
            self.note(&line);
        }
    }

    fn warning(&mut self, warning: &Message) {
        self.note(&warning.text);
    }

    fn ranks(&mut self, news: &str) {
        self.note(news);
    }

    fn run_started(&mut self, place: &Position<'_>) {
        self.progress.step(Step {
            round: place.round,
            rounds: place.rounds,
            what: format!("{}: {}", place.cell, place.arm),
            left: Duration::from_nanos(place.left_ns),
            began: Instant::now(),
        });
    }

    fn prepared(&mut self, agent: &str, engine: &str, reason: &str) {
        let line = format!("{agent}: engine {engine} ({reason})");
        if reason.starts_with("auto") && !self.told.contains(&line) {
            self.note(&line);
            self.told.push(line);
        }
    }

    fn phase(&mut self, phase: Phase) {
        if phase == Phase::WarmingUp
            && let Some(line) = self.findings.where_to_read()
        {
            self.note(line);
        }
    }

    fn run_ended(&mut self, place: &Position<'_>, outcome: Result<&Document, &Failure>) {
        match outcome {
            Ok(document) => self.progress.ended(&in_short(document)),
            Err(failure) => {
                let Position {
                    round, cell, arm, ..
                } = place;
                let text = &failure.text;
                self.note(&format!("round {round}, {cell}: {arm} failed: {text}"));
            }
        }
    }

    fn cell_ended(&mut self, label: &str, rounds: u32, why: StopReason) {
        let why = match why {
            StopReason::Precision => "is known as precisely as asked for",
            StopReason::Budget => "has used up its time",
            StopReason::Failed => "cannot go on",
            StopReason::Rounds | StopReason::Interrupted => return,
        };
        let after = match rounds {
            0 => "the discarded round".to_owned(),
            rounds => counted(rounds.into(), "round"),
        };
        self.note(&format!("{label} {why} after {after}"));
    }
}

/// A run in a few words.
fn in_short(document: &Document) -> String {
    let Some(round) = document.rounds.first() else {
        return "nothing".to_owned();
    };
    let rates = &round.rates;
    if document.plan.workload.is_bulk() {
        let bits = rates.throughput_bits_per_second;
        return bits.map_or_else(String::new, |bits| human_bit_rate(bits.get()));
    }
    let rate = rates
        .operations_per_second
        .map(|rate| format!("{}/s", human_count(rate.get())));
    let latency = round.measured.latency.primary();
    let p99_ns = latency.and_then(|(_, all)| all.percentile("p99"));
    let latency = p99_ns.map(|ns| format!("p99 {}", human_ns(ns as f64)));
    [rate, latency]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("  ")
}

#[cfg(test)]
mod tests {
    use super::to_resume;
    use std::path::Path;

    #[test]
    fn what_was_interrupted_is_gone_on_with_by_its_log() {
        assert_eq!(
            to_resume(Path::new("/x/a b.trials.jsonl")),
            "linerate compare --resume '/x/a b.trials.jsonl'"
        );
    }
}
