//! The TOML file of `compare --plan`: options of `run` by their long names, and an `[[arm]]` for each thing to
//! compare, with the options that differ. A list of workloads or of connections is a list of questions.

use std::path::Path;

use sysctl_profiles::given;
use toml::{Table, Value};

use crate::arms::{RunLine, unique};
use crate::problem::Problem;
use crate::usage::sentence;

const CURE: &str = "`linerate compare --help` shows an example";
const NAME: &str = "name";
const CONNECTIONS: &str = "connections";
const WORKLOAD: &str = "workload";

/// What a plan file asks for.
#[derive(Debug)]
pub struct PlanFile {
    /// For each workload the arms with their names, the baseline first.
    pub arms: Vec<Vec<(String, RunLine)>>,
    /// Numbers of connections, each a cell; empty if the arms say it.
    pub connections: Vec<u32>,
}

/// Reads a plan file.
///
/// # Errors
/// When it cannot be read or is no such file; which key is wrong, and which is meant.
pub fn read(path: &Path) -> Result<PlanFile, Problem> {
    let text = given::read(path, given::TEXT_LIMIT_BYTES).map_err(|error| {
        Problem::usage(format!("cannot read {}: {error}", path.display())).with_cure(CURE)
    })?;
    parse(&text).map_err(|why| {
        Problem::usage(format!("plan file {}: {why}", path.display())).with_cure(CURE)
    })
}

fn parse(text: &str) -> Result<PlanFile, String> {
    let mut common: Table =
        toml::from_str(text).map_err(|error| given::toml_error(text, &error))?;
    let arms = match common.remove("arm") {
        None => return Err("there is no [[arm]]; write one for each thing to compare".to_owned()),
        Some(Value::Array(arms)) => arms,
        Some(_) => return Err("an arm is written [[arm]], with two brackets".to_owned()),
    };
    let connections = cells(&mut common)?;
    let tables: Option<Vec<Table>> = arms.into_iter().map(table).collect();
    let arms = tables.ok_or("arm is a list of tables; write [[arm]] for each")?;
    let of_workload = |common: Table| lines(&common, &arms, !connections.is_empty());
    Ok(PlanFile {
        arms: by_workload(common, &arms)?
            .into_iter()
            .map(of_workload)
            .collect::<Result<_, _>>()?,
        connections,
    })
}

fn table(value: Value) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

/// The common keys once for each workload, if there is a list of them.
fn by_workload(mut common: Table, arms: &[Table]) -> Result<Vec<Table>, String> {
    let workloads = match common.remove(WORKLOAD) {
        Some(Value::Array(workloads)) => workloads,
        one => {
            common.extend(one.map(|workload| (WORKLOAD.to_owned(), workload)));
            return Ok(vec![common]);
        }
    };
    if workloads.is_empty() {
        return Err(format!("{WORKLOAD} is an empty list"));
    }
    if arms.iter().any(|arm| arm.contains_key(WORKLOAD)) {
        return Err(format!(
            "an arm has a {WORKLOAD}, and there is a list of them above the arms, where each is a cell"
        ));
    }
    for (index, workload) in workloads.iter().enumerate() {
        if workloads[..index].contains(workload) {
            return Err(format!("{WORKLOAD} lists {workload} twice"));
        }
    }
    let with = |workload: Value| {
        let mut common = common.clone();
        common.insert(WORKLOAD.to_owned(), workload);
        common
    };
    Ok(workloads.into_iter().map(with).collect())
}

/// The arms of one workload.
fn lines(common: &Table, arms: &[Table], cells: bool) -> Result<Vec<(String, RunLine)>, String> {
    let lines: Vec<(String, RunLine)> = arms
        .iter()
        .map(|arm| line(common, arm.clone(), cells))
        .collect::<Result<_, _>>()?;
    let names: Vec<String> = lines.iter().map(|(name, _)| name.clone()).collect();
    let lines = lines.into_iter().map(|(_, line)| line);
    Ok(unique(&names).into_iter().zip(lines).collect())
}

/// Takes `connections` out of the common keys.
fn cells(common: &mut Table) -> Result<Vec<u32>, String> {
    let wrong = || format!("{CONNECTIONS} is a number, or a list such as [1, 16, 256]");
    let number = |value: &Value| {
        let text = text_of(value).ok_or_else(wrong)?;
        crate::args::count_u32(&text)
    };
    match common.remove(CONNECTIONS) {
        None => Ok(Vec::new()),
        Some(Value::Array(numbers)) => numbers.iter().map(number).collect(),
        Some(value) => Ok(vec![number(&value)?]),
    }
}

