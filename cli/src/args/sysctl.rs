//! `linerate sysctl`: profiles without a measurement.

use clap::{Args, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  linerate sysctl list                                what is bundled, and what each is for
  linerate sysctl diff many-connections               what it would change here; changes nothing
  linerate run crr --profile many-connections         applied for a run, put back after it
  sudo linerate sysctl apply many-connections         held until it is put back
  sudo linerate sysctl restore
  linerate sysctl status                              who has changed what

Exit codes:
  0 done     1 verify: a value differs; restore: a value was left alone     2 wrong usage, or a key that is
  not known     3 this machine cannot: not root, read-only, missing, or another profile is in force";

/// Arguments of `sysctl`.
#[derive(Debug, Args)]
#[command(
    about = "Show profiles of sysctls and limits, compare them with this machine, apply them and put back",
    long_about = "Show profiles of sysctls and limits, compare them with this machine, apply them and put back.\n\n\
        Before the first value is written, a journal with every old value is on disk, so that whatever ends linerate, \
        the values come back: at once, or with the next command. A value that somebody else has written meanwhile is \
        left as it is, and reported.",
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct SysctlArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// The bundled profiles, and what each is for
    #[command(after_help = "\
Examples:
  linerate sysctl list
  linerate sysctl list --format json")]
    List(FormatArgs),

    /// A profile: every setting with its reason and source
    #[command(after_help = "\
Examples:
  linerate sysctl show 10gbe
  linerate sysctl show ./mine.toml")]
    Show(NamedArgs),

    /// What a profile would change here; changes nothing
    #[command(after_help = "\
Examples:
  linerate sysctl diff wsdemo-2012           says LOWERS where it would take something away
  linerate sysctl diff ./mine.toml --format json

Exit codes:
  0 it can be applied     2 no such profile, or a key that is not known     3 it cannot be applied here")]
    Diff(NamedArgs),

    /// Apply a profile and hold it until `linerate sysctl restore`
    #[command(after_help = "\
Examples:
  sudo linerate sysctl apply many-connections
  linerate sysctl apply many-connections --dry-run     the same as diff

Exit codes:
  0 applied     2 no such profile, or a key that is not known     3 it cannot be applied here; nothing was
  changed")]
    Apply(ApplyArgs),

    /// Whether this machine has the values of a profile now
    #[command(after_help = "\
Examples:
  linerate sysctl verify many-connections

Exit codes:
  0 every value is as the profile wants it     1 at least one is not     2 no such profile")]
    Verify(NamedArgs),

    /// Put back what `sysctl apply` and killed runs have changed
    #[command(after_help = "\
Examples:
  sudo linerate sysctl restore
  sudo linerate sysctl restore --force     its run was in a container that is gone

Exit codes:
  0 everything is as it was     1 a value was left alone, because somebody else has written it since
  3 this user may not, or its run goes on")]
    Restore(RestoreArgs),

    /// Which profiles are in force, who applied them, and what was left behind
    #[command(after_help = "\
Examples:
  linerate sysctl status
  linerate sysctl status --format json")]
    Status(FormatArgs),
}

/// In which form it is shown.
#[derive(Debug, Clone, Copy, Args)]
pub struct FormatArgs {
    /// text for people, json for programs
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: SysctlFormat,
}

/// What is put back, and how.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// Also what somebody else has written since, and although the run it was applied for may go on
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Which profile.
#[derive(Debug, Clone, Args)]
pub struct NamedArgs {
    /// A bundled profile, or the path of a file
    #[arg(value_name = "NAME|FILE")]
    pub name: String,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What to apply.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub named: NamedArgs,

    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Let the profile make values smaller; without it such a profile is refused, with the values
    #[arg(long)]
    pub allow_lower: bool,

    /// Do without the settings that are read-only here, as some are in containers; each is named. Without
    /// it such a profile is refused
    #[arg(long)]
    pub skip_read_only: bool,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SysctlFormat {
    // For people
    Text,
    // For programs
    Json,
}
