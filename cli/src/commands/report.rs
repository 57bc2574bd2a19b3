//! `linerate report`: saved documents are read and rendered again.

use std::io::IsTerminal;
use std::path::Path;

use report::Labelled;
use report::document::LoadError;
use report::saved::{Saved, View};
use runner::conduct;
use runner::error::ExitClass;
use runner::trials::{self, Kind};

use crate::args::report::ReportArgs;
use crate::comparison_outlet;
use crate::output::Destination;
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
    if holds_one(args.format) && args.files.len() > 1 {
        return Err(
            Problem::usage("this form holds one result, and several files were named")
                .with_cure("name one FILE, or take --format html, markdown, text, json or prom"),
        );
    }
    let documents: Vec<Labelled<Saved>> = args
        .files
        .iter()
        .map(|path| load(path))
        .collect::<Result<_, _>>()?;
    let destination = Destination::open(args.output.as_deref())?;
    let terminal = matches!(destination, Destination::Stdout) && std::io::stdout().is_terminal();
    let shown: Vec<Labelled<View>> = documents
        .iter()
        .map(|document| Labelled::new(document.label.clone(), document.value.view()))
        .collect();
    destination.write(&render(args.format, &shown, &style::of(terminal))?)?;
    Ok(ExitClass::Done)
}

fn load(path: &Path) -> Result<Labelled<Saved>, Problem> {
    if path.as_os_str() != "-"
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
