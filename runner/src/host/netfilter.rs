//! Packet filters between the two sides: every packet of a measurement passes them, on loopback too.

use super::{files, programs};

/// What hooks are in force in this network namespace, in words; `none`, or why it is not known.
pub fn hooks() -> Result<String, String> {
    let legacy = ["ip_tables_names", "ip6_tables_names"]
        .iter()
        .filter_map(|file| files::text(format!("/proc/self/net/{file}")).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    let nft = programs::ask("nft", "nftables", &["list", "ruleset"]);
    match (legacy.is_empty(), nft) {
        (false, _) => Ok(format!("iptables tables: {}", unique(legacy).join(", "))),
        (true, Ok(rules)) => Ok(base_chains(&rules)),
        (true, Err(_)) if !nftables_loaded() => Ok("none".to_owned()),
        (true, Err(reason)) => Err(format!("nftables is loaded, and {reason}")),
    }
}

fn unique(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Without the module (or with it built in and no way to ask) no rule can be in force.
fn nftables_loaded() -> bool {
    files::text("/proc/modules")
        .is_ok_and(|modules| modules.lines().any(|line| line.starts_with("nf_tables ")))
}

/// Only base chains (`type filter hook input ...`) see packets.
fn base_chains(rules: &str) -> String {
    let hooks = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("type ")?.split_once(" hook "))
        .filter_map(|(_, rest)| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let hooks = unique(hooks);
    if hooks.is_empty() {
        return "none".to_owned();
    }
    format!("nftables hooks: {}", hooks.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base_chains_count() {
        let rules = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n\
                     \tchain helper {\n\t\taccept\n\t}\n\tchain output {\n\t\ttype filter hook output priority 0;\n\t}\n}\n";
        assert_eq!(base_chains(rules), "nftables hooks: input, output");
        assert_eq!(base_chains("table inet empty {\n}\n"), "none");
        assert_eq!(base_chains(""), "none");
    }
}