/// One arm: what is common, and what it says itself.
fn line(common: &Table, mut own: Table, cells: bool) -> Result<(String, RunLine), String> {
    let name = match own.remove(NAME) {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => return Err(format!("the name of an arm is a text, and not {other}")),
    };
    let name = name.unwrap_or_else(|| named_by(&own));
    let of_arm = |why: String| format!("arm '{name}': {why}");
    if cells && own.contains_key(CONNECTIONS) {
        return Err(of_arm(format!(
            "{CONNECTIONS} stands above the arms already, where each number is a cell"
        )));
    }
    let mut keys = common.clone();
    keys.extend(own);
    let workload = workload(keys.remove(WORKLOAD))?;
    let mut line = RunLine::of(workload);
    for (key, value) in keys {
        set(&mut line, &key, &value).map_err(of_arm)?;
    }
    // Whether the options exist is found here, where the arm can be named.
    line.request()
        .map_err(|error| of_arm(sentence(&error, &["run", workload.name()])))?;
    Ok((name, line))
}

/// What makes an arm different: `engine=epoll, size=64K`.
fn named_by(own: &Table) -> String {
    let parts: Vec<String> = own
        .iter()
        .map(|(key, value)| {
            format!(
                "{key}={}",
                text_of(value).unwrap_or_else(|| value.to_string())
            )
        })
        .collect();
    if parts.is_empty() {
        "as common".to_owned()
    } else {
        parts.join(", ")
    }
}

fn workload(value: Option<Value>) -> Result<report::document::Workload, String> {
    let all = report::document::Workload::ALL;
    let names = all.map(|workload| workload.name()).join(", ");
    let Some(value) = value else {
        return Err(format!(
            "workload is missing; write for example workload = \"rr\" (there are {names})"
        ));
    };
    let named = all
        .into_iter()
        .find(|workload| value.as_str() == Some(workload.name()));
    named.ok_or_else(|| format!("workload = {value}: there are {names}"))
}

fn set(line: &mut RunLine, key: &str, value: &Value) -> Result<(), String> {
    match (key, value) {
        ("repeat", _) => return Err("repeat is for run; a comparison has --rounds".to_owned()),
        ("target", Value::String(target)) => line.set_target(target),
        (_, Value::Boolean(on)) => line.switch(key, *on),
        (_, Value::Array(values)) => {
            let texts: Option<Vec<String>> = values.iter().map(text_of).collect();
            let texts =
                texts.ok_or_else(|| format!("{key} = {value}: a list holds numbers or texts"))?;
            line.set_list(key, &texts);
        }
        _ => {
            let text = text_of(value)
                .ok_or_else(|| format!("{key} = {value}: write a number or a text"))?;
            line.set(key, Some(&text));
        }
    }
    Ok(())
}

