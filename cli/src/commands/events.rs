//! `linerate events`: an event record is read, as far as it can be.

use std::path::Path;

use report::event_record::{
    Form, OpenError, Recording, aggregates_json, aggregates_text, write_event, write_heading,
};
use runner::error::ExitClass;
use sysctl_profiles::given::GivenFile;

use crate::args::events::{CatArgs, CatFormat, EventsArgs, EventsCommand, StatsArgs, StatsFormat};
use crate::output::Destination;
use crate::problem::Problem;
use crate::progress::say;

/// Reads.
///
/// # Errors
/// A file that cannot be read or is no event record, and one of which not all can be read.
pub fn events(args: &EventsArgs) -> Result<ExitClass, Problem> {
    match &args.command {
        EventsCommand::Cat(args) => cat(args),
        EventsCommand::Stats(args) => stats(args),
    }
}

fn cat(args: &CatArgs) -> Result<ExitClass, Problem> {
    let mut recording = open(&args.file)?;
    let form = match args.format {
        CatFormat::Text => Form::Text,
        CatFormat::Ndjson => Form::Ndjson,
    };
    let header = *recording.header();
    Destination::open(None)?.write_by(|out| {
        write_heading(form, &header, out)?;
        recording.each_in_time(|placed| write_event(form, &header, placed, out))
    })?;
    conclude(&args.file, &recording)
}

fn stats(args: &StatsArgs) -> Result<ExitClass, Problem> {
    let mut recording = open(&args.file)?;
    let aggregates = recording
        .aggregates()
        .map_err(|error| cannot_read(&args.file, error))?;
    let text = match args.format {
        StatsFormat::Text => aggregates_text(recording.header(), &aggregates),
        StatsFormat::Json => {
            aggregates_json(&aggregates).map_err(|error| cannot_read(&args.file, error))?
        }
    };
    Destination::open(None)?.write(&text)?;
    conclude(&args.file, &recording)
}

fn open(path: &Path) -> Result<Recording<GivenFile>, Problem> {
    let file = GivenFile::open(path, u64::MAX).map_err(|error| {
        cannot_read(path, error)
            .with_cure("name a file that `linerate run --event-record FILE` wrote")
    })?;
    Recording::open(file).map_err(|error: OpenError| cannot_read(path, error))
}

fn cannot_read(path: &Path, why: impl std::fmt::Display) -> Problem {
    Problem::usage(format!("cannot read {}: {why}", path.display()))
}

/// Says what is not in what was shown.
fn conclude(path: &Path, recording: &Recording<GivenFile>) -> Result<ExitClass, Problem> {
    let name = path.display();
    let dropped = recording.dropped();
    if dropped > 0 {
        say(&format!(
            "{name} lacks {dropped} events, which came faster than they could be written"
        ));
    }
    let flaws = recording.flaws();
    for flaw in flaws.listed() {
        say(&format!("{name}: {flaw}"));
    }
    if flaws.more() > 0 {
        say(&format!("{name}: and {} more such places", flaws.more()));
    }
    if flaws.are_none() {
        return Ok(ExitClass::Done);
    }
    Err(Problem {
        class: ExitClass::CheckFailed,
        text: format!("{} bytes of {name} could not be read", flaws.bytes()),
        cure: Some("what could be is above".to_owned()),
    })
}
