//! The document as it grows: hosts, rounds, warnings, and how it ends.

use super::observer::Observer;
use super::preparation::Preparation;
use super::round::{RoundOutcome, now_unix_ns};
use crate::build_info::{BUILD_TARGET, GIT_COMMIT, VERSION};
use crate::doctor;
use crate::error::{ExitClass, Failure};
use crate::host::THROTTLED;
use crate::plan::{AgentPlan, LOCAL, Plan, is_loopback};
use crate::profile::Drift;
use crate::protocol::Prepared;
use engine::endpoint::Endpoint;
use report::assemble::{self, RoundParts};
use report::document::{
    AppliedProfile, ClockOffset, Confirmation, Document, ErrorKind, Host, HostActivity, Message,
    ProfileKey, Role, Round, Status,
};
use report::findings::{self, Finding};
use report::success::{self, Nothing, nothing_succeeded};
use report::units::{grouped, human_ns};
use report::warnings;

/// The document while it grows.
pub(super) struct Record {
    document: Document,
    /// The document has the endpoint that the load connects to.
    target_known: bool,
    /// Hosts of the round in progress that are one machine.
    one_machine: Vec<Vec<String>>,
    /// Why the round in progress does not count.
    invalid: Vec<Message>,
}

impl Record {
    pub fn new(plan: &Plan) -> Self {
        let mut document = Document::new(VERSION, Vec::new(), plan.document());
        document.set_build(GIT_COMMIT, BUILD_TARGET);
        document.set_started(now_unix_ns());
        Self {
            document,
            target_known: false,
            one_machine: Vec::new(),
            invalid: Vec::new(),
        }
    }

    /// Adds a warning, once.
    pub fn warn(&mut self, warning: Message, observer: &mut dyn Observer) {
        if !self.document.warnings.contains(&warning) {
            observer.warning(&warning);
            self.document.warnings.push(warning);
        }
    }

    /// Adds what preparing a round brought.
    pub fn add_preparation(&mut self, found: Preparation, observer: &mut dyn Observer) {
        for note in found.placement_notes {
            self.warn(Message::new("placement", note), observer);
        }
        for hosts in &found.one_machine {
            self.warn(same_machine(hosts), observer);
        }
        self.one_machine = found.one_machine;
        let mut agents = found.agents.iter();
        let load = agents.find(|(agent, _)| agent.role == Role::Load);
        let addresses = load.map_or(&found.targets, |(_, prepared)| &prepared.endpoints);
        self.set_target(&found.targets, addresses);
        for (agent, prepared) in found.agents {
            self.add_prepared(&agent, prepared, observer);
        }
    }

    /// The endpoints that the load really connects to in turn, and the addresses that they have there: those of the
    /// first round, for another may find another port.
    fn set_target(&mut self, targets: &[String], addresses: &[String]) {
        let (Some(target), false) = (targets.first(), self.target_known) else {
            return;
        };
        self.target_known = true;
        let shown = &mut self.document.plan.target;
        shown.endpoint.clone_from(target);
        shown.address = addresses
            .first()
            .filter(|address| *address != target)
            .cloned();
        if addresses.len() > 1 {
            shown.addresses = addresses.to_vec();
        }
        let endpoints: Vec<Endpoint> = addresses
            .iter()
            .chain(targets)
            .take(addresses.len().max(1))
            .filter_map(|text| text.parse().ok())
            .collect();
        if let Some(first) = endpoints.first() {
            shown.loopback = endpoints.iter().all(is_loopback);
            first.kind().clone_into(&mut shown.transport);
        }
    }

    fn add_prepared(&mut self, agent: &AgentPlan, prepared: Prepared, observer: &mut dyn Observer) {
        for warning in prepared.warnings {
            self.warn(warning, observer);
        }
        let id = &agent.host.id;
        if let Some(mut report) = prepared.host {
            report.via = agent.host.start.launcher().map(str::to_owned);
            self.add_host(id, agent.role, report, observer);
        }
        if let Some(profile) = prepared.profile {
            self.add_profile(id, profile, observer);
        }
    }

