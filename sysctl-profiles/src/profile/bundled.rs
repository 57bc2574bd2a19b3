//! The profiles of this binary.

/// A profile of this binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundledProfile {
    /// How it is asked for.
    pub name: &'static str,
    /// Its TOML.
    pub text: &'static str,
}

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
