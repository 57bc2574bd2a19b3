//! What excludes what. Every refusal names both and says what to write instead.

use super::checks::refuse;
use super::connect::Hold;
use super::{CommonRequest, PlacementKind, PlanError, SocketRequest};

pub(super) fn check(request: &CommonRequest) -> Result<(), PlanError> {
    check_target_options(request)?;
    check_load_hosts(request)?;
    let both = request.count.is_some() && request.duration_ns.is_some();
    refuse(
        &[("--count", both)],
        "--duration",
        "a run ends after a number of operations or after a time; choose one",
    )?;
    let same_core = request.placement == Some(PlacementKind::SameCore);
    let named = request.client_cpus.is_some() || request.testee_cpus.is_some();
    refuse(
        &[("--placement same-core", same_core && named)],
        "--client-cpus or --testee-cpus",
        "name the CPUs of both sides, or leave them to linerate",
    )
}

fn check_target_options(request: &CommonRequest) -> Result<(), PlanError> {
    let of_own_testee = [
        ("--testee-via", !request.testee_via.is_empty()),
        ("--testee-host", !request.testee_host.is_empty()),
        ("--testee-command", request.testee_command.is_some()),
        ("--testee-listen", request.testee_listen.is_some()),
        ("--testee-engine", request.testee_engine.is_some()),
        ("--testee-agents", request.testee_agents.is_some()),
        ("--testee-threads", request.testee_threads.is_some()),
        ("--testee-cpus", request.testee_cpus.is_some()),
        ("--profile-testee", request.profile_testee.is_some()),
    ];
    if let Some(target) = &request.target {
        return refuse(
            &of_own_testee,
            &format!("the target {target}"),
            "linerate starts a testee only when no target is given; leave one of them out",
        );
    }
    refuse(
        &[("--spread", request.spread)],
        "a testee of linerate's own",
        "it is for a target whose name has several addresses; for several testees repeat --testee-via",
    )?;
    check_reachable(request)?;
    if request.testee_via.is_empty() {
        if request.load_elsewhere().is_none() {
            check_one_profile(request)?;
        }
        let cure = "it is for a testee that a command starts elsewhere; add --testee-via, or use --testee-listen";
        refuse(
            &[
                ("--testee-host", !request.testee_host.is_empty()),
                ("--testee-command", request.testee_command.is_some()),
            ],
            "a testee of this host",
            cure,
        )?;
    }
    let both = !request.testee_host.is_empty() && request.testee_listen.is_some();
    refuse(
        &[("--testee-host", both)],
        "--testee-listen",
        "the endpoint names the host already",
    )?;
    check_testee_hosts(request)
}

/// Each host has an address of its own.
fn check_testee_hosts(request: &CommonRequest) -> Result<(), PlanError> {
    let (commands, addresses) = (request.testee_via.len(), request.testee_host.len());
    refuse(
        &[(
            "--testee-listen",
            commands > 1 && request.testee_listen.is_some(),
        )],
        "several --testee-via",
        "one endpoint is of one host; give a --testee-host for each --testee-via",
    )?;
    // Without any, what is missing is said by its name.
    let differ = commands != addresses && addresses > 0;
    refuse(
        &[("--testee-via", differ)],
        &format!("{addresses} --testee-host where there are {commands} of it"),
        "give one --testee-host for each --testee-via, in the same order",
    )
}

/// What is asked of the load's hosts.
fn check_load_hosts(request: &CommonRequest) -> Result<(), PlanError> {
    let has_ranks = request.ranks.is_some();
    refuse(
        &[
            ("--load-via", has_ranks && !request.load_via.is_empty()),
            ("--load-agents", has_ranks && request.load_agents.is_some()),
        ],
        "--ranks",
        "each rank is one load agent, and something else starts it; leave one of them out",
    )?;
    refuse(
        &[(
            "--load-command",
            request.load_via.is_empty() && request.load_command.is_some(),
        )],
        "a load that no command starts elsewhere",
        "it is the linerate that --load-via starts there; add --load-via",
    )?;
    refuse(
        &[(
            "--source",
            request.load_hosts() > 1 && !request.sources.is_empty(),
        )],
        &format!("several {}", request.load_elsewhere().unwrap_or_default()),
        "no two hosts have the same address; leave it out, or use one host",
    )
}

