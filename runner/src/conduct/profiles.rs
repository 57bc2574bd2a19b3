//! Which agent applies which profile.

use crate::error::Failure;
use crate::plan::{AgentPlan, ONE_SET, Plan};
use crate::profile::ProfileTask;
use crate::protocol::AgentHello;
use report::document::Role;

/// Decides for the agents of `plan`, given what each of them said of itself, both in the order in which
/// they are prepared.
///
/// Of agents that share a kernel and its network namespace the first applies the settings: some act
/// when a testee listens, which is prepared before the load.
///
/// # Errors
/// When one set of settings would have to be two.
pub(super) fn decide(
    plan: &Plan,
    agents: &[AgentPlan],
    hellos: &[AgentHello],
) -> Result<Vec<Option<ProfileTask>>, Failure> {
    let request = &plan.request().common;
    let of = |agent: &AgentPlan| match agent.role {
        Role::Load => &request.profile_load,
        Role::Testee => &request.profile_testee,
    };
    let all: Vec<(&AgentPlan, &AgentHello)> = agents.iter().zip(hellos).collect();
    let mut tasks = Vec::new();
    for (index, (agent, hello)) in all.iter().enumerate() {
        let shares = |other: &&(&AgentPlan, &AgentHello)| {
            agent.host.id == other.0.host.id || share_settings(hello, other.1)
        };
        let first = all[..index].iter().find(shares);
        let profile = of(agent);
        if first.is_some_and(|(other, _)| of(other) != profile) {
            return Err(Failure::usage(format!(
                "the two sides are given different profiles, but {ONE_SET}"
            )));
        }
        tasks.push(profile.clone().map(|profile| ProfileTask {
            profile,
            settings: first.is_none(),
            allow_lower: request.profile_allow_lower,
            skip_read_only: request.profile_skip_read_only,
        }));
    }
    Ok(tasks)
}

fn share_settings(one: &AgentHello, other: &AgentHello) -> bool {
    one.boot_id.is_some()
        && one.boot_id == other.boot_id
        && one.network_namespace == other.network_namespace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CommonRequest, PlanRequest};
    use crate::profile::Profile;

    /// A bundled profile.
    fn profile(name: &str) -> Option<Profile> {
        Some(Profile::load(name).unwrap())
    }

    fn hello(boot: &str, namespace: &str) -> AgentHello {
        AgentHello {
            protocol: 0,
            version: String::new(),
            git_commit: None,
            build_target: None,
            boot_id: Some(boot.into()),
            network_namespace: Some(namespace.into()),
        }
    }

    /// What the testee and the load are to do with these profiles.
    fn decided(
        load: Option<Profile>,
        testee: Option<Profile>,
        hellos: [AgentHello; 2],
    ) -> Result<[Option<ProfileTask>; 2], Failure> {
        let tasks = of_agents(1, load, testee, &hellos)?;
        Ok(tasks.try_into().expect("two agents"))
    }

    fn of_agents(
        of_each: u32,
        load: Option<Profile>,
        testee: Option<Profile>,
        hellos: &[AgentHello],
    ) -> Result<Vec<Option<ProfileTask>>, Failure> {
        let mut plan = Plan::new(PlanRequest {
            common: CommonRequest {
                testee_via: vec!["ssh b".into()],
                testee_host: vec!["10.0.0.2".into()],
                connections: Some(of_each),
                load_agents: Some(of_each),
                testee_agents: Some(of_each),
                ..CommonRequest::default()
            },
            ..PlanRequest::default()
        })
        .unwrap();
        // Past the validation: what the texts say does not matter here.
        let common = &mut plan.request.common;
        (common.profile_load, common.profile_testee) = (load, testee);
        decide(&plan, &plan.agents(), hellos)
    }

    #[test]
    fn each_host_and_each_namespace_has_its_own() {
        let (here, there) = (hello("k", "1"), hello("k", "2"));
        let [testee, load] = decided(
            profile("10gbe"),
            profile("low-latency"),
            [there, here.clone()],
        )
        .unwrap();
        assert!(load.unwrap().settings && testee.unwrap().settings);
        let [testee, load] = decided(profile("10gbe"), None, [hello("l", "1"), here]).unwrap();
        assert!(load.unwrap().settings && testee.is_none());
    }

    #[test]
    fn one_kernel_has_one_set() {
        let both = || [hello("k", "1"), hello("k", "1")];
        let [testee, load] = decided(profile("10gbe"), profile("10gbe"), both()).unwrap();
        assert!(!load.unwrap().settings && testee.unwrap().settings);
        for (load, testee) in [("10gbe", Some("low-latency")), ("10gbe", None)] {
            let testee = testee.and_then(profile);
            let failure = decided(profile(load), testee, both()).unwrap_err();
            assert_eq!(failure.class.code(), 2);
            assert!(failure.text.contains("one kernel"), "{failure}");
        }
    }

    #[test]
    fn of_several_agents_of_a_kernel_the_first_applies() {
        let (there, here) = (hello("l", "1"), hello("k", "1"));
        let hellos = [there.clone(), there, here.clone(), here];
        let tasks = of_agents(2, profile("10gbe"), profile("low-latency"), &hellos).unwrap();
        let settings: Vec<bool> = tasks
            .into_iter()
            .flatten()
            .map(|task| task.settings)
            .collect();
        assert_eq!(settings, [true, false, true, false]);
    }
}
