//! `list` and `show`: profiles as data. Nothing in here looks at the machine.

use runner::error::{ExitClass, Failure};
use serde::Serialize;
use sysctl_profiles::{Profile, render_limits_d, render_systemd};

use super::lines::{amount, counted, table, wrapped};
use crate::args::sysctl::{NamedArgs, SysctlFormat};
use crate::problem::Problem;

#[derive(Serialize)]
struct Listing {
    schema: &'static str,
    profiles: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    summary: String,
    historical: bool,
    keys: usize,
}

pub(super) fn list(format: SysctlFormat) -> Result<ExitClass, Problem> {
    let mut profiles = Vec::new();
    for bundled in Profile::bundled() {
        let profile = bundled.load().map_err(Failure::from)?;
        profiles.push(Entry {
            keys: profile.settings.len(),
            name: profile.name,
            summary: profile.summary,
            historical: profile.historical,
        });
    }
    let listing = Listing {
        schema: "linerate.profiles/1",
        profiles,
    };
    super::answer(format, &listing, || list_text(&listing))?;
    Ok(ExitClass::Done)
}

fn list_text(listing: &Listing) -> String {
    let mut text = String::new();
    for profile in &listing.profiles {
        let remark = match profile.historical {
            true => ", historical",
            false => "",
        };
        let keys = counted(profile.keys, "setting");
        text += &format!("{}  ({keys}{remark})\n", profile.name);
        text += &wrapped(4, &profile.summary);
    }
    text + "\nlinerate sysctl diff NAME says what one would change here; linerate run ... --profile NAME applies it for a run\n"
}

#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    name: &'a str,
    summary: &'a str,
    historical: bool,
    hash: String,
    keys: Vec<ShownKey<'a>>,
    limits: Vec<ShownLimit<'a>>,
    /// To be put into a file by hand.
    limits_d: String,
    /// To be put into a file by hand.
    systemd: String,
    /// Files that its author published.
    documents: &'a [sysctl_profiles::PublishedFile],
}

#[derive(Serialize)]
struct ShownKey<'a> {
    key: &'a str,
    requested: String,
    optional: bool,
    reason: &'a str,
    source: &'a str,
}

#[derive(Serialize)]
struct ShownLimit<'a> {
    name: &'static str,
    /// Null: no limit.
    wanted: Option<u64>,
    reason: &'a str,
    source: &'a str,
}

pub(super) fn show(named: &NamedArgs) -> Result<ExitClass, Problem> {
    let profile = runner::profile::load(&named.name)?;
    let keys = profile.settings.iter().map(|setting| ShownKey {
        key: &setting.key,
        requested: setting.requested(),
        optional: setting.optional,
        reason: &setting.reason,
        source: &setting.source,
    });
    let limits = profile.limits.iter().map(|limit| ShownLimit {
        name: limit.name.as_str(),
        wanted: limit.amount,
        reason: &limit.reason,
        source: &limit.source,
    });
    let shown = Shown {
        schema: "linerate.profile/1",
        name: &profile.name,
        summary: &profile.summary,
        historical: profile.historical,
        hash: profile.hash(),
        keys: keys.collect(),
        limits: limits.collect(),
        limits_d: render_limits_d(&profile),
        systemd: render_systemd(&profile),
        documents: &profile.documents,
    };
    super::answer(named.format.format, &shown, || show_text(&shown))?;
    Ok(ExitClass::Done)
}

fn show_text(shown: &Shown) -> String {
    let mut text = wrapped(
        0,
        &format!("{}: {}.", shown.name, shown.summary.trim_end_matches('.')),
    );
    if shown.historical {
        text += "Historical: kept because results were published with it.\n";
    }
    if !shown.keys.is_empty() {
        text += "\nSettings, in the order of writing\n";
    }
    for (row, key) in table(&rows(shown)).iter().zip(&shown.keys) {
        text += &format!("{row}\n");
        text += &wrapped(6, &format!("{} ({})", key.reason, key.source));
    }
    if !shown.limits.is_empty() {
        text += "\nLimits of the processes of a run\n";
    }
    for limit in &shown.limits {
        text += &format!("  {} {}\n", limit.name, amount(limit.wanted));
        text += &wrapped(6, &format!("{} ({})", limit.reason, limit.source));
    }
    if !shown.limits.is_empty() {
        text += "\nlinerate raises them for its own processes. For other programs they need files, which linerate does not write:\n";
        text += &format!("\n{}\n{}", shown.limits_d, shown.systemd);
    }
    for document in shown.documents {
        text += &format!(
            "\nAs published, {}:\n\n{}\n",
            document.path,
            document.text.trim_matches('\n')
        );
    }
    text
}

fn rows(shown: &Shown) -> Vec<Vec<String>> {
    let row = |key: &ShownKey| {
        let optional = match key.optional {
            true => "optional",
            false => "",
        };
        vec![
            key.key.to_owned(),
            key.requested.clone(),
            optional.to_owned(),
        ]
    };
    shown.keys.iter().map(row).collect()
}
