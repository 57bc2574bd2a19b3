//! Resource limits of a profile, for the own process: nothing to put back, for they end with it.

use engine::os::{Resource, ResourceLimit};
use report::document::{Limit, LimitValue, ProfileLimit};
use std::io;

/// A limit that a profile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: &'static str,
    pub resource: Resource,
    /// [`Resource::UNLIMITED`] for no limit.
    pub amount: u64,
}

/// Raises the limit as far as the system lets this process; a higher one is left as it is. Whether what
/// was granted suffices is for those to say who need it.
pub(super) fn raise(wanted: Wanted, agent: &str) -> ProfileLimit {
    let Wanted {
        resource, amount, ..
    } = wanted;
    let before = resource.limit();
    let obstacle = before
        .as_ref()
        .ok()
        .filter(|limit| limit.soft < amount)
        .and_then(|limit| obstacle(resource, *limit, amount));
    let unknown = ResourceLimit { soft: 0, hard: 0 };
    let got = resource.limit().or(before).unwrap_or(unknown);
    ProfileLimit {
        agent: agent.to_owned(),
        name: wanted.name.to_owned(),
        wanted: value(amount),
        got: Limit {
            soft: value(got.soft),
            hard: value(got.hard),
        },
        obstacle,
    }
}

/// Raises, and says what stood in the way.
fn obstacle(resource: Resource, limit: ResourceLimit, amount: u64) -> Option<String> {
    let wanted = ResourceLimit {
        soft: amount,
        hard: limit.hard.max(amount),
    };
    let error = resource.set_limit(wanted).err()?;
    // As far as it goes without privilege.
    let most = ResourceLimit {
        soft: limit.hard,
        ..limit
    };
    let _ = resource.set_limit(most);
    let ceiling = match resource {
        Resource::Descriptors => sysctl_profiles::read("fs.nr_open").ok(),
        Resource::LockedMemory => None,
    };
    Some(in_words(limit.hard, amount, ceiling.as_deref(), &error))
}

/// `ceiling`: fs.nr_open, above which not even root may raise (do_prlimit()).
fn in_words(hard: u64, amount: u64, ceiling: Option<&str>, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return format!("setrlimit: {error}");
    }
    match ceiling {
        Some(most) if most.parse().is_ok_and(|most: u64| amount > most) => {
            format!("above fs.nr_open, which is {most}, nobody may raise it")
        }
        _ => format!(
            "the hard limit is {hard}, and raising it needs CAP_SYS_RESOURCE, which root has outside of containers"
        ),
    }
}

fn value(amount: u64) -> LimitValue {
    match amount {
        Resource::UNLIMITED => LimitValue::UNLIMITED,
        amount => LimitValue::Limited(amount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(amount: u64) -> Wanted {
        Wanted {
            name: "memlock",
            resource: Resource::LockedMemory,
            amount,
        }
    }

    #[test]
    fn what_is_there_already_needs_nothing() {
        let before = Resource::LockedMemory.limit().unwrap();
        let limit = raise(locked(1), "load");
        assert!(limit.is_granted() && limit.obstacle.is_none());
        assert_eq!(Resource::LockedMemory.limit().unwrap(), before);
    }

    #[test]
    fn what_stands_in_the_way_is_said() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = in_words(4096, 8192, Some("1048576"), &denied);
        assert!(
            text.starts_with("the hard limit is 4096, and raising it needs CAP_SYS_RESOURCE"),
            "{text}"
        );
        let text = in_words(4096, 1_048_577, Some("1048576"), &denied);
        assert_eq!(
            text,
            "above fs.nr_open, which is 1048576, nobody may raise it"
        );
        let invalid = io::Error::from(io::ErrorKind::InvalidInput);
        assert!(in_words(1, 2, None, &invalid).starts_with("setrlimit: "));
    }
}
