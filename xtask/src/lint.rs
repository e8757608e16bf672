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

pub(crate) fn clippy() -> Result<()> {
    shell::step("clippy");
    let args = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
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
