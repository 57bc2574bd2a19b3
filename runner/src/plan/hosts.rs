//! The hosts of a plan: on which agents are started and through what, and how agents and connections are dealt to them.

use super::checks::in_range;
use super::{CommonRequest, PlanError};
use engine::address::Address;
use engine::endpoint::Endpoint;
use report::document::Role;
use serde::{Deserialize, Serialize};

/// Agents of a side: more than the processors of any machine of today can keep busy.
pub(super) const AGENTS_MAX: u32 = 256;

/// Id in the document of the host that conducts.
pub(crate) const LOCAL: &str = "local";

/// A host on which agents of a side are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPlan {
    /// Its name in the document, unique in the run: `local`, `testee`, `load-host-2` ...
    pub(crate) id: String,
    /// How agents come to be there.
    pub(crate) start: Start,
}

/// How agents come to be on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// As child processes of the conductor.
    Here,
    /// Through a command that leads there.
    Via {
        /// As the user wrote it.
        launcher: String,
        /// Its words.
        words: Vec<String>,
    },
    /// Somebody else starts a process there, which joins with this rank.
    Rank(u32),
}

impl Start {
    /// Whether agents are child processes of the conductor.
    pub(crate) fn is_here(&self) -> bool {
        *self == Self::Here
    }

    /// The command that leads there, as the user wrote it.
    pub(crate) fn launcher(&self) -> Option<&str> {
        match self {
            Self::Via { launcher, .. } => Some(launcher),
            Self::Here | Self::Rank(_) => None,
        }
    }
}

/// A host of linerate's own testee.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TesteeHost {
    pub(crate) host: HostPlan,
    /// Where the testee listens there.
    pub(crate) listen: Endpoint,
    /// The address at which the load reaches it, as the user wrote it, without brackets.
    pub(crate) reached_at: Option<String>,
}

impl HostPlan {
    fn here() -> Self {
        Self {
            id: LOCAL.to_owned(),
            start: Start::Here,
        }
    }
}

/// The hosts of the load: this one, those that commands lead to, or those of the ranks.
pub(super) fn of_load(request: &CommonRequest) -> Result<Vec<HostPlan>, PlanError> {
    if let Some(ranks) = request.ranks {
        return Ok(of_ranks(in_range("--ranks", ranks, 1, AGENTS_MAX)?));
    }
    reached_through("--load-via", Role::Load, &request.load_via)
}

/// Each rank counts as a host of its own: which of them share a machine shows when they are there.
fn of_ranks(ranks: u32) -> Vec<HostPlan> {
    let host = |rank| HostPlan {
        id: format!("rank-{rank}"),
        start: Start::Rank(rank),
    };
    (0..ranks).map(host).collect()
}

/// The hosts of linerate's own testee.
pub(super) fn of_testee(request: &CommonRequest) -> Result<Vec<TesteeHost>, PlanError> {
    let hosts = reached_through("--testee-via", Role::Testee, &request.testee_via)?;
    let mut reached_at = request.testee_host.iter().map(String::as_str);
    hosts
        .into_iter()
        .map(|host| {
            let reached_at = reached_at.next();
            Ok(TesteeHost {
                listen: listen(request, reached_at, host.start.is_here())?,
                reached_at: reached_at.map(|host| without_brackets(host).to_owned()),
                host,
            })
        })
        .collect()
}

fn reached_through(
    option: &'static str,
    role: Role,
    prefixes: &[String],
) -> Result<Vec<HostPlan>, PlanError> {
    if prefixes.is_empty() {
        return Ok(vec![HostPlan::here()]);
    }
    let id = |index: usize| match prefixes.len() {
        1 => role.name().to_owned(),
        _ => format!("{}-host-{}", role.name(), index + 1),
    };
    prefixes
        .iter()
        .enumerate()
        .map(|(index, prefix)| {
            Ok(HostPlan {
                id: id(index),
                start: Start::Via {
                    launcher: prefix.clone(),
                    words: words(option, prefix)?,
                },
            })
        })
        .collect()
}

fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn listen(
    request: &CommonRequest,
    reached_at: Option<&str>,
    here: bool,
) -> Result<Endpoint, PlanError> {
    if let Some(text) = &request.testee_listen {
        return text.parse().map_err(PlanError::Endpoint);
    }
    if let Some(host) = reached_at {
        if host.is_empty() || host.contains(['/', ' ']) {
            return Err(PlanError::Unreadable {
                option: "--testee-host",
                value: host.to_owned(),
                why: "it is an address or a name, for example 10.0.0.2".to_owned(),
            });
        }
        let host = without_brackets(host);
        // The zone is that of the load's host; the testee finds its own by the address.
        let host = match host.parse::<Address>() {
            Ok(address) if address.is_link_local() => address.ip().to_string(),
            _ => host.to_owned(),
        };
        return Ok(Endpoint::Tcp { host, port: 0 });
    }
    if !here {
        return Err(PlanError::Missing {
            option: "--testee-via",
            needs: "--testee-host",
            cure: "say at which address of its host the testee is reached, for example --testee-host 10.0.0.2 \
                   (127.0.0.1 if the command stays on this host)",
        });
    }
    Ok(Endpoint::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 0,
    })
}

/// Splits a command prefix at spaces; '...' and "..." keep a word together. No shell takes part.
fn words(option: &'static str, text: &str) -> Result<Vec<String>, PlanError> {
    let unreadable = |why: &str| PlanError::Unreadable {
        option,
        value: text.to_owned(),
        why: why.to_owned(),
    };
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in text.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(unreadable("a quotation mark is not closed"));
    }
    words.extend(word);
    if words.is_empty() {
        return Err(unreadable(
            "the command is missing; write for example 'ssh b' or 'ip netns exec b'",
        ));
    }
    Ok(words)
}

/// Where one of `of` things is that take turns on `hosts` hosts: on which of them, its number there, and how many
/// are there.
pub(super) fn turn(number: u32, of: u32, hosts: u32) -> (u32, u32, u32) {
    let host = number % hosts;
    (host, number / hosts, taking_turns(of, hosts, host))
}

/// How many of `of` things that take turns on `hosts` hosts are on host `host`.
pub(super) fn taking_turns(of: u32, hosts: u32, host: u32) -> u32 {
    of / hosts + u32::from(host < of % hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would_without_being_one() {
        let split = |text: &str| words("--load-via", text);
        assert_eq!(
            split("ip netns exec 'a b'").unwrap(),
            ["ip", "netns", "exec", "a b"]
        );
        assert_eq!(split("x \"\" $y").unwrap(), ["x", "", "$y"]);
        let error = split("  ").unwrap_err().to_string();
        assert!(
            error.contains("--load-via") && error.contains("ssh b"),
            "{error}"
        );
    }

    #[test]
    fn hosts_take_turns_and_differ_by_one_at_most() {
        let on = |host| {
            (0..7)
                .filter(|number| turn(*number, 7, 3).0 == host)
                .count() as u32
        };
        for host in 0..3 {
            assert_eq!(on(host), taking_turns(7, 3, host));
        }
        assert_eq!(turn(5, 7, 3), (2, 1, 2));
        assert_eq!(turn(6, 7, 3), (0, 2, 3));
    }
}
