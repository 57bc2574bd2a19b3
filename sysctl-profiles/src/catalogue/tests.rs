use std::collections::BTreeSet;

use super::*;

#[test]
fn keys_are_unique_and_explained() {
    let mut seen = BTreeSet::new();
    for info in keys() {
        assert!(seen.insert(info.key), "{} is there twice", info.key);
        assert!(!info.meaning().is_empty(), "{} has no meaning", info.key);
        for alias in info.aliases {
            assert!(seen.insert(alias), "{alias} is there twice");
        }
    }
}
