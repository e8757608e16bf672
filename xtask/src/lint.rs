//! `cargo xtask lint`: what needs no test run.

use crate::{Consent, setup, shell, supply, tidy};
use anyhow::Result;

pub(crate) fn run(consent: Consent) -> Result<()> {
    setup::compiler(consent)?;
    format()?;
    clippy()?;
    shell::step("tidy");
    tidy::run()?;
    supply::check(consent)
}

pub(crate) fn format() -> Result<()> {
    shell::step("formatting");
    shell::run(&mut shell::cargo(["fmt", "--all", "--check"])?)
}

/// Warnings fail with the compiler this workspace is written for; another one knows other lints and only tells.
pub(crate) fn clippy() -> Result<()> {
    shell::step("clippy");
    let mut args = vec!["clippy", "--locked", "--workspace", "--all-targets"];
    let ours = concat!(env!("CARGO_PKG_RUST_VERSION"), ".");
    if shell::rustc_release()?.starts_with(ours) {
        args.extend(["--", "--deny", "warnings"]);
    } else {
        println!("this is not Rust {ours}x: warnings are shown and do not fail");
    }
    shell::run(&mut shell::cargo(args)?)
}