    fn add_host(&mut self, id: &str, role: Role, host: Host, observer: &mut dyn Observer) {
        if let Some(known) = self.document.hosts.iter_mut().find(|host| host.id == id) {
            if !known.roles.contains(&role) {
                known.roles.push(role);
            }
            return;
        }
        self.add_findings(id, &findings::of_host(&host), observer);
        self.document.hosts.push(Host {
            id: id.to_owned(),
            roles: vec![role],
            ..host
        });
        // The conductor's own host first, whoever was prepared first.
        self.document.hosts.sort_by_key(|host| host.id != LOCAL);
    }

    /// Warns of what was seen on this host before the first round.
    pub fn add_seen(&mut self, seen: &[Finding], observer: &mut dyn Observer) {
        for finding in seen {
            if let Some(warning) = doctor::warning_before(LOCAL, finding) {
                observer.finding(LOCAL, finding);
                self.warn(warning, observer);
            }
        }
    }

    /// Warns of what a host says of itself, if it matters to this workload.
    fn add_findings(&mut self, id: &str, found: &[Finding], observer: &mut dyn Observer) {
        let connects = self.document.plan.workload.reconnects();
        for finding in found.iter().filter(|finding| finding.concerns(connects)) {
            if let Some(warning) = finding.warning(id) {
                observer.finding(id, finding);
                self.warn(warning, observer);
            }
        }
    }

    /// Adds what an agent says of its profile: the first brings the settings, the others their limits.
    fn add_profile(&mut self, id: &str, mut new: AppliedProfile, observer: &mut dyn Observer) {
        if new.hash.is_empty() {
            // Its settings were applied by the other side of the same kernel.
            let mut known = self
                .document
                .hosts
                .iter()
                .filter_map(|host| host.profile.as_ref());
            if let Some(other) = known.find(|other| other.name == new.name) {
                (new.hash, new.hold) = (other.hash.clone(), other.hold);
                new.keys = other.keys.clone();
            }
        }
        let Some(host) = self.document.hosts.iter_mut().find(|host| host.id == id) else {
            return;
        };
        host.unknown.retain(|entry| entry.field != "profile");
        let Some(known) = &mut host.profile else {
            observer.profile(id, &new);
            host.profile = Some(new);
            return;
        };
        for limit in new.limits {
            if !known
                .limits
                .iter()
                .any(|one| (&one.agent, &one.name) == (&limit.agent, &limit.name))
            {
                known.limits.push(limit);
            }
        }
        self.invalid.extend(other_than_before(id, known, &new.keys));
    }

    /// Another host's clock against that of the host that conducts.
    fn set_clock_offset(&mut self, id: &str, offset: ClockOffset) {
        if let Some(host) = self.document.hosts.iter_mut().find(|host| host.id == id) {
            host.clock_offset = Some(offset);
            host.unknown.retain(|entry| entry.field != "clock_offset");
        }
    }

    /// Adds a finished round.
    pub fn add_round(
        &mut self,
        number: u32,
        outcome: RoundOutcome,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        for (host, offset) in outcome.clock_offsets.iter().filter(|_| number == 1) {
            self.set_clock_offset(host, *offset);
        }
        let mut parts = RoundParts {
            number,
            ended_early: outcome.load.iter().any(|load| load.ended_early),
            poisson_seed: outcome.poisson_seed,
            go_unix_ns: Some(outcome.go_unix_ns),
            start_skew_ns: outcome.start_skew_ns,
            one_machine: self.one_machine.clone(),
            lost: outcome.lost,
            invalid: std::mem::take(&mut self.invalid),
            load: Vec::new(),
            testee: Vec::new(),
            hosts: Vec::new(),
        };
        let (mut found, mut not_put_back) = (Vec::new(), None);
        for agent in outcome.load.into_iter().chain(outcome.testee) {
            let host = agent.side.host.clone();
            let drifts = agent.drifts.iter();
            parts
                .invalid
                .extend(drifts.map(|drift| drifted(number, &host, drift)));
            found.extend(agent.warnings);
            not_put_back = not_put_back.or(agent.not_put_back);
            // Agents of one host have seen the same of it.
            if !parts.hosts.iter().any(|known| known.host == host) {
                parts.hosts.push(agent.activity.into_host_activity(&host));
            }
            match agent.side.role {
                Role::Load => parts.load.push(agent.side),
                Role::Testee => parts.testee.push(agent.side),
            }
        }
        let round = assemble::round(&self.document.plan, parts)
            .map_err(|error| Failure::machine(format!("put round {number} together: {error}")))?;
        found.extend(engine_warnings(&round));
        found.extend(event_record_incomplete(&round));
        found.extend(throttled(round.number, &round.hosts));
        found.extend(round.invalid.iter().cloned());
        for warning in found {
            self.warn(warning, observer);
        }
        observer.round_ended(&round);
        self.document.rounds.push(round);
        // After the round is kept: a machine that is left changed ends the run, as the loss of an agent does, and loses
        // nothing of it.
        not_put_back.or(outcome.failure).map_or(Ok(()), Err)
    }

