//! `linerate report`: saved documents are read and rendered again.

use std::io::IsTerminal;
use std::path::Path;

use report::Labelled;
use report::document::{Document, LoadError};
use report::merge;
use report::saved::{Saved, View};
use runner::conduct;
use runner::error::ExitClass;
use runner::trials::{self, Kind};

use crate::args::report::ReportArgs;
use crate::args::run_groups::Format;
use crate::comparison_outlet;
use crate::output::{Destination, apart, note_form};
use crate::problem::Problem;
use crate::progress::say;
use crate::render::{holds_one, render};
use crate::saved_file;
use crate::style;

/// Renders.
///
/// # Errors
/// A file that cannot be read, or is no document of ours, or a place that cannot be written.
pub fn report(args: &ReportArgs) -> Result<ExitClass, Problem> {
    let format = Format::choose(args.format, args.output.as_deref());
    if holds_one(format) && args.files.len() > 1 && !args.merge {
        return Err(
            Problem::usage("this form holds one result, and several files were named")
                .with_cure("name one FILE, or take --format html, markdown, text, json or prom"),
        );
    }
    let page = match args.html.as_deref() {
        Some(path) if path.as_os_str() == "-" => {
            return Err(
                Problem::usage("--html - would mix the page with the result")
                    .with_cure("for the page alone on stdout: --format html"),
            );
        }
        path => path,
    };
    let inputs: Vec<_> = args
        .files
        .iter()
        .map(|path| ("read", path.as_path()))
        .collect();
    apart(
        &[("--output", args.output.as_deref()), ("--html", page)],
        &inputs,
    )?;
    let mut documents: Vec<Labelled<Saved>> = args
        .files
        .iter()
        .map(|path| load(path))
        .collect::<Result<_, _>>()?;
    report::distinguish(&mut documents);
    if args.merge {
        documents = vec![merged(&documents)?];
    }
    note_form(format, args.output.as_deref(), false);
    let destination = Destination::open(args.output.as_deref())?;
    let page = page.map(|path| Destination::open(Some(path))).transpose()?;
    let terminal = matches!(destination, Destination::Stdout) && std::io::stdout().is_terminal();
    let shown: Vec<Labelled<View>> = documents
        .iter()
        .map(|document| Labelled::new(document.label.clone(), document.value.view()))
        .collect();
    if let Some(page) = page {
        page.write(&render(Format::Html, &shown, &style::of(false))?)?;
    }
    match (format, &shown[..]) {
        // One row per interval of a day would not fit into memory as a text.
        (
            Format::Csv,
            [
                Labelled {
                    value: View::Run(document),
                    ..
                },
            ],
        ) => {
            destination.write_by(|out| report::csv::write(document, out))?;
        }
        _ => destination.write(&render(format, &shown, &style::of(terminal))?)?,
    }
    Ok(ExitClass::Done)
}

/// Results of runs that were made apart, as one.
fn merged(documents: &[Labelled<Saved>]) -> Result<Labelled<Saved>, Problem> {
    let labels = short_labels(documents);
    let parts: Vec<Labelled<&Document>> = documents
        .iter()
        .zip(&labels)
        .map(|(document, label)| match &document.value {
            Saved::Run(run) => Ok(Labelled::new(label.clone(), &**run)),
            Saved::Comparison(_) => Err(Problem::usage(format!(
                "--merge: {} is a comparison, and results of `run` are merged",
                document.label
            ))),
        })
        .collect::<Result<_, _>>()?;
    let mut merged = merge::apart::results(&parts).map_err(|obstacles| {
        Problem::usage(format!(
            "these results do not become one: {}",
            obstacles.join("; ")
        ))
    })?;
    merged.command = comparison_outlet::command();
    Ok(Labelled::new(
        labels.join(" + "),
        Saved::Run(Box::new(merged)),
    ))
}

/// The names of files without directories and endings, if they tell them apart.
fn short_labels(documents: &[Labelled<Saved>]) -> Vec<String> {
    let labels = || documents.iter().map(|document| document.label.as_str());
    let stem = |label| Path::new(label).file_stem().unwrap_or_default();
    let short: Vec<_> = labels().map(stem).collect();
    let differ = (1..short.len()).all(|index| !short[..index].contains(&short[index]));
    match differ {
        true => short
            .iter()
            .map(|stem| stem.to_string_lossy().into_owned())
            .collect(),
        false => labels().map(str::to_owned).collect(),
    }
}

fn load(path: &Path) -> Result<Labelled<Saved>, Problem> {
    // What is no regular file is not even opened.
    if path.as_os_str() != "-"
        && path.is_file()
        && let Ok(header) = trials::header_of(path)
    {
        return Ok(Labelled::new(
            path.display().to_string(),
            logged(path, header.kind)?,
        ));
    }
    let (name, document) = match path.as_os_str() == "-" {
        true => ("stdin".to_owned(), saved_file::load_stdin()),
        false => (path.display().to_string(), saved_file::load(path)),
    };
    let document = document.map_err(|error| {
        let problem = Problem::usage(format!("cannot read {name}: {error}"));
        match error {
            LoadError::Unreadable(_) => problem.with_cure(
                "name a file that `linerate run --format json --output FILE` wrote; - reads stdin",
            ),
            _ => problem,
        }
    })?;
    Ok(Labelled::new(name, document))
}

/// What a trial log holds, as far as it goes.
fn logged(path: &Path, kind: Kind) -> Result<Saved, Problem> {
    match kind {
        Kind::Compare => {
            let mut comparison = comparison_outlet::logged(path)?;
            report::comparison::analyse_all(&mut comparison);
            Ok(Saved::Comparison(Box::new(comparison)))
        }
        Kind::Run => {
            let logged = conduct::logged(path)?;
            if let Some(remark) = logged.remark {
                say(&remark);
            }
            Ok(Saved::Run(Box::new(logged.document)))
        }
    }
}
