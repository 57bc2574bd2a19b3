//! What `doctor` would say, in a line each before anything is measured.

use report::findings::Finding;

/// What stands below the lines: there is no room in them for what a finding does and what helps.
const WHERE_TO_READ: &str = "linerate doctor explains, and says what helps";

/// Which findings were shown already: every run of a comparison finds the same again.
#[derive(Debug, Default)]
pub struct Findings {
    told: Vec<String>,
    explained: bool,
}

impl Findings {
    /// The line of a finding on a host; none if it was shown before.
    pub fn line(&mut self, host: &str, finding: &Finding) -> Option<String> {
        // The user's own machine needs no name.
        let place = match host {
            "local" => String::new(),
            other => format!(" on host {other}"),
        };
        let line = format!("{}{place}: {}", finding.level.word(), finding.seen);
        if self.told.contains(&line) {
            return None;
        }
        self.told.push(line.clone());
        Some(line)
    }

    /// Where to read more, once, when all have been shown that there are.
    pub fn where_to_read(&mut self) -> Option<&'static str> {
        if self.told.is_empty() || std::mem::replace(&mut self.explained, true) {
            return None;
        }
        Some(WHERE_TO_READ)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::findings::Level;

    #[test]
    fn a_finding_is_a_line_once_and_the_way_on_comes_last() {
        let finding = |level, seen: &str| Finding {
            code: "neighbours".to_owned(),
            level,
            seen: seen.to_owned(),
            effect: Some("long words".to_owned()),
            cure: Some("longer words".to_owned()),
        };
        let busy = finding(Level::Problem, "others keep 0.80 of 2 CPUs busy");
        let mut findings = Findings::default();
        assert_eq!(
            findings.line("local", &busy).as_deref(),
            Some("problem: others keep 0.80 of 2 CPUs busy")
        );
        assert_eq!(findings.line("local", &busy), None);
        assert_eq!(
            findings
                .line("testee", &finding(Level::Warning, "slow"))
                .as_deref(),
            Some("warning on host testee: slow")
        );
        assert_eq!(findings.where_to_read(), Some(WHERE_TO_READ));
        assert_eq!(findings.where_to_read(), None);
        assert_eq!(Findings::default().where_to_read(), None);
    }
}
