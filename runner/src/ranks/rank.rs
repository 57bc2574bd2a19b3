//! Which number a process has among those that were started together.

use crate::error::Failure;

/// Where launchers say the rank, the innermost first: `mpirun` inside a Slurm job starts processes that have both, and there
/// Slurm's is that of the daemon that started them.
pub const RANK_VARIABLES: [&str; 5] = [
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
    "JOB_COMPLETION_INDEX",
];

/// The rank that a launcher has put into the environment, from 0.
///
/// # Errors
/// None has, or it is no number.
pub fn rank_from(variable: impl Fn(&str) -> Option<String>) -> Result<u32, Failure> {
    let found = RANK_VARIABLES
        .iter()
        .find_map(|name| Some((name, variable(name)?)));
    let Some((name, value)) = found else {
        return Err(Failure::usage(format!(
            "which rank this is was neither said nor is in the environment ({}): add --rank N, from 0",
            RANK_VARIABLES.join(", ")
        )));
    };
    value.trim().parse().map_err(|_| {
        Failure::usage(format!(
            "{name}={value} in the environment is no rank: say it with --rank N, from 0"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(environment: &[(&str, &str)]) -> Result<u32, String> {
        let variable = |name: &str| {
            let entry = environment.iter().find(|(known, _)| *known == name);
            entry.map(|(_, value)| (*value).to_owned())
        };
        rank_from(variable).map_err(|failure| failure.text)
    }

    #[test]
    fn the_innermost_launcher_says_the_rank() {
        assert_eq!(rank(&[("SLURM_PROCID", "7")]), Ok(7));
        assert_eq!(rank(&[("JOB_COMPLETION_INDEX", "2\n")]), Ok(2));
        let both = [("SLURM_PROCID", "0"), ("OMPI_COMM_WORLD_RANK", "5")];
        assert_eq!(rank(&both), Ok(5));
        assert!(rank(&[]).unwrap_err().contains("--rank N"));
        let error = rank(&[("SLURM_PROCID", "-1")]).unwrap_err();
        assert!(error.contains("SLURM_PROCID=-1"), "{error}");
    }
}
