//! Where it ran, in full: what the text has, and below it everything that was recorded.

use std::collections::BTreeMap;

use super::blocks::{scrolling, sections};
use super::markup::Markup;
use super::page::Level;
use crate::document::{Document, Host, Limit, LimitValue, Round, Side};
use crate::text::layout::Paper;
use crate::text::place;
use crate::units::grouped;

/// The section of a run.
pub(super) fn of_run(page: &mut Markup, level: Level, document: &Document, round: &Round) {
    let blocks = Paper::blocks_of(|paper| place::section(document, round, paper));
    sections(page, level, &blocks);
    for side in round.load.iter().chain(&round.testee) {
        side_details(page, side);
    }
    hosts(page, &document.hosts);
}

/// Everything that is known of the hosts, folded.
pub(super) fn hosts(page: &mut Markup, hosts: &[Host]) {
    for host in hosts {
        let limits = limits(host);
        let tables: [(&str, &BTreeMap<String, String>); 5] = [
            ("Facts", &host.facts),
            ("Limits", &limits),
            (
                "Mitigations of processor vulnerabilities",
                &host.mitigations,
            ),
            ("Settings (sysctl)", &host.sysctls),
            ("What could not be read", &host.missing),
        ];
        folded(
            page,
            &format!("Everything recorded of host {}", host.id),
            &tables,
        );
    }
}

fn side_details(page: &mut Markup, side: &Side) {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let options = side.engine.options.iter();
    let options: BTreeMap<String, String> = options
        .map(|option| {
            let asked = match &option.requested {
                Some(requested) => format!(" (asked for {requested})"),
                None => String::new(),
            };
            (option.name.clone(), value(&option.granted) + &asked)
        })
        .collect();
    let tables: [(&str, &BTreeMap<String, String>); 2] = [
        ("Options in force", &options),
        ("Features", &side.engine.features),
    ];
    let title = format!("Engine {} of the {}", side.engine.used, side.agent);
    folded(page, &title, &tables);
}

fn limits(host: &Host) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Some(limits) = &host.limits {
        found.insert("nofile, descriptors".to_owned(), limit(limits.nofile));
        if let Some(memlock) = limits.memlock_bytes {
            found.insert("memlock, bytes".to_owned(), limit(memlock));
        }
    }
    found
}

fn limit(limit: Limit) -> String {
    let show = |value: LimitValue| match value {
        LimitValue::Limited(count) => grouped(count),
        LimitValue::Unlimited(_) => "unlimited".to_owned(),
    };
    format!("{} (at most {})", show(limit.soft), show(limit.hard))
}

/// Tables of names and values behind a line that unfolds them; none if all are empty.
fn folded(page: &mut Markup, title: &str, tables: &[(&str, &BTreeMap<String, String>)]) {
    if tables.iter().all(|(_, entries)| entries.is_empty()) {
        return;
    }
    page.within("details", &[], |page| {
        page.line("summary", &[], title);
        for (name, entries) in tables.iter().filter(|(_, entries)| !entries.is_empty()) {
            scrolling(page, name, |page| {
                page.within("tbody", &[("class", "words")], |page| {
                    for (key, value) in *entries {
                        page.within("tr", &[], |page| {
                            page.line("th", &[("scope", "row")], key);
                            page.line("td", &[], value);
                        });
                    }
                });
            });
        }
    });
    page.newline();
}