    /// What is recorded so far.
    pub fn so_far(&self) -> &Document {
        &self.document
    }

    /// The document of a run that could not be completed.
    pub fn fail(mut self, failure: &Failure, observer: &mut dyn Observer) -> Document {
        self.conclude(observer);
        let lost = |round: &Round| !round.lost.is_empty();
        self.document.status = match failure.class {
            ExitClass::Interrupted => Status::Interrupted,
            _ if self.document.rounds.last().is_some_and(lost) => Status::Partial,
            _ => Status::Failed,
        };
        self.document.errors.push(failure.message());
        self.document
    }

    /// The document, and why it is a failure if nothing in it succeeded.
    pub fn finish(
        mut self,
        interrupted: bool,
        observer: &mut dyn Observer,
    ) -> (Document, Option<Failure>) {
        self.conclude(observer);
        if interrupted {
            self.document.status = Status::Interrupted;
            return (self.document, None);
        }
        let rounds = &self.document.rounds;
        let plan = &self.document.plan;
        let nothing = rounds
            .iter()
            .find_map(|round| nothing_succeeded(plan, round));
        let failure = nothing.map(failure_of);
        let failure = failure.or_else(|| nothing_valid(rounds));
        self.document.status = match failure {
            Some(_) => Status::Failed,
            None => Status::Ok,
        };
        self.document
            .errors
            .extend(failure.as_ref().map(Failure::message));
        (self.document, failure)
    }

    fn conclude(&mut self, observer: &mut dyn Observer) {
        self.document
            .set_summary(assemble::summary(&self.document.rounds));
        for warning in warnings::from_rounds(&self.document) {
            self.warn(warning, observer);
        }
        let unconfirmed = self.document.plan.workload.is_bulk()
            && self
                .document
                .rounds
                .iter()
                .any(|round| round.rates.confirmation == Confirmation::SenderUnconfirmed);
        if unconfirmed {
            let warning = Message::new(
                "sender_unconfirmed",
                "the throughput is what the sender's kernel took; nobody says that it arrived",
            )
            .with_cure("use a testee of linerate's own (--testee-via), or --direction receive");
            self.warn(warning, observer);
        }
    }
}

/// Hosts by name that are one running kernel, as network namespaces are.
fn same_machine(hosts: &[String]) -> Message {
    Message::new(
        "same_machine",
        format!(
            "hosts {} of this result are one machine (the same running kernel): system-wide CPU times and service \
             demand of each contain all of them",
            in_words(hosts)
        ),
    )
}

