//! Values that the kernel refuses, or that act only together with others: known before the first write.

use std::path::Path;

use super::entry::PlanEntry;
use super::examine::examine;
use crate::catalogue;
use crate::class::Class;
use crate::error::Error;
use crate::files::Files;
use crate::machine::path_of;
use crate::profile::{Operator, Setting};
use crate::value::Change;

const CHOSEN: &str = "net.ipv4.tcp_congestion_control";
const ALLOWED: &str = "net.ipv4.tcp_allowed_congestion_control";
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";
const PORT_START: &str = "net.ipv4.ip_unprivileged_port_start";
const SYN_BACKLOG: &str = "net.ipv4.tcp_max_syn_backlog";
const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";

pub(super) fn refusals(entries: &mut Vec<PlanEntry>, files: &dyn Files) -> Result<(), Error> {
    port_range(entries, files);
    syn_backlog(entries, files);
    congestion_control(entries, files)
}

/// The value that a key will have when the plan was carried out.
fn planned(entries: &[PlanEntry], key: &str, files: &dyn Files) -> Option<String> {
    if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
        return entry.target.clone();
    }
    let path = path_of(key).ok()?;
    files.read(&path).ok().map(|text| text.trim().to_owned())
}

fn find<'a>(entries: &'a mut [PlanEntry], key: &str) -> Option<&'a mut PlanEntry> {
    entries
        .iter_mut()
        .find(|entry| entry.key == key && entry.is_written())
}

fn stop(entry: &mut PlanEntry, why: String) {
    if entry.setting.optional {
        entry.note = Some(format!("left out: {why}"));
    }
    entry.obstacle = Some(why);
}

/// A range that begins below the unprivileged ports is EINVAL (ipv4_local_port_range), and so are
/// unprivileged ports that begin above the range (ipv4_privileged_ports): when both go up, the range goes
/// first.
fn port_range(entries: &mut [PlanEntry], files: &dyn Files) {
    let first_of = |text: &str| text.split_whitespace().next()?.parse::<u32>().ok();
    let planned =
        |entries: &[PlanEntry], key| planned(entries, key, files).as_deref().and_then(first_of);
    let (Some(first), Some(start)) = (planned(entries, PORT_RANGE), planned(entries, PORT_START))
    else {
        return;
    };
    if first < start {
        let why = format!(
            "the kernel refuses a range that begins at {first}, below {PORT_START} ({start})"
        );
        for key in [PORT_RANGE, PORT_START] {
            if let Some(entry) = find(entries, key) {
                stop(entry, why.clone());
            }
        }
        return;
    }
    let position = |key: &str| {
        entries
            .iter()
            .position(|entry| entry.key == key && entry.is_written())
    };
    if let (Some(range), Some(lowest)) = (position(PORT_RANGE), position(PORT_START)) {
        let now = entries[range]
            .before
            .as_deref()
            .and_then(first_of)
            .unwrap_or(first);
        if start > now && lowest < range {
            entries.swap(lowest, range);
        }
    }
}

/// Half-open connections are counted against it only without SYN cookies (tcp_conn_request).
fn syn_backlog(entries: &mut [PlanEntry], files: &dyn Files) {
    let cookies = planned(entries, SYNCOOKIES, files).unwrap_or_default();
    if let Some(entry) = find(entries, SYN_BACKLOG).filter(|_| cookies != "0") {
        entry.note = Some(format!(
            "acts only while {SYNCOOKIES} is 0; it is {cookies}"
        ));
    }
}

/// Choosing a restricted algorithm also puts it on the list of allowed ones, for good, and only the
/// initial namespace may do so (tcp_set_default_congestion_control). So the list becomes an entry of its
/// own, written before and put back after the choice.
fn congestion_control(entries: &mut Vec<PlanEntry>, files: &dyn Files) -> Result<(), Error> {
    let Some(at) = entries
        .iter()
        .position(|entry| entry.key == CHOSEN && entry.is_written())
    else {
        return Ok(());
    };
    let wanted = entries[at].write.clone().unwrap_or_default();
    let names = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let available = files
        .read(Path::new(AVAILABLE))
        .map(|text| names(&text))
        .unwrap_or_default();
    if !available.contains(&wanted) {
        let why = format!(
            "this kernel has {}, not {wanted}; load its module first (modprobe tcp_{wanted}), for linerate could not unload it again",
            available.join(", ")
        );
        stop(&mut entries[at], why);
        return Ok(());
    }
    let allowed = planned(entries, ALLOWED, files)
        .map(|text| names(&text))
        .unwrap_or_default();
    if allowed.contains(&wanted) || entries.iter().any(|entry| entry.key == ALLOWED) {
        return Ok(());
    }
    let setting = Setting {
        key: ALLOWED.to_owned(),
        operator: Operator::Equal,
        value: format!("{} {wanted}", allowed.join(" ")),
        reason: format!("choosing {wanted} puts it on this list, and the list is put back with it"),
        ..entries[at].setting.clone()
    };
    let (info, key) = catalogue::find(ALLOWED)
        .map_err(|refusal| Error::refused_key(ALLOWED, "the profile", &refusal))?;
    let mut list = examine(&setting, info, &key, files)?;
    // A list of names is neither more nor less.
    list.change = list.change.map(|_| Change::Changes);
    if list.obstacle.is_some() {
        let why = format!(
            "{wanted} is not on {ALLOWED}, which cannot be changed here: only the initial network namespace may"
        );
        entries[at].class = Class::ReadOnly;
        stop(&mut entries[at], why);
        return Ok(());
    }
    entries.insert(at, list);
    Ok(())
}
