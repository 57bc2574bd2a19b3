use super::*;

#[test]
fn every_bundled_profile_can_be_read() {
    for bundled in Profile::bundled() {
        let profile = bundled
            .load()
            .unwrap_or_else(|error| panic!("{}: {error}", bundled.name));
        assert_eq!(profile.name, bundled.name);
        assert!(!profile.summary.is_empty(), "{}", profile.name);
    }
}