/// The value as the command line takes it.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Vec<(String, String)> {
        let file = parse(text).unwrap();
        let arms = file.arms.into_iter().flatten();
        arms.map(|(name, line)| (name, line.command())).collect()
    }

    #[test]
    fn what_each_host_has_is_a_list_and_given_again_for_each() {
        let text = r#"
            workload = "rr"
            connections = 4
            target = "tcp://10.0.0.9:9"
            load-via = ["ssh a", "ssh b"]

            [[arm]]

            [[arm]]
            load-via = "ssh c"
        "#;
        let both = commands(text).remove(0).1;
        assert!(
            both.contains("--load-via 'ssh a' --load-via 'ssh b'"),
            "{both}"
        );
        let file = parse(text).unwrap();
        let asked = |arm: usize| file.arms[0][arm].1.request().unwrap().common.load_via;
        assert_eq!(
            (asked(0), asked(1)),
            (
                vec!["ssh a".to_owned(), "ssh b".to_owned()],
                vec!["ssh c".to_owned()]
            )
        );
    }

    #[test]
    fn arms_are_the_common_options_and_their_own() {
        let text = r#"
            workload = "stream"
            duration = "3s"
            nodelay = true
            source = ["127.0.0.1", "127.0.0.2"]

            [[arm]]
            name = "zero copy"
            engine = "uring:send=zc"

            [[arm]]
            size = "64K"
            nodelay = false
            duration = "5s"

            [[arm]]
        "#;
        let expected = [
            (
                "zero copy",
                "--duration 3s --nodelay --source 127.0.0.1,127.0.0.2 --engine uring:send=zc",
            ),
            (
                "duration=5s, nodelay=false, size=64K",
                "--duration 5s --no-nodelay --size 64K --source 127.0.0.1,127.0.0.2",
            ),
            (
                "as common",
                "--duration 3s --nodelay --source 127.0.0.1,127.0.0.2",
            ),
        ];
        let sorted = |command: &str| {
            let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        };
        let found = commands(text);
        assert_eq!(found.len(), 3);
        for ((name, command), (expected_name, options)) in found.iter().zip(expected) {
            assert_eq!(
                sorted(command),
                sorted(&format!("linerate run stream {options}"))
            );
            let mut parts: Vec<_> = name.split(", ").collect();
            parts.sort_unstable();
            assert_eq!(parts.join(", "), expected_name);
        }
    }

    #[test]
    fn arms_may_differ_in_anything() {
        let text = "workload = 'rr'\n[[arm]]\ntarget = 'tcp://127.0.0.1:1'\n[[arm]]\nworkload = 'echo'\nsize = 1\n[[arm]]\nconnections = 5";
        let found: Vec<String> = commands(text)
            .into_iter()
            .map(|(_, command)| command)
            .collect();
        assert_eq!(
            found,
            [
                "linerate run rr tcp://127.0.0.1:1",
                "linerate run echo --size 1",
                "linerate run rr --connections 5"
            ]
        );
    }

    #[test]
    fn connections_above_the_arms_are_cells() {
        let file = parse("workload = 'rr'\nconnections = [1, '10k']\n[[arm]]\n[[arm]]\n").unwrap();
        assert_eq!(file.connections, [1, 10_000]);
        let names: Vec<_> = file.arms[0].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["as common", "as common (2)"]);
        let file = parse("workload = 'rr'\nconnections = 4\n[[arm]]\n").unwrap();
        assert_eq!(file.connections, [4]);
    }

    #[test]
    fn workloads_above_the_arms_are_cells() {
        let text = "workload = ['rr', 'stream']\nduration = '1s'\n[[arm]]\nengine = 'uring'\n[[arm]]\nengine = 'epoll'";
        let file = parse(text).unwrap();
        let names: Vec<_> = file.arms[1].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["engine=uring", "engine=epoll"]);
        let commands: Vec<String> = commands(text)
            .into_iter()
            .map(|(_, command)| command)
            .collect();
        assert_eq!(
            commands,
            [
                "linerate run rr --duration 1s --engine uring",
                "linerate run rr --duration 1s --engine epoll",
                "linerate run stream --duration 1s --engine uring",
                "linerate run stream --duration 1s --engine epoll",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_meant() {
        for (text, parts) in [
            ("workload = ", &["line 1"][..]),
            ("workload = 'rr'", &["there is no [[arm]]"]),
            ("workload = 'rr'\n[arm]\nsize = 1", &["two brackets"]),
            ("[[arm]]", &["workload is missing", "rr, echo, stream"]),
            (
                "workload = 'ping'\n[[arm]]",
                &["\"ping\"", "rr, echo, stream"],
            ),
            (
                "workload = 'rr'\n[[arm]]\nname = 'x'\nconections = 5",
                &["arm 'x'", "--conections", "--connections"],
            ),
            ("workload = 'rr'\n[[arm]]\nsize = '1K'", &["--size"]),
            (
                "workload = 'rr'\n[[arm]]\nrequest = '1KB'",
                &["1KB", "is not a size"],
            ),
            ("workload = 'rr'\n[[arm]]\nrequest = true", &["--request"]),
            (
                "workload = 'rr'\n[[arm]]\nfast-open = 'yes'",
                &["fast-open"],
            ),
            ("workload = 'rr'\n[[arm]]\noutput = 'x'", &["--output"]),
            ("workload = 'rr'\n[[arm]]\nrepeat = 3", &["--rounds"]),
            (
                "workload = 'rr'\nconnections = [1]\n[[arm]]\nconnections = 2",
                &["each number is a cell"],
            ),
            ("workload = 'rr'\nconnections = ['x']\n[[arm]]", &["x"]),
            ("workload = []\n[[arm]]", &["workload", "empty"]),
            ("workload = ['rr', 'rr']\n[[arm]]", &["lists \"rr\" twice"]),
            ("workload = ['rr', 'ping']\n[[arm]]", &["\"ping\""]),
            (
                "workload = ['rr', 'echo']\nsize = 1\n[[arm]]",
                &["arm", "--size"],
            ),
            (
                "workload = ['rr']\n[[arm]]\nworkload = 'echo'",
                &["each is a cell"],
            ),
            ("workload = 'rr'\n[[arm]]\nsndbuf = { a = 1 }", &["sndbuf"]),
        ] {
            let error = parse(text).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{text}: '{part}' is not in: {error}");
            }
        }
    }
}
