//! `cargo xtask lint`: what needs no test run.

use crate::{shell, tidy};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    format()?;
    clippy()?;
    shell::step("tidy");
    tidy::run()?;
    deny()
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

/// The checks of cargo-deny that need no network.
fn deny() -> Result<()> {
    shell::step("cargo-deny (offline)");
    if !shell::succeeds("cargo-deny", &["--version"]) {
        println!("skipped: cargo-deny is not installed; `cargo install --locked cargo-deny` adds it");
        return Ok(());
    }
    shell::run(&mut shell::cargo([
        "deny",
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ])?)
}
