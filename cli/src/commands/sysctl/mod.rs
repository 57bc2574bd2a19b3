//! `linerate sysctl`: profiles shown, compared with this machine, applied, and put back.

mod bundled;
mod change;
mod compare;
mod lines;
mod status;

use report::foreign::shown_lines;
use runner::error::ExitClass;
use serde::Serialize;

use crate::args::sysctl::{Action, SysctlArgs, SysctlFormat};
use crate::output::Destination;
use crate::problem::Problem;

/// Does what is asked for.
///
/// # Errors
/// No such profile, or what the machine refuses.
pub fn sysctl(args: &SysctlArgs) -> Result<ExitClass, Problem> {
    match &args.action {
        Action::List(format) => bundled::list(format.format),
        Action::Show(named) => bundled::show(named),
        Action::Diff(named) => compare::diff(named, false),
        Action::Verify(named) => compare::verify(named),
        Action::Apply(apply) if apply.dry_run => compare::diff(&apply.named, apply.skip_read_only),
        Action::Apply(apply) => change::apply(apply),
        Action::Restore(restore) => change::restore(restore),
        Action::Status(format) => status::status(format.format),
    }
}

/// Writes one of the two forms on stdout.
fn answer(
    format: SysctlFormat,
    json: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Problem> {
    let text = match format {
        // Values, names and journals are of whoever wrote them.
        SysctlFormat::Text => shown_lines(&text()).into_owned(),
        SysctlFormat::Json => report::json::render(json)
            .map_err(|error| Problem::usage(format!("cannot write the answer as JSON: {error}")))?,
    };
    Destination::Stdout.write(&text)
}
