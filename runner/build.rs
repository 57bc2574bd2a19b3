//! Tells the build its commit and target: a result without them cannot be repeated.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(target) = std::env::var("TARGET") {
        println!("cargo:rustc-env=LINERATE_BUILD_TARGET={target}");
    }
    // The file that changes with every commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && let Ok(directory) = std::env::current_dir()
    {
        println!("cargo:rerun-if-changed={}", directory.join(log).display());
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=LINERATE_GIT_COMMIT={commit}");
    }
}

/// What git answers, if it is there and this is a checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
