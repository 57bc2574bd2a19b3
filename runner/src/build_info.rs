//! What this build knows of itself.

/// Version of linerate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that this was built from (uncommitted changes do not show); none outside a checkout.
pub const GIT_COMMIT: Option<&str> = option_env!("LINERATE_GIT_COMMIT");

/// Target triple of the build.
pub const BUILD_TARGET: Option<&str> = option_env!("LINERATE_BUILD_TARGET");
