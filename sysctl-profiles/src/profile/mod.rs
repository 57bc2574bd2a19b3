//! A profile: which values, why, and who says so. Data only; nothing here looks at the machine.

mod bundled;
mod hash;
mod load;
mod model;
mod text;

pub use bundled::BundledProfile;
#[cfg(test)]
pub(crate) use load::from_text;
pub use model::{LimitName, LimitSetting, Operator, Origin, Profile, PublishedFile, Setting};

#[cfg(test)]
mod tests;
