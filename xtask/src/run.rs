//! `cargo xtask run`: from a checkout to a running agent.

use crate::{Consent, ebpf, setup, shell};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the kernel object.
///
/// # Errors
/// When a tool is missing and may not be installed, or the build fails.
pub(crate) fn kernel_programs(consent: Consent) -> Result<()> {
    shell::step("kernel programs");
    ebpf::build(consent, false).map(drop)
}

/// Builds the kernel object and the agent with it.
///
/// # Errors
/// When a tool is missing and may not be installed, or a build fails.
pub(crate) fn build(consent: Consent, release: bool) -> Result<PathBuf> {
    build_as(consent, release, |_| ())
}

/// The release that is handed to others: no path of this machine is in it.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_to_ship(consent: Consent) -> Result<PathBuf> {
    let root = ebpf::root()?;
    build_as(consent, true, |build| pathless(build, &root))
}

fn build_as(consent: Consent, release: bool, adjust: impl FnOnce(&mut Command)) -> Result<PathBuf> {
    setup::compiler(consent)?;
    kernel_programs(consent)?;
    shell::step(if release {
        "agent (release; the first time takes minutes)"
    } else {
        "agent"
    });
    let mut args = vec!["build", "--locked", "--package", "sentinel", "--bin", "sentinel"];
    args.extend(release.then_some("--release"));
    let mut build = shell::cargo(args)?;
    adjust(&mut build);
    shell::run(&mut build)?;
    Ok(shell::target()?
        .join(if release { "release" } else { "debug" })
        .join("sentinel"))
}

/// Has a build leave no path of this machine in what it makes, so that the same commit is the same bytes everywhere.
pub(crate) fn pathless(build: &mut Command, checkout: &Path) {
    let flags: Vec<String> = ebpf::remaps("--remap-path-prefix", checkout).collect();
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // What is written in C says where its sources were, too.
    let flags: Vec<String> = ebpf::remaps("-ffile-prefix-map", checkout).collect();
    build.env("CFLAGS", flags.join(" "));
}

pub(crate) fn run(consent: Consent, args: &[String]) -> Result<()> {
    shell::can_elevate()?;
    let agent = build(consent, true)?;
    shell::step("sentinel run -c config/settings.yml (Ctrl-C ends it; nothing stays in the kernel)");
    let mut command = shell::elevated(&agent);
    command
        .args(["run", "-c", "config/settings.yml"])
        .args(args)
        .current_dir(ebpf::root()?);
    // The agent takes our place, so that signals and the terminal are its own.
    Err(command.exec()).with_context(|| format!("cannot start {}", agent.display()))
}
