//! The profiles of this binary.

use super::BundledProfile;

macro_rules! bundled {
    ($($name:literal),+ $(,)?) => {
        &[$(BundledProfile {
            name: $name,
            text: include_str!(concat!("../../profiles/", $name, ".toml")),
        }),+]
    };
}

pub(super) const PROFILES: &[BundledProfile] = bundled![
    "baseline",
    "10gbe",
    "many-connections",
    "low-latency",
    "wsdemo-2012",
    "crossbar-2013",
];
