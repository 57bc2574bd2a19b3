//! Limits of processes: what a profile asks for against what this process has, and the files that would
//! raise them for good. A process raises its own limits; they end with it, so there is nothing to put back.

use std::fmt::Write;

use rustix::process::{Resource, getrlimit};

use crate::profile::{LimitName, LimitSetting, Profile};

/// A limit against this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPlan {
    /// What the profile asks for.
    pub setting: LimitSetting,
    /// In force now; `None` is no limit.
    pub soft: Option<u64>,
    /// What this process may raise it to without privilege; `None` is no limit.
    pub hard: Option<u64>,
    /// Why a run would get less; `None` when it gets what the profile asks for.
    pub obstacle: Option<String>,
}

/// Compares with the limits of the calling process. `ceiling` is fs.nr_open as it will be.
pub(crate) fn plan(settings: &[LimitSetting], ceiling: Option<u64>) -> Vec<LimitPlan> {
    let root = rustix::process::geteuid().is_root();
    let compare = |setting: &LimitSetting| {
        let limit = getrlimit(match setting.name {
            LimitName::Nofile => Resource::Nofile,
            LimitName::Memlock => Resource::Memlock,
        });
        let ceiling = ceiling.filter(|_| setting.name == LimitName::Nofile);
        LimitPlan {
            setting: setting.clone(),
            soft: limit.current,
            hard: limit.maximum,
            obstacle: obstacle(setting.amount, limit.maximum, ceiling, root),
        }
    };
    settings.iter().map(compare).collect()
}

/// do_prlimit(): above the hard limit needs CAP_SYS_RESOURCE, and above fs.nr_open not even that helps.
fn obstacle(
    wanted: Option<u64>,
    hard: Option<u64>,
    ceiling: Option<u64>,
    root: bool,
) -> Option<String> {
    let unlimited = u64::MAX;
    let (wanted, hard) = (wanted.unwrap_or(unlimited), hard.unwrap_or(unlimited));
    if wanted <= hard {
        return None;
    }
    if let Some(ceiling) = ceiling.filter(|ceiling| wanted > *ceiling) {
        return Some(format!(
            "above fs.nr_open, which is {ceiling}, nobody may raise it"
        ));
    }
    (!root).then(|| format!("the hard limit is {hard}, and only root may raise it"))
}

/// The limits of a profile for `/etc/security/limits.d` (limits.conf(5)): for logins, by pam_limits.
/// `*` does not cover root, so root has lines of its own. Printed, never installed.
#[must_use]
pub fn render_limits_d(profile: &Profile) -> String {
    let mut text = format!(
        "# /etc/security/limits.d/linerate-{}.conf: acts at the next login, through pam_limits\n",
        profile.name
    );
    for limit in &profile.limits {
        // In KiB for memory.
        let amount = match (limit.name, limit.amount) {
            (_, None) => "unlimited".to_owned(),
            (LimitName::Nofile, Some(amount)) => amount.to_string(),
            (LimitName::Memlock, Some(bytes)) => bytes.div_ceil(1024).to_string(),
        };
        let _ = writeln!(text, "# {} ({})", limit.reason, limit.source);
        for who in ["*", "root"] {
            for hardness in ["soft", "hard"] {
                let _ = writeln!(
                    text,
                    "{who:<8} {hardness:<8} {:<8} {amount}",
                    limit.name.as_str()
                );
            }
        }
    }
    text
}

/// The limits of a profile as a drop-in of a systemd unit (systemd.exec(5)). Printed, never installed.
#[must_use]
pub fn render_systemd(profile: &Profile) -> String {
    let mut text = format!(
        "# /etc/systemd/system/NAME.service.d/linerate-{}.conf: acts when the unit is started again\n[Service]\n",
        profile.name
    );
    for limit in &profile.limits {
        let name = match limit.name {
            LimitName::Nofile => "LimitNOFILE",
            LimitName::Memlock => "LimitMEMLOCK",
        };
        let amount = limit
            .amount
            .map_or_else(|| "infinity".to_owned(), |amount| amount.to_string());
        let _ = writeln!(
            text,
            "# {} ({})\n{name}={amount}",
            limit.reason, limit.source
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_of_a_limit() {
        assert_eq!(obstacle(Some(1024), Some(4096), Some(8192), false), None);
        assert_eq!(obstacle(Some(8000), Some(4096), Some(8192), true), None);
        assert_eq!(
            obstacle(Some(8000), Some(4096), Some(8192), false).as_deref(),
            Some("the hard limit is 4096, and only root may raise it")
        );
        assert_eq!(
            obstacle(Some(9000), Some(4096), Some(8192), true).as_deref(),
            Some("above fs.nr_open, which is 8192, nobody may raise it")
        );
        assert_eq!(obstacle(None, None, None, false), None);
        assert!(obstacle(None, Some(1), None, false).is_some());
    }

    #[test]
    fn files_for_logins_and_services() {
        let mut profile = Profile::load("many-connections").expect("bundled");
        profile.limits[1].amount = Some(1_000_000);
        let logins = render_limits_d(&profile);
        assert!(
            logins.contains("\n*        soft     nofile   1048576\n"),
            "{logins}"
        );
        assert!(
            logins.contains("\nroot     hard     memlock  977\n"),
            "{logins}"
        );
        let service = render_systemd(&profile);
        assert!(service.contains("\n[Service]\n"), "{service}");
        assert!(service.contains("\nLimitNOFILE=1048576\n"), "{service}");
        assert!(service.contains("\nLimitMEMLOCK=1000000\n"), "{service}");
    }
}
