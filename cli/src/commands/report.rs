//! `linerate report`: saved documents are read and rendered again.

use std::fs;
use std::io::{IsTerminal, Read};
use std::path::Path;

use report::Labelled;
use report::saved::{Saved, View};
use runner::error::ExitClass;

use crate::args::report::ReportArgs;
use crate::output::Destination;
use crate::problem::Problem;
use crate::render::{holds_one, render};
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
    let (name, text) = if path.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        ("stdin".to_owned(), read.map(|_| text))
    } else {
        (path.display().to_string(), fs::read_to_string(path))
    };
    let text = text.map_err(|error| {
        Problem::usage(format!("cannot read {name}: {error}"))
            .with_cure("name a file that `linerate run --format json --output FILE` wrote")
    })?;
    let document = report::saved::load(&text)
        .map_err(|error| Problem::usage(format!("cannot read {name}: {error}")))?;
    Ok(Labelled::new(name, document))
}
