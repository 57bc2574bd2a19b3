//! Whether a machine is still the one that the first run of an arm met.

use report::document::{Document, Host, Message};

/// Settings of the hosts as the first run of an arm met them.
#[derive(Debug, Default)]
pub(super) struct Settings(Vec<Host>);

impl Settings {
    /// The settings that the first run met.
    pub fn begin(&mut self, hosts: &[Host]) {
        self.0 = hosts.to_vec();
    }

    /// What has changed since the first run.
    pub fn changes(&self, document: &Document) -> Vec<Message> {
        let hosts = document.hosts.iter();
        hosts
            .filter_map(|host| {
                let first = self.0.iter().find(|first| first.id == host.id)?;
                changes(first, host)
            })
            .collect()
    }
}

fn changes(first: &Host, now: &Host) -> Option<Message> {
    let mut changed: Vec<String> = first
        .sysctls
        .iter()
        .filter(|(key, _)| !is_count(key))
        .filter_map(|(key, was)| {
            let is = now.sysctls.get(key)?;
            (is != was).then(|| format!("{key} was {was} and is {is}"))
        })
        .collect();
    let others = [
        ("the governor", &first.governor, &now.governor),
        ("the clock source", &first.clocksource, &now.clocksource),
        ("the kernel", &first.kernel, &now.kernel),
    ];
    for (name, was, is) in others {
        if was != is {
            let words =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
            changed.push(format!("{name} was {} and is {}", words(was), words(is)));
        }
    }
    (!changed.is_empty()).then(|| {
        Message::new(
            "settings_changed",
            format!("host {}: {}", now.id, changed.join(", ")),
        )
        .with_cure(
            "find what changes it (a tuning daemon, another person), end it and compare again",
        )
    })
}

/// A count of open files and no setting.
fn is_count(key: &str) -> bool {
    key == "fs.file-nr"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, PlanRequest};

    fn document(settings: &[(&str, &str)], governor: &str) -> Document {
        let plan = Plan::new(PlanRequest::default()).unwrap().document();
        let mut document = Document::new("0", Vec::new(), plan);
        let sysctls = settings
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()));
        document.hosts.push(Host {
            id: "local".into(),
            sysctls: sysctls.collect(),
            governor: Some(governor.into()),
            ..Host::default()
        });
        document
    }

    #[test]
    fn changed_settings_are_told_and_counts_are_not() {
        let mut settings = Settings::default();
        let first = document(
            &[("net.core.rmem_max", "1"), ("fs.file-nr", "5 0 9")],
            "schedutil",
        );
        assert_eq!(
            settings.changes(&first),
            [],
            "there is nothing to compare with"
        );
        settings.begin(&first.hosts);
        let same = document(
            &[("net.core.rmem_max", "1"), ("fs.file-nr", "7 0 9")],
            "schedutil",
        );
        assert_eq!(settings.changes(&same), []);
        let other = document(&[("net.core.rmem_max", "2")], "performance");
        let changes = settings.changes(&other);
        assert_eq!(changes.len(), 1);
        for part in ["net.core.rmem_max was 1 and is 2", "governor was schedutil"] {
            assert!(changes[0].text.contains(part), "{}", changes[0].text);
        }
    }
}
