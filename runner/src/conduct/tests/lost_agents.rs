//! Agents that die while a round runs.

use super::*;

/// The agent of this name hangs up when it is told to go.
struct OneDies(&'static str);

impl Launcher for OneDies {
    fn launch(
        &self,
        agent: &AgentPlan,
        number: usize,
        heard: Sender<Heard>,
    ) -> Result<Link, Failure> {
        if agent.name != self.0 {
            return Threads.launch(agent, number, heard);
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let read = theirs.try_clone().unwrap();
        let line = theirs.try_clone().unwrap();
        let (input, mut until_go) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            for said in BufReader::new(read).lines().map_while(Result::ok) {
                if said.contains("\"say\":\"go\"") {
                    // As when it is killed: without a last word.
                    let _ = line.shutdown(std::net::Shutdown::Both);
                    return;
                }
                let _ = writeln!(until_go, "{said}");
            }
        });
        std::thread::spawn(move || crate::agent::run(input, theirs));
        Link::of_streams(agent, number, ours.try_clone().unwrap(), ours, heard)
    }
}

/// Two agents a side of which one is lost at the go: why the run failed, and its document.
fn without(name: &'static str, change: impl FnOnce(&mut PlanRequest)) -> (Failure, Document) {
    let mut request = quick(Workload::Rr);
    request.common.duration_ns = Some(20_000_000_000);
    request.common.connections = Some(8);
    (request.common.load_agents, request.common.testee_agents) = (Some(2), Some(2));
    change(&mut request);
    let error = run_in(&OneDies(name), request, &mut Log::default()).unwrap_err();
    (error.failure, *error.document.unwrap())
}

#[test]
fn one_of_several_agents_lost_is_named_and_what_the_others_measured_is_a_partial_result() {
    for (name, connections) in [("load-2", 4), ("testee-2", 0)] {
        let (failure, document) = without(name, |_| {});
        assert_eq!(failure.class, ExitClass::CheckFailed, "{failure}");
        assert!(
            failure.text.contains(&format!("the {name} agent")) && failure.text.contains("partial"),
            "{failure}"
        );
        assert_eq!(document.status, Status::Partial);
        assert_eq!(ExitClass::of_document(&document), ExitClass::CheckFailed);
        assert_eq!(unexplained_nulls(&document), Vec::<String>::new());
        let round = &document.rounds[0];
        assert_eq!(round.lost.len(), 1, "{:?}", round.lost);
        let lost = &round.lost[0];
        assert_eq!((lost.agent.as_str(), lost.connections), (name, connections));
        assert!(round.ended_early && !round.load.iter().any(|side| side.agent == name));
        // Those of the lost agent are accounted for beside those of the others.
        let accounts = round.measured.connections.unwrap();
        assert!(accounts.started >= 8 && accounts.unfinished >= connections);
        let sum = accounts.succeeded + accounts.failed + accounts.unfinished;
        assert_eq!(accounts.started, sum, "{accounts:?}");
    }
}

#[test]
fn the_only_agent_of_a_side_lost_is_its_failure() {
    let (failure, document) = without("load", |request| request.common.load_agents = Some(1));
    assert_eq!(failure.class, ExitClass::Peer, "{failure}");
    assert_eq!(
        (document.status, document.rounds.len()),
        (Status::Failed, 0)
    );
    // The load has measured something all the same.
    let (failure, document) = without("testee", |request| request.common.testee_agents = Some(1));
    assert_eq!(failure.class, ExitClass::Peer, "{failure}");
    assert_eq!(
        (document.status, document.rounds.len()),
        (Status::Partial, 1)
    );
    assert_eq!(ExitClass::of_document(&document), ExitClass::Peer);
}
