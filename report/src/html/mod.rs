//! Documents as one self-contained HTML page that needs no script and no network: the verdict first, then
//! figures, tables and plots, the environment, and the commands to repeat it.
//!
//! What the text report says is said here in the same words, from the same blocks; added are the plots
//! and everything that was recorded of the hosts.

mod blocks;
mod charts;
mod comparison;
mod environment;
mod markup;
mod page;
mod rounds_of_arms;
mod run;
mod several;
mod svg;

use crate::Labelled;
use crate::comparison::words;
use crate::document::Document;
use crate::saved::View;
use crate::text::{headline, next};
use markup::Markup;
use page::{Figures, Level};

/// One document as a page; several as one page, side by side and one after the other.
pub fn render(documents: &[Labelled<View>]) -> String {
    match documents {
        [document] => page::around(&format!("linerate: {}", sentence(document.value)), |page| {
            of_one(page, document.value);
        }),
        several => page::around(&format!("linerate: {} results", several.len()), |page| {
            several::body(page, several);
        }),
    }
}

fn of_one(page: &mut Markup, document: View) {
    page.within("header", &[], |page| {
        let kicker = match document {
            View::Run(_) => "linerate run",
            View::Comparison(_) => "linerate compare",
        };
        page.line("p", &[("class", "kicker")], kicker);
        page.line("h1", &[], &sentence(document));
        page.line("p", &[("class", "origin")], &origin(document));
    });
    page.newline();
    body(page, Level::Section, &mut Figures::default(), document);
}

/// The answer in one sentence.
fn sentence(document: View) -> String {
    match document {
        View::Run(document) => headline::sentence(document),
        View::Comparison(document) => words::headline(document),
    }
}

/// When, by what and, of a run, where: one line below the title.
fn origin(document: View) -> String {
    let (started_at_utc, hosts) = match document {
        View::Run(run) => (&run.started_at_utc, &run.hosts[..]),
        View::Comparison(comparison) => (&comparison.started_at_utc, &[][..]),
    };
    let date = started_at_utc.get(..16).unwrap_or_default();
    let mut parts = vec![format!("{} UTC", date.replace('T', " ")), build(document)];
    for host in hosts {
        let name = host.name.as_deref().unwrap_or(&host.id);
        parts.push(match &host.kernel {
            Some(kernel) => format!("{name} ({kernel})"),
            None => name.to_owned(),
        });
    }
    parts.join(" · ")
}

/// The command that measures it again, and the build that took it.
fn repeat(page: &mut Markup, level: Level, document: View) {
    let typed = match document {
        View::Run(run) => &run.command,
        View::Comparison(comparison) => &comparison.command,
    };
    page.within("section", &[], |page| {
        level.heading(page, "Repeat it");
        blocks::command(page, &next::to_repeat(typed));
        page.line("p", &[("class", "note")], &build(document));
    });
}

/// `linerate 0.1.0, commit 4a8ccae, x86_64-unknown-linux-gnu`.
fn build(document: View) -> String {
    let (version, commit, target) = match document {
        View::Run(run) => (&run.linerate_version, &run.git_commit, &run.build_target),
        View::Comparison(comparison) => (
            &comparison.linerate_version,
            &comparison.git_commit,
            &comparison.build_target,
        ),
    };
    let mut parts = vec![format!("linerate {version}")];
    parts.extend(commit.as_ref().map(|commit| format!("commit {commit}")));
    parts.extend(target.clone());
    parts.join(", ")
}

fn body(page: &mut Markup, level: Level, figures: &mut Figures, document: View) {
    match document {
        View::Run(document) => run::body(page, level, figures, document),
        View::Comparison(document) => comparison::body(page, level, figures, document),
    }
}

/// The runs among documents of either kind.
fn runs<'a>(documents: &[Labelled<View<'a>>]) -> Vec<Labelled<&'a Document>> {
    let runs = documents
        .iter()
        .filter_map(|document| match document.value {
            View::Run(run) => Some(Labelled::new(document.label.clone(), run)),
            View::Comparison(_) => None,
        });
    runs.collect()
}