/// A testee of this host that the load's hosts are to reach must not listen for this host alone.
fn check_reachable(request: &CommonRequest) -> Result<(), PlanError> {
    let Some(option) = request.load_elsewhere() else {
        return Ok(());
    };
    if !request.testee_via.is_empty() {
        return Ok(());
    }
    let Some(listen) = &request.testee_listen else {
        return Err(PlanError::Missing {
            option,
            needs: "a testee that those hosts reach",
            cure: "name a target, start the testee elsewhere too (--testee-via), or say at which address of this host it \
                   is reached, for example --testee-listen tcp://10.0.0.1:0 (127.0.0.1 if the commands stay on this host)",
        });
    };
    let every_address = ["0.0.0.0:", "[::]:"].iter().any(|all| listen.contains(all));
    refuse(
        &[(option, every_address)],
        &format!("--testee-listen {listen}"),
        "name the address at which the load's hosts reach this one, for example --testee-listen tcp://10.0.0.1:0",
    )
}

/// One kernel and network namespace has one set of settings.
fn check_one_profile(request: &CommonRequest) -> Result<(), PlanError> {
    if request.profile_load == request.profile_testee {
        return Ok(());
    }
    let option = match request.profile_load {
        Some(_) => "--profile-load",
        None => "--profile-testee",
    };
    Err(PlanError::Conflict {
        option,
        with: "a testee of this host without the same profile".to_owned(),
        cure: ONE_SET,
    })
}

/// What to do where both sides share a kernel.
pub(crate) const ONE_SET: &str = "load and testee share one kernel, which has one set of settings: give both the      same with --profile, or start the testee in another network namespace or on another host with --testee-via";

/// Options of TCP that a Unix socket does not have.
pub(super) fn check_unix_options(asked: &SocketRequest) -> Result<(), PlanError> {
    let tcp_only = [
        ("--nodelay", asked.nodelay.is_some()),
        ("--congestion", asked.congestion_control.is_some()),
        ("--mss", asked.mss_bytes.is_some()),
        ("--tos", asked.tos.is_some()),
        ("--busy-poll", asked.busy_poll_us.is_some()),
        ("--fast-open", asked.fast_open),
        ("--keepalive", asked.keepalive_s.is_some()),
    ];
    refuse(
        &tcp_only,
        "a Unix socket",
        "it is an option of TCP; leave it out",
    )
}

/// A count of clients that come up by a ramp is of those that are there.
pub(super) fn check_count_of_clients(
    request: &CommonRequest,
    ramp_ns: u64,
) -> Result<(), PlanError> {
    let is_short = request.warmup_ns.is_some_and(|ns| ns < ramp_ns);
    refuse(
        &[("--count", request.count.is_some() && is_short)],
        "a --warmup that is shorter than the ramp",
        "the count could be reached before the last client is opened: leave --warmup out, or use --duration",
    )
}

/// What a run that opens each connection once cannot be asked for.
pub(super) fn check_connect(request: &CommonRequest, hold: &Hold) -> Result<(), PlanError> {
    refuse(
        &[
            ("--duration", request.duration_ns.is_some()),
            ("--count", request.count.is_some()),
        ],
        "run connect",
        "it opens --connections, each once, and holds them for as long as --hold says",
    )?;
    refuse(
        &[("--warmup", request.warmup_ns.is_some_and(|ns| ns > 0))],
        "run connect",
        "connections that were opened before the window would be missing in it; leave it out",
    )?;
    let rounds = request.repeat.is_some_and(|rounds| rounds > 1);
    refuse(
        &[("--hold without a duration", hold.ns.is_none() && rounds)],
        "--repeat",
        "somebody would have to end each round by hand: say for how long, for example --hold 10s",
    )
}
