//! `--profile` and its two sides. The profile is read with the arguments, so that what is none is found with them.

use clap::Args;
use runner::plan::CommonRequest;
use runner::profile::load;
use sysctl_profiles::Profile;

use super::fill::Fill;

/// Which settings are in force while it is measured.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Profile")]
pub struct ProfileArgs {
    /// Apply this profile of sysctls and limits before each round and put everything back after it: a
    /// bundled one (`linerate sysctl list`) or a file. Needs root. With a testee on this machine it is
    /// one application, with --testee-via one on each host
    #[arg(long, value_name = "NAME|FILE", value_parser = load)]
    pub profile: Option<Profile>,

    /// The same for the load's host only
    #[arg(long, value_name = "NAME|FILE", value_parser = load, conflicts_with = "profile")]
    pub profile_load: Option<Profile>,

    /// The same for the testee's host only
    #[arg(long, value_name = "NAME|FILE", value_parser = load, conflicts_with = "profile")]
    pub profile_testee: Option<Profile>,

    /// Let a profile make values smaller, as those of older kernels do; without it such a profile is
    /// refused, with the values
    #[arg(long)]
    pub allow_lower: bool,

    /// Do without the settings of a profile that are read-only here, as some are in containers; the
    /// result names each. Without it such a profile is refused
    #[arg(long)]
    pub skip_read_only: bool,
}

impl Fill for ProfileArgs {
    fn fill(&self, request: &mut CommonRequest) {
        request.profile_allow_lower = self.allow_lower;
        request.profile_skip_read_only = self.skip_read_only;
        request.profile_load = self.profile_load.clone().or(self.profile.clone());
        request.profile_testee = self.profile_testee.clone();
        // With a foreign target there is one side.
        if request.target.is_none() {
            request.profile_testee = self.profile_testee.clone().or(self.profile.clone());
        }
    }
}
