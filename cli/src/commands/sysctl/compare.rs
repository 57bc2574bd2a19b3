//! `diff`, `apply --dry-run` and `verify`: a profile against this machine. Nothing is written.

use report::document::SettingClass;
use runner::error::{ExitClass, Failure};
use runner::profile::this_host;
use serde::Serialize;
use sysctl_profiles::{Change, LimitPlan, Plan, PlanEntry};

use super::lines::{amount, counted, table, wrapped};
use crate::args::sysctl::NamedArgs;
use crate::problem::Problem;

#[derive(Serialize)]
struct Comparison {
    schema: &'static str,
    profile: String,
    hash: String,
    /// Whether `apply` would write it, with --allow-lower where it LOWERS.
    applicable: bool,
    /// Whether this machine has every value as the profile demands it.
    satisfied: bool,
    keys: Vec<ComparedKey>,
    limits: Vec<ComparedLimit>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ComparedKey {
    key: String,
    class: SettingClass,
    requested: String,
    before: Option<String>,
    target: Option<String>,
    satisfied: bool,
    optional: bool,
    reason: String,
    source: String,
    note: Option<String>,
    /// Why it cannot be written; null if it can, or need not.
    obstacle: Option<String>,
}

#[derive(Serialize)]
struct ComparedLimit {
    name: &'static str,
    /// Null: no limit.
    wanted: Option<u64>,
    /// Null: no limit.
    soft: Option<u64>,
    /// Null: no limit.
    hard: Option<u64>,
    obstacle: Option<String>,
}

impl Comparison {
    fn of(plan: &Plan) -> Self {
        Comparison {
            schema: "linerate.profile_diff/1",
            profile: plan.profile.clone(),
            hash: plan.hash.clone(),
            applicable: plan.obstacles(true).is_empty(),
            satisfied: plan.unsatisfied().next().is_none(),
            keys: plan.entries.iter().map(compared).collect(),
            limits: plan.limits.iter().map(compared_limit).collect(),
            warnings: plan.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

fn compared(entry: &PlanEntry) -> ComparedKey {
    ComparedKey {
        key: entry.key.clone(),
        class: runner::profile::setting_class(entry.class),
        requested: entry.setting.requested(),
        before: entry.before.clone(),
        target: entry.target.clone(),
        satisfied: entry.is_satisfied(),
        optional: entry.setting.optional,
        reason: entry.setting.reason.clone(),
        source: entry.setting.source.clone(),
        note: entry.note.clone(),
        obstacle: entry.obstacle.clone(),
    }
}

fn compared_limit(limit: &LimitPlan) -> ComparedLimit {
    ComparedLimit {
        name: limit.setting.name.as_str(),
        wanted: limit.setting.amount,
        soft: limit.soft,
        hard: limit.hard,
        obstacle: limit.obstacle.clone(),
    }
}

fn plan(named: &NamedArgs) -> Result<Plan, Problem> {
    let profile = runner::profile::load(&named.name)?;
    let plan = this_host().and_then(|host| host.plan(&profile));
    Ok(plan.map_err(Failure::from)?)
}

/// `skip_read_only`: as `apply` would with that option.
pub(super) fn diff(named: &NamedArgs, skip_read_only: bool) -> Result<ExitClass, Problem> {
    let mut plan = plan(named)?;
    if skip_read_only {
        plan.skip_read_only();
    }
    let comparison = Comparison::of(&plan);
    super::answer(named.format.format, &comparison, || {
        diff_text(&plan, &comparison)
    })?;
    plan.check(true).map_err(Failure::from)?;
    Ok(ExitClass::Done)
}

fn diff_text(plan: &Plan, comparison: &Comparison) -> String {
    let mut text = format!(
        "Profile {} against this machine: {}.\n\n",
        plan.profile,
        counts(comparison)
    );
    let rows: Vec<Vec<String>> = plan.entries.iter().map(row).collect();
    for (line, entry) in table(&rows).iter().zip(&plan.entries) {
        text += &format!("{line}\n");
        let setting = &entry.setting;
        text += &wrapped(6, &format!("{} ({})", setting.reason, setting.source));
        let remarks = [&entry.note, &entry.obstacle];
        let remark = remarks.into_iter().flatten().next_back();
        if let Some(remark) = remark {
            text += &wrapped(6, &format!("-> {remark}"));
        }
    }
    if !plan.limits.is_empty() {
        text += "\nLimits of the processes of a run\n";
    }
    for limit in &plan.limits {
        text += &wrapped(2, &limit_text(limit));
    }
    for warning in &plan.warnings {
        text += &wrapped(0, &format!("\nWarning: {warning}"));
    }
    if comparison
        .keys
        .iter()
        .any(|key| key.class == SettingClass::Lowers)
    {
        text += "\nIt LOWERS values: apply and run refuse it without --allow-lower.\n";
    }
    text
}

/// In the order in which they are counted.
const CLASSES: [SettingClass; 8] = [
    SettingClass::Raises,
    SettingClass::Changes,
    SettingClass::Lowers,
    SettingClass::Unchanged,
    SettingClass::NoOp,
    SettingClass::ReadOnly,
    SettingClass::Missing,
    SettingClass::NeedsRoot,
];

fn counts(comparison: &Comparison) -> String {
    let count = |class| {
        comparison
            .keys
            .iter()
            .filter(|key| key.class == class)
            .count()
    };
    let counts: Vec<String> = CLASSES
        .into_iter()
        .map(|class| (class, count(class)))
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| format!("{count} {}", word(class)))
        .collect();
    match counts.is_empty() {
        true => "no settings".to_owned(),
        false => format!(
            "{} of {}",
            counts.join(", "),
            counted(comparison.keys.len(), "setting")
        ),
    }
}

/// What becomes of a setting, before it does.
fn word(class: SettingClass) -> &'static str {
    match class {
        SettingClass::Unchanged => "unchanged",
        SettingClass::Raises => "raises",
        SettingClass::Lowers => "LOWERS",
        SettingClass::Changes => "changes",
        SettingClass::NoOp => "no-op",
        SettingClass::ReadOnly => "read-only here",
        SettingClass::Missing => "missing here",
        SettingClass::NeedsRoot => "needs root",
    }
}

fn row(entry: &PlanEntry) -> Vec<String> {
    let class = word(runner::profile::setting_class(entry.class));
    // Which way it would go stands beside what hinders it.
    let way = match (&entry.obstacle, entry.change) {
        (Some(_), Some(Change::Lowers)) => " (LOWERS)",
        (Some(_), Some(Change::Raises)) => " (raises)",
        _ => "",
    };
    let values = match (&entry.before, &entry.target) {
        (Some(before), Some(target)) if before == target => before.clone(),
        (Some(before), Some(target)) => format!("{before} -> {target}"),
        _ => entry.setting.requested(),
    };
    vec![entry.key.clone(), format!("{class}{way}"), values]
}

fn limit_text(limit: &LimitPlan) -> String {
    let obstacle = match &limit.obstacle {
        Some(obstacle) => format!("; less is granted: {obstacle}"),
        None => String::new(),
    };
    format!(
        "{}: {} wanted, {} now, hard limit {}{obstacle} ({})",
        limit.setting.name,
        amount(limit.setting.amount),
        amount(limit.soft),
        amount(limit.hard),
        limit.setting.reason
    )
}

pub(super) fn verify(named: &NamedArgs) -> Result<ExitClass, Problem> {
    let plan = plan(named)?;
    let comparison = Comparison::of(&plan);
    super::answer(named.format.format, &comparison, || verify_text(&plan))?;
    match comparison.satisfied {
        true => Ok(ExitClass::Done),
        false => Ok(ExitClass::CheckFailed),
    }
}

fn verify_text(plan: &Plan) -> String {
    let differing: Vec<&PlanEntry> = plan.unsatisfied().collect();
    if differing.is_empty() {
        return format!("every value is as {} demands it\n", plan.profile);
    }
    let rows: Vec<Vec<String>> = differing
        .iter()
        .map(|entry| {
            let found = entry
                .before
                .clone()
                .unwrap_or_else(|| "missing here".to_owned());
            vec![
                entry.key.clone(),
                found,
                format!("wanted {}", entry.setting.requested()),
            ]
        })
        .collect();
    let all = counted(plan.entries.len(), "value");
    format!(
        "{} of {all} not as {} demands:\n{}\n",
        differing.len(),
        plan.profile,
        table(&rows).join("\n")
    )
}
