//! `linerate agent`: started by `run` on either host, or by something else to join a run.

use clap::Args;

use super::ranks::JoinArgs;

/// Arguments of `agent`.
#[derive(Debug, Args)]
#[command(
    about = "Take part in a measurement: started by `run`, or by something else to join one (--join)",
    long_about = "Take part in a measurement.\n\n\
        `linerate run` starts agents by itself, directly or through --load-via and --testee-via: one JSON object per \
        line on stdin and stdout. Such an agent ends, and cleans up, when its stdin closes.\n\n\
        With --join it is a rank: a process that something else starts (Slurm, Kubernetes, MPI, GNU parallel, a shell \
        loop), and that joins `linerate run --ranks N --join ...` over TCP. It takes part in every round and ends with \
        the run. Both ends prove to each other that they know the token, which is not sent; what they say afterwards \
        is not encrypted: use it in a network that you trust.",
    after_help = "\
Examples:
  linerate run rr --testee-via 'ssh b' --testee-host 10.0.0.2     starts `linerate agent` on b

  export LINERATE_TOKEN=...                       the same on all hosts: openssl rand -hex 16
  linerate run rr tcp://10.0.0.9:9000 -c 64 --ranks 2 --join tcp://0.0.0.0:9470
  linerate agent --join tcp://10.0.0.1:9470 --rank 0              where the load is to be made
  linerate agent --join tcp://10.0.0.1:9470 --rank 1
  srun --ntasks=2 linerate agent --join tcp://10.0.0.1:9470       the rank is Slurm's

Exit code of a rank: 0 where its last round went well, 130 where that was called off (another was lost, the run
was ended early, a signal), 4 where it could not join, or the run ended before a round."
)]
pub struct AgentArgs {
    /// Be a further process of `linerate serve`, which starts it
    #[arg(long, hide = true)]
    pub serve: bool,

    /// Join the run that waits there for its ranks
    #[arg(long, value_name = "tcp://HOST:PORT", conflicts_with = "serve")]
    pub join: Option<String>,

    /// Which rank this process is, from 0 [default: what OMPI_COMM_WORLD_RANK, PMIX_RANK, PMI_RANK, SLURM_PROCID or
    /// JOB_COMPLETION_INDEX says, the first that is set]
    #[arg(long, value_name = "N", requires = "join")]
    pub rank: Option<u32>,

    #[command(flatten)]
    pub joining: JoinArgs,
}
