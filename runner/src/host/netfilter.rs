//! Packet filters between the two sides: every packet of a measurement passes them, on loopback too.

use std::path::Path;

use super::{files, programs};

/// What hooks are in force in this network namespace, in words; `none`, or why it is not known.
pub fn hooks() -> Result<String, String> {
    let nft = programs::ask("nft", "nftables", &["list", "ruleset"]);
    in_force(legacy_tables(), nft, nftables_in_kernel())
}

/// What is seen is told even where the rest cannot be seen; `none` needs that all was looked at.
fn in_force(
    legacy: Result<Vec<String>, String>,
    nft: Result<String, String>,
    nftables: Result<bool, String>,
) -> Result<String, String> {
    let tables = legacy.clone().unwrap_or_default();
    let chains = nft.as_deref().map(base_chains).unwrap_or_default();
    let seen: Vec<String> = [("iptables tables", tables), ("nftables hooks", chains)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", unique(names).join(", ")))
        .collect();
    if !seen.is_empty() {
        return Ok(seen.join("; "));
    }
    legacy?;
    match (nft, nftables) {
        (Ok(_), _) | (Err(_), Ok(false)) => Ok("none".to_owned()),
        (Err(reason), Ok(true)) => Err(format!("nftables is in the kernel, and {reason}")),
        (Err(reason), Err(unsure)) => Err(format!("{unsure}, and {reason}")),
    }
}

/// Tables of the iptables before nftables. The files are not there where the kernel has none of it, and only
/// root may read them.
fn legacy_tables() -> Result<Vec<String>, String> {
    let mut tables = Vec::new();
    for file in ["ip_tables_names", "ip6_tables_names"] {
        let path = Path::new("/proc/self/net").join(file);
        if path.exists() {
            tables.extend(files::text(path)?.lines().map(str::to_owned));
        }
    }
    Ok(tables)
}

/// Whether nftables is loaded or built in: without it none of its rules can be in force.
fn nftables_in_kernel() -> Result<bool, String> {
    let loaded = files::text("/proc/modules");
    let release = files::text("/proc/sys/kernel/osrelease")?;
    let built_in = files::text(format!("/lib/modules/{release}/modules.builtin"));
    has_nftables(loaded, built_in)
}

fn has_nftables(
    loaded: Result<String, String>,
    built_in: Result<String, String>,
) -> Result<bool, String> {
    let as_module = |text: &String| text.lines().any(|line| line.starts_with("nf_tables "));
    let as_part = |text: &String| text.lines().any(|line| line.ends_with("/nf_tables.ko"));
    match (loaded, built_in) {
        (Ok(loaded), _) if as_module(&loaded) => Ok(true),
        (_, Ok(built_in)) if as_part(&built_in) => Ok(true),
        (Ok(_), Ok(_)) => Ok(false),
        (Err(reason), _) | (_, Err(reason)) => Err(format!(
            "whether nftables is in the kernel is not shown ({reason})"
        )),
    }
}

fn unique(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Only base chains (`type filter hook input ...`) see packets.
fn base_chains(rules: &str) -> Vec<String> {
    rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("type ")?.split_once(" hook "))
        .filter_map(|(_, rest)| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n\
                         \tchain helper {\n\t\taccept\n\t}\n\tchain output {\n\t\ttype filter hook output priority 0;\n\t}\n}\n";

    fn no<T>(reason: &str) -> Result<T, String> {
        Err(reason.to_owned())
    }

    fn text(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    #[test]
    fn only_base_chains_count() {
        let none = || Ok(Vec::new());
        let of = |rules| in_force(none(), text(rules), Ok(true));
        assert_eq!(of(RULES), text("nftables hooks: input, output"));
        assert_eq!(of("table inet empty {\n}\n"), text("none"));
        assert_eq!(of(""), text("none"));
    }

    #[test]
    fn none_is_said_only_when_everything_was_looked_at() {
        let refused =
            || no("`nft list ruleset` failed: Operation not permitted (you must be root)");
        let none = || Ok(Vec::new());
        let filter = || Ok(vec!["filter".to_owned(), "filter".to_owned()]);
        let unknown = in_force(none(), refused(), Ok(true)).expect_err("rules may be there");
        assert!(unknown.contains("in the kernel") && unknown.contains("you must be root"));
        let unknown = in_force(none(), refused(), no("unsure")).expect_err("rules may be there");
        assert!(unknown.starts_with("unsure, and `nft"), "{unknown}");
        assert_eq!(in_force(none(), refused(), Ok(false)), text("none"));
        let unreadable = in_force(no("reading ip_tables_names: denied"), text(""), Ok(true));
        assert_eq!(unreadable, no("reading ip_tables_names: denied"));
        assert_eq!(
            in_force(filter(), refused(), Ok(true)),
            text("iptables tables: filter")
        );
        assert_eq!(
            in_force(filter(), text(RULES), Ok(true)),
            text("iptables tables: filter; nftables hooks: input, output")
        );
    }

    #[test]
    fn nftables_may_be_a_module_or_built_in() {
        let (other, module) = (
            "nf_tables_x 1 0\n",
            "ip 1 0\nnf_tables 32 1 nft_ct, Live 0x0\n",
        );
        let part = "kernel/net/netfilter/nf_tables.ko\n";
        assert_eq!(has_nftables(text(module), no("no file")), Ok(true));
        assert_eq!(has_nftables(no("no file"), text(part)), Ok(true));
        assert_eq!(has_nftables(text(other), text("kernel/x.ko\n")), Ok(false));
        assert!(has_nftables(text(other), no("no file")).is_err());
        assert!(has_nftables(no("no file"), text("")).is_err());
    }
}
