//! `linerate doctor`: whether this machine is fit to measure.

use std::io::IsTerminal;
use std::time::Duration;

use report::findings::Level;
use report::text::checkup;
use runner::doctor::examine;
use runner::error::ExitClass;

use crate::args::doctor::{DoctorArgs, DoctorFormat};
use crate::output::Destination;
use crate::problem::Problem;
use crate::style;

/// Examines and shows.
///
/// # Errors
/// When stdout cannot be written.
pub fn doctor(args: &DoctorArgs) -> Result<ExitClass, Problem> {
    let checkup = examine(args.target, Duration::from_nanos(args.watch));
    let text = match args.format {
        DoctorFormat::Text => {
            checkup::render(&checkup, &style::of(std::io::stdout().is_terminal()))
        }
        DoctorFormat::Json => report::json::render(&checkup).map_err(|error| {
            Problem::usage(format!("cannot write the findings as JSON: {error}"))
        })?,
    };
    Destination::Stdout.write(&text)?;
    Ok(match checkup.verdict {
        Level::Problem => ExitClass::CheckFailed,
        _ => ExitClass::Done,
    })
}
