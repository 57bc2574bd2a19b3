//! What `linerate doctor` shows: the verdict, then the findings, the worst first.

use super::Style;
use super::layout::{Paint, Paper};
use crate::checkup::Checkup;
use crate::findings::{Finding, Level};
use crate::units::counted;

/// The checkup as text, ending in a newline.
pub fn render(checkup: &Checkup, style: &Style) -> String {
    let mut paper = Paper::new(*style);
    paper.sentence(&verdict(checkup), Paint::Headline);
    paper.blank();
    for finding in &checkup.findings {
        show(finding, &mut paper);
    }
    paper.finish()
}

fn verdict(checkup: &Checkup) -> String {
    let counts = [Level::Problem, Level::Warning, Level::Note]
        .map(|level| {
            let of_level = |finding: &&Finding| finding.level == level;
            (level, checkup.findings.iter().filter(of_level).count())
        })
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(level, count)| counted(count as u64, level.word()))
        .collect::<Vec<_>>()
        .join(", ");
    match checkup.verdict {
        Level::Fine => "This machine is fit to measure.".to_owned(),
        Level::Note => format!("This machine is fit to measure; know what you measure: {counts}."),
        Level::Warning => format!("Measure here with care: {counts}."),
        Level::Problem => format!("Do not trust a measurement on this machine now: {counts}."),
    }
}

fn show(finding: &Finding, paper: &mut Paper) {
    let paint = match finding.level {
        Level::Fine | Level::Note => Paint::Plain,
        Level::Warning => Paint::Warning,
        Level::Problem => Paint::Error,
    };
    paper.hanging_in(paint, finding.level.word(), &finding.seen);
    for (name, part) in [("effect", &finding.effect), ("cure", &finding.cure)] {
        if let Some(part) = part {
            paper.hanging("", &format!("{name}: {part}"));
        }
    }
}
