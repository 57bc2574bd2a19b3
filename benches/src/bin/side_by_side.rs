//! Runs linerate and a peer in turn and prints what the difference is, if there is one.

#[cfg(unix)]
fn main() {
    std::process::exit(unix::main());
}

#[cfg(not(unix))]
fn main() {
    eprintln!("side-by-side needs Unix");
    std::process::exit(3);
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use linerate_benches::compare::{Row, markdown};
    use linerate_benches::contender::without_directories;
    use linerate_benches::experiments::{Experiment, Method, all};
    use linerate_benches::machine;

    const USAGE: &str = "\
Runs linerate and a peer in turn (A B A B ...) and prints ratios with their spread, in Markdown.

usage: side-by-side [options]

  --only TEXT       only experiments whose name contains TEXT; may be repeated
  --list            print the names of the experiments and stop
  --pairs N         pairs per experiment; default 5
  --seconds S       length of each measured window in whole seconds; default 3
  --cpus A,B        server or testee on A, client or load on B; same-core runs use A; default 0,1
  --linerate PATH   the binary to measure; default: beside this program
  --output FILE     write the Markdown there instead of to standard output

Exit code 1 if an experiment failed to run. A missed target is a result, not a failure.

  side-by-side --only floor/uring --only rr/sockperf --pairs 7 --output results.md";

    struct Options {
        only: Vec<String>,
        list: bool,
        cpus: (usize, usize),
        output: Option<PathBuf>,
        method: Method,
    }

    pub fn main() -> i32 {
        let options = match parse(std::env::args().skip(1)) {
            Ok(Some(options)) => options,
            Ok(None) => {
                println!("{USAGE}");
                return 0;
            }
            Err(message) => {
                eprintln!("{message}\n\n{USAGE}");
                return 2;
            }
        };
        let chosen = chosen(&options);
        if options.list {
            chosen.iter().for_each(|one| println!("{}", one.name));
            return 0;
        }
        if chosen.is_empty() {
            eprintln!("no experiment matches --only; --list prints their names");
            return 2;
        }
        match run(&options, &chosen) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(message) => {
                eprintln!("{message}");
                1
            }
        }
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let own = std::env::current_exe().map_err(|error| format!("who am I: {error}"))?;
        let floors = own.parent().map(PathBuf::from).unwrap_or_default();
        let mut options = Options {
            only: Vec::new(),
            list: false,
            cpus: (0, 1),
            output: None,
            method: Method {
                pairs: 5,
                seconds: 3,
                linerate: floors.join("linerate"),
                floors,
            },
        };
        while let Some(name) = words.next() {
            match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--list" => {
                    options.list = true;
                    continue;
                }
                _ => {}
            }
            let value = words.next().ok_or(format!("{name} needs a value"))?;
            let whole = || match value.parse::<usize>() {
                Ok(number) if (1..=3600).contains(&number) => Ok(number),
                _ => Err(format!("{name} {value}: a whole number from 1 is needed")),
            };
            match name.as_str() {
                "--only" => options.only.push(value),
                "--pairs" => options.method.pairs = whole()?,
                "--seconds" => options.method.seconds = whole()? as u64,
                "--cpus" => options.cpus = two_cpus(&value)?,
                "--linerate" => options.method.linerate = value.into(),
                "--output" => options.output = Some(value.into()),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(Some(options))
    }

    fn two_cpus(value: &str) -> Result<(usize, usize), String> {
        let (a, b) = value.split_once(',').unwrap_or(("", ""));
        match (a.parse(), b.parse()) {
            (Ok(a), Ok(b)) if a != b => Ok((a, b)),
            _ => Err(format!(
                "--cpus {value}: two different CPU numbers A,B are needed"
            )),
        }
    }

    fn chosen(options: &Options) -> Vec<Experiment> {
        let wanted = |name: &str| {
            options.only.is_empty() || options.only.iter().any(|text| name.contains(text))
        };
        let mut list = all(options.cpus.0, options.cpus.1);
        list.retain(|experiment| wanted(&experiment.name));
        list
    }

    /// Writes what there is after every experiment, so that an interrupted run is not lost.
    fn run(options: &Options, chosen: &[Experiment]) -> Result<bool, String> {
        let method = &options.method;
        let mut rows: Vec<Row> = Vec::new();
        let head = heading(options);
        if machine::load_average().is_some_and(|load| load > 0.5) {
            eprintln!("warning: this machine is busy with something else: wait, or do not publish");
        }
        write(options, &head, &rows)?;
        for (index, experiment) in chosen.iter().enumerate() {
            let title = format!("[{}/{}] {}", index + 1, chosen.len(), experiment.name);
            let row = experiment.run(method, |pair, a, b| {
                eprintln!(
                    "{title}: pair {pair}/{}: A {a:.0} B {b:.0} {}, A/B {:.3}",
                    method.pairs,
                    experiment.unit,
                    a / b
                );
            });
            if let Err(reason) = &row.outcome {
                eprintln!("{title}: FAILED: {reason}");
            }
            rows.push(row);
            write(options, &head, &rows)?;
        }
        if options.output.is_none() {
            print!("{head}{}", markdown(&rows));
        }
        Ok(rows.iter().all(|row| row.outcome.is_ok()))
    }

    fn write(options: &Options, head: &str, rows: &[Row]) -> Result<(), String> {
        let Some(path) = &options.output else {
            return Ok(());
        };
        let text = format!("{head}{}", markdown(rows));
        fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    fn heading(options: &Options) -> String {
        let Method {
            pairs,
            seconds,
            linerate,
            ..
        } = &options.method;
        let command: Vec<String> = std::env::args().collect();
        format!(
            "# Side by side\n\n\
             Machine: {}. Load average at the start: {}.\n\
             Versions: {}.\n\
             Command: `{}`\n\n\
             {pairs} pairs per experiment, run A B A B in turn, {seconds} s measured in each run \
             after 1 s of warm-up. The clients of the floors read the clock twice per operation, as \
             linerate does. Both sides of a pair run on the same CPUs: `cross-core` has the \
             server on CPU {} and the client on CPU {}, `same-core` has both on CPU {}. The ratio is \
             taken per pair; its median and its smallest and largest value are shown. A spread that \
             includes 1 shows no difference (of two equal programs, five pairs still call one faster or \
             slower in 6 % of the comparisons: the `control` rows set a floor beside itself). Rates are payload, and transactions are there and \
             back.\n\n",
            machine::line(),
            machine::load_average().map_or("unknown".to_owned(), |load| load.to_string()),
            versions(linerate),
            without_directories(&command.join(" ")),
            options.cpus.0,
            options.cpus.1,
            options.cpus.0,
        )
    }

    /// The first line each program says of itself.
    fn versions(linerate: &std::path::Path) -> String {
        let linerate = linerate.display().to_string();
        let programs = [
            (linerate.as_str(), "--version"),
            ("iperf3", "--version"),
            ("sockperf", "--version"),
            ("qperf", "--version"),
        ];
        let first_line = |(program, flag): &(&str, &str)| {
            let output = Command::new(program).arg(flag).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().find(|line| !line.trim().is_empty())?;
            Some(line.trim().to_owned())
        };
        let found: Vec<String> = programs.iter().filter_map(first_line).collect();
        found.join("; ")
    }
}
