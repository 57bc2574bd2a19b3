//! Which agent applies which profile.

use crate::error::Failure;
use crate::plan::{ONE_SET, Plan};
use crate::profile::{Profile, ProfileTask};
use crate::wire::AgentHello;

/// The profiles of both sides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Profiles {
    pub testee: Option<ProfileTask>,
    pub load: Option<ProfileTask>,
}

/// Decides for `plan`, given what the agents said of themselves, the testee's first if there is one.
///
/// Where both sides share a kernel and its network namespace, the testee applies the settings, for it
/// is prepared first: some act when it listens.
///
/// # Errors
/// When one set of settings would have to be two.
pub(super) fn decide(plan: &Plan, hellos: &[AgentHello]) -> Result<Profiles, Failure> {
    let request = plan.request();
    let (load, testee) = (&request.profile_load, &request.profile_testee);
    let shared = match (plan.testee(), hellos) {
        (Some(own), [testee, load, ..]) => own.via.is_empty() || share_settings(testee, load),
        _ => false,
    };
    if shared && load != testee {
        return Err(Failure::usage(format!(
            "the two sides are given different profiles, but {ONE_SET}"
        )));
    }
    let allow_lower = request.profile_allow_lower;
    let skip_read_only = request.profile_skip_read_only;
    let task = |profile: &Option<Profile>, settings| {
        profile.clone().map(|profile| ProfileTask {
            profile,
            settings,
            allow_lower,
            skip_read_only,
        })
    };
    Ok(Profiles {
        testee: task(testee, true),
        load: task(load, !shared),
    })
}

fn share_settings(one: &AgentHello, other: &AgentHello) -> bool {
    one.boot_id.is_some()
        && one.boot_id == other.boot_id
        && one.network_namespace == other.network_namespace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanRequest;

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

    /// The plan of two sides with these profiles.
    fn decided(
        load: Option<Profile>,
        testee: Option<Profile>,
        hellos: [AgentHello; 2],
    ) -> Result<Profiles, Failure> {
        let mut plan = Plan::new(PlanRequest {
            testee_via: Some("ssh b".into()),
            testee_host: Some("10.0.0.2".into()),
            ..PlanRequest::default()
        })
        .unwrap();
        // Past the validation: what the texts say does not matter here.
        (plan.request.profile_load, plan.request.profile_testee) = (load, testee);
        decide(&plan, &hellos)
    }

    #[test]
    fn each_host_and_each_namespace_has_its_own() {
        let (here, there) = (hello("k", "1"), hello("k", "2"));
        let profiles = decided(
            profile("10gbe"),
            profile("low-latency"),
            [there, here.clone()],
        )
        .unwrap();
        assert!(profiles.load.unwrap().settings && profiles.testee.unwrap().settings);
        let profiles = decided(profile("10gbe"), None, [hello("l", "1"), here]).unwrap();
        assert!(profiles.load.unwrap().settings && profiles.testee.is_none());
    }

    #[test]
    fn one_kernel_has_one_set() {
        let both = || [hello("k", "1"), hello("k", "1")];
        let profiles = decided(profile("10gbe"), profile("10gbe"), both()).unwrap();
        assert!(!profiles.load.unwrap().settings && profiles.testee.unwrap().settings);
        for (load, testee) in [("10gbe", Some("low-latency")), ("10gbe", None)] {
            let testee = testee.and_then(profile);
            let failure = decided(profile(load), testee, both()).unwrap_err();
            assert_eq!(failure.class.code(), 2);
            assert!(failure.text.contains("one kernel"), "{failure}");
        }
    }
}
