//! The hash of a profile. It tells profiles apart by accident, not against an adversary.

use super::model::Profile;

impl Profile {
    /// Hash of what it sets, after all includes: equal in two results, the profiles were equal.
    #[must_use]
    pub fn hash(&self) -> String {
        of(self)
    }
}

/// FNV-1a, 64 bit (draft-eastlake-fnv), over what the profile sets. Reasons and sources do not count.
fn of(profile: &Profile) -> String {
    let mut lines: Vec<String> = profile
        .settings
        .iter()
        .map(|setting| {
            let optional = if setting.optional { " optional" } else { "" };
            format!("{} {}{optional}\n", setting.key, setting.requested())
        })
        .collect();
    lines.extend(profile.limits.iter().map(|limit| match limit.amount {
        Some(amount) => format!("{} {amount}\n", limit.name),
        None => format!("{} unlimited\n", limit.name),
    }));
    lines.sort();
    format!("fnv1a64:{:016x}", fnv1a64(lines.concat().as_bytes()))
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv1a64;

    /// From the test vectors of the draft.
    #[test]
    fn known_hashes() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
