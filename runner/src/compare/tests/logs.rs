//! Trial logs: told again, gone on with, refused.

use super::*;
use std::path::PathBuf;

/// A file of its own for each test, removed at the end.
struct LogFile(PathBuf);

impl LogFile {
    fn new(name: &str) -> Self {
        let name = format!("linerate-{name}-{}.trials.jsonl", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn begin(&self, experiment: &Experiment) -> Book {
        let place = crate::trials::LogPath::Beside(self.0.clone());
        let command = vec!["linerate".to_owned(), "compare".to_owned()];
        Book::create(&place, experiment, command, 1_000).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// What a SIGKILL leaves: so many whole rounds, and a part of the next.
    fn cut(&self, rounds: usize) {
        let mut text = self.lines()[..=rounds].join("\n");
        text += "\n{\"trial\":{\"cell\":0,";
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn two_cells() -> Experiment {
    experiment(|request| {
        request.cells = self::request(&["epoll", "blocking", "uring"], 2).cells;
        request.rounds = Some(9);
    })
}

/// A stage with everything that a record takes from runs.
fn eventful() -> Playhouse {
    let mut stage = Playhouse {
        disturbed: vec![2, 5, 30],
        seen: vec![finding(Level::Problem, "neighbours", "others use the CPUs")],
        found: vec![("local", finding(Level::Warning, "governor", "schedutil"))],
        ..Playhouse::default()
    };
    stage.failing.insert("uring", (7, ExitClass::Peer));
    stage
}

#[test]
fn a_log_tells_the_whole_comparison_again() {
    let file = LogFile::new("whole");
    let experiment = two_cells();
    let mut book = file.begin(&experiment);
    let (mut measured, _) = play_with(&experiment, &mut eventful(), &mut book);
    assert_eq!(book.path(), None, "it has come to its end");
    assert_eq!(file.lines().len(), 1 + 2 * 10 + 1);
    let again = again(Earlier::read(&file.0).unwrap());
    assert_eq!(again.failure, measured.failure);
    // By the clock of the log.
    measured.comparison.set_started(1_000);
    assert_eq!(again.comparison, measured.comparison);
    let ended = Earlier::read(&file.0).unwrap().resume().unwrap_err();
    assert_eq!(ended.class, ExitClass::Usage);
    assert!(
        ended.text.contains("nothing to go on with"),
        "{}",
        ended.text
    );
}

#[test]
fn what_was_killed_is_told_as_far_as_it_came_and_goes_on_where_it_stopped() {
    let file = LogFile::new("killed");
    let experiment = two_cells();
    let (whole, _) = play_with(&experiment, &mut eventful(), &mut file.begin(&experiment));
    // Three rounds of both cells and the fourth of one.
    file.cut(7);
    let earlier = Earlier::read(&file.0).unwrap();
    assert!(
        earlier.remark().unwrap().contains("line 9"),
        "{:?}",
        earlier.remark()
    );
    assert_eq!(earlier.rounds(), 7);
    let so_far = again(earlier).comparison;
    assert_eq!(so_far.status, Status::Interrupted);
    let rounds: Vec<usize> = so_far.cells.iter().map(|cell| cell.rounds.len()).collect();
    assert_eq!(
        (rounds.iter().sum::<usize>(), rounds.iter().max()),
        (7, Some(&4))
    );
    assert!(
        so_far
            .cells
            .iter()
            .all(|cell| cell.stopped == StopReason::Interrupted)
    );

    let (experiment, mut book) = Earlier::read(&file.0).unwrap().resume().unwrap();
    let mut stage = Playhouse {
        found: eventful().found,
        ..Playhouse::default()
    };
    // It had failed twice before, once in each cell, and will go on to fail.
    stage.failing.insert("uring", (0, ExitClass::Peer));
    let (resumed, log) = play_with(&experiment, &mut stage, &mut book);
    assert_eq!(
        log.started[0].0, 3,
        "the rounds that are there are not measured again"
    );
    assert_eq!(resumed.comparison.status, Status::Ok);
    let orders = |outcome: &Outcome| -> Vec<Vec<Vec<u32>>> {
        let of_cell = |cell: &Cell| {
            cell.rounds
                .iter()
                .map(|round| round.order.clone())
                .collect()
        };
        outcome.comparison.cells.iter().map(of_cell).collect()
    };
    assert_eq!(orders(&resumed), orders(&whole), "the same seed and plan");
    let rates = |outcome: &Outcome| -> Vec<Option<f64>> {
        let rounds = outcome
            .comparison
            .cells
            .iter()
            .flat_map(|cell| &cell.rounds);
        let runs = rounds
            .flat_map(|round| &round.runs)
            .filter(|run| run.arm < 3);
        runs.map(|run| run.value(Metric::Rate)).collect()
    };
    assert_eq!(rates(&resumed), rates(&whole));
    let latencies = |outcome: &Outcome| outcome.comparison.cells[0].arms[0].latency.clone();
    assert_eq!(
        latencies(&resumed),
        latencies(&whole),
        "histograms are added over both sessions"
    );
    let said: Vec<&str> = resumed
        .comparison
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect();
    assert_eq!(
        said.iter().filter(|code| **code == "resumed").count(),
        1,
        "{said:?}"
    );
    // The log is whole now, and tells the same.
    let mut again = again(Earlier::read(&file.0).unwrap()).comparison;
    again.command.clone_from(&resumed.comparison.command);
    assert_eq!(again, resumed.comparison);
}

#[test]
fn a_budget_counts_over_sessions_and_is_told_again() {
    let file = LogFile::new("budget");
    let experiment = experiment(|request| request.budget_ns = Some(50_000_000_000));
    let (whole, _) = play_with(
        &experiment,
        &mut Playhouse::default(),
        &mut file.begin(&experiment),
    );
    let ended = |comparison: &Comparison| {
        let cell = &comparison.cells[0];
        (cell.stopped, cell.rounds.len())
    };
    assert_eq!(ended(&whole.comparison), (StopReason::Budget, 8));
    let told = again(Earlier::read(&file.0).unwrap()).comparison;
    assert_eq!(
        (ended(&told), told.status),
        ((StopReason::Budget, 8), Status::Ok)
    );
    file.cut(4);
    let (experiment, mut book) = Earlier::read(&file.0).unwrap().resume().unwrap();
    let (resumed, _) = play_with(&experiment, &mut Playhouse::default(), &mut book);
    assert_eq!(ended(&resumed.comparison), (StopReason::Budget, 8));
}

#[test]
fn an_interrupt_leaves_a_log_to_go_on_with() {
    let file = LogFile::new("interrupt");
    let experiment = experiment(|_| {});
    let mut stage = Playhouse {
        interrupt: Some((3 * 4 + 2, Cancel::new())),
        ..Playhouse::default()
    };
    let mut book = file.begin(&experiment);
    play_with(&experiment, &mut stage, &mut book);
    assert_eq!(book.path(), Some(file.0.as_path()));
    // While it is held, nobody goes on with it.
    let held = Earlier::read(&file.0).unwrap().resume().unwrap_err();
    assert!(held.text.contains("by another linerate"), "{}", held.text);
    drop(book);
    let (experiment, mut book) = Earlier::read(&file.0).unwrap().resume().unwrap();
    let (resumed, log) = play_with(&experiment, &mut Playhouse::default(), &mut book);
    assert_eq!(
        log.started.len(),
        9 * 3,
        "the round that was broken off is made anew"
    );
    assert_eq!(counted(&resumed.comparison.cells[0]), 12);
}

#[test]
fn settings_that_changed_between_sessions_are_found() {
    let file = LogFile::new("settings");
    let experiment = experiment(|_| {});
    play_with(
        &experiment,
        &mut Playhouse::default(),
        &mut file.begin(&experiment),
    );
    file.cut(6);
    let (experiment, mut book) = Earlier::read(&file.0).unwrap().resume().unwrap();
    let mut stage = Playhouse {
        changes: Some(0),
        ..Playhouse::default()
    };
    let (resumed, _) = play_with(&experiment, &mut stage, &mut book);
    let runs = resumed.comparison.cells[0]
        .rounds
        .iter()
        .flat_map(|round| &round.runs);
    assert_eq!(runs.filter(|run| !run.invalid.is_empty()).count(), 7 * 3);
}

#[test]
fn a_log_that_does_not_fit_is_refused() {
    let file = LogFile::new("unfit");
    let experiment = experiment(|_| {});
    play_with(
        &experiment,
        &mut Playhouse::default(),
        &mut file.begin(&experiment),
    );
    file.cut(6);
    let lines = file.lines();
    let write = |lines: &[String]| std::fs::write(&file.0, lines.join("\n") + "\n").unwrap();
    let refused = || Earlier::read(&file.0).unwrap().resume().unwrap_err().text;

    // A round is missing.
    write(&[&lines[..2], &lines[3..6]].concat());
    let failure = again(Earlier::read(&file.0).unwrap()).failure.unwrap();
    assert_eq!(failure.class, ExitClass::Usage);
    assert!(
        failure.text.contains("does not fit its own plan"),
        "{}",
        failure.text
    );

    let version = format!("\"linerate_version\":\"{}\"", crate::build_info::VERSION);
    let other = lines[0].replace(&version, "\"linerate_version\":\"0.0.1\"");
    write(&[&[other], &lines[1..6]].concat());
    assert!(refused().contains("another build"), "{}", refused());
    assert!(again(Earlier::read(&file.0).unwrap()).failure.is_none());

    let of_run = lines[0].replace("\"kind\":\"compare\"", "\"kind\":\"run\"");
    write(&[of_run]);
    let error = Earlier::read(&file.0).unwrap_err().text;
    assert!(error.contains("of run and of no comparison"), "{error}");
}

#[test]
fn a_log_that_takes_no_more_is_said_and_measured_without() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let experiment = experiment(|_| {});
    let file = LogFile::new("full");
    let mut book = file.begin(&experiment);
    book.write_to(
        std::fs::File::options()
            .append(true)
            .open("/dev/full")
            .unwrap(),
    );
    let (outcome, _) = play_with(&experiment, &mut Playhouse::default(), &mut book);
    assert_eq!(outcome.comparison.status, Status::Ok);
    let said: Vec<&Message> = outcome
        .comparison
        .warnings
        .iter()
        .filter(|warning| warning.code == "trial_log")
        .collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].text.contains("No space left"), "{}", said[0].text);
}