/// `a, b and c`.
fn in_words(names: &[String]) -> String {
    match names {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

/// What the engines counted that a reader must know.
fn engine_warnings(round: &Round) -> Vec<Message> {
    let mut found = Vec::new();
    for side in round.load.iter().chain(&round.testee) {
        let counted = |name: &str| {
            let in_lifetime = format!("{name}_in_lifetime");
            let counters = &side.engine_counters;
            let value = counters.get(name).or_else(|| counters.get(&in_lifetime));
            value.copied().unwrap_or(0)
        };
        let overflows = counted("cq_overflow");
        if overflows > 0 {
            found.push(
                Message::new(
                    "cq_overflow",
                    format!(
                        "round {}, {}: the completion queue overflowed {} times; the kernel kept the events, at a cost",
                        round.number,
                        side.agent,
                        grouped(overflows)
                    ),
                )
                .with_cure("use more --threads, or fewer --connections per thread"),
            );
        }
        let backoffs = counted("accept_backoffs_descriptors");
        if backoffs > 0 {
            found.push(
                Message::new(
                    "accept_backoffs",
                    format!(
                        "round {}, {}: accepting rested {} times because descriptors ran out",
                        round.number,
                        side.agent,
                        grouped(backoffs)
                    ),
                )
                .with_cure("raise the descriptor limit of the testee's host"),
            );
        }
    }
    found
}

/// Events of clients are missing in the record that was asked for.
fn event_record_incomplete(round: &Round) -> Option<Message> {
    let missing = success::missing_events(std::slice::from_ref(round))?;
    let cure = match missing.failure {
        Some(_) => "free space there, or name a file elsewhere",
        None => {
            "leave the machine a CPU that no worker has, use more --threads, or ask for a lower --rate"
        }
    };
    let text = format!("round {}: {}", round.number, missing.text);
    Some(Message::new("event_record_incomplete", text).with_cure(cure))
}

/// A CPU quota stopped the processes: then the quota was measured.
fn throttled(round: u32, hosts: &[HostActivity]) -> Option<Message> {
    let (host, us) = hosts.iter().find_map(|activity| {
        let us = activity.kernel_counters.get(THROTTLED)?;
        Some((&activity.host, *us))
    })?;
    let text = format!(
        "round {round}: the CPU quota of its control group stopped linerate on host {host} for {} (summed over CPUs): \
         the result is also that of the quota",
        human_ns(us as f64 * 1e3)
    );
    let cure = "measure without a quota (cpu.max of the control group), or with fewer --threads";
    Some(Message::new("throttled", text).with_cure(cure))
}

/// A setting that somebody else wrote while the round ran.
fn drifted(number: u32, host: &str, drift: &Drift) -> Message {
    Message::new(
        "profile_drift",
        format!(
            "round {number} does not count: {} of host {host} was {} and not {} at its end, written by somebody else; \
             it was left as it is",
            drift.key, drift.found, drift.expected
        ),
    )
    .with_cure("end what writes it (a tuning daemon, another person), and run again")
}

/// Settings that are not as they were in the first round: raise-only settings follow what they find.
fn other_than_before(host: &str, known: &AppliedProfile, keys: &[ProfileKey]) -> Vec<Message> {
    let changed = keys.iter().filter_map(|key| {
        let first = known.keys.iter().find(|first| first.key == key.key)?;
        (first.effective != key.effective).then_some((first, key))
    });
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    changed
        .map(|(first, key)| {
            Message::new(
                "profile_drift",
                format!(
                    "a round does not count: {} of host {host} became {}, and {} in the first round: what was there \
                     before it has changed",
                    key.key,
                    shown(&key.effective),
                    shown(&first.effective)
                ),
            )
        })
        .collect()
}

/// Rounds that do not count are no result.
fn nothing_valid(rounds: &[Round]) -> Option<Failure> {
    let first = rounds.first()?.invalid.first()?;
    let none = rounds.iter().all(|round| !round.invalid.is_empty());
    none.then(|| Failure {
        class: ExitClass::CheckFailed,
        text: match &first.cure {
            Some(cure) => format!("{}; {cure}", first.text),
            None => first.text.clone(),
        },
    })
}

/// A run in which everything failed ends with the class of what most failed with.
fn failure_of(nothing: Nothing) -> Failure {
    let class = match nothing.worst {
        Some(ErrorKind::NoPorts | ErrorKind::NoDescriptors) => ExitClass::Machine,
        Some(ErrorKind::Mismatch) => ExitClass::CheckFailed,
        _ => ExitClass::Peer,
    };
    Failure {
        class,
        text: nothing.text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_stopped_a_round_is_told_with_its_host() {
        let activity = |host: &str, counters: &[(&str, i64)]| HostActivity {
            host: host.to_owned(),
            kernel_counters: counters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            ..HostActivity::default()
        };
        let free = activity("local", &[("TcpExt.ListenDrops", 7)]);
        assert_eq!(throttled(1, std::slice::from_ref(&free)), None);
        let stopped = activity("testee", &[("cgroup.throttled_us", 90_000)]);
        let warning = throttled(2, &[free, stopped]).expect("a warning");
        assert_eq!(warning.code, "throttled");
        assert!(
            warning.text.starts_with("round 2: ") && warning.text.contains("on host testee for 90"),
            "{}",
            warning.text
        );
        assert!(warning.cure.is_some());
    }
}
