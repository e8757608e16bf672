//! `cargo xtask run`: from a checkout to a running agent.

use crate::{Consent, ebpf, setup, shell};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// Builds the kernel object and the agent with it.
///
/// # Errors
/// When a tool is missing and may not be installed, or a build fails.
pub(crate) fn build(consent: Consent, release: bool) -> Result<PathBuf> {
    setup::compiler()?;
    object(consent)?;
    shell::step(if release {
        "agent (release; the first time takes minutes)"
    } else {
        "agent"
    });
    let mut args = vec!["build", "--locked", "--package", "sentinel", "--bin", "sentinel"];
    args.extend(release.then_some("--release"));
    shell::run(&mut shell::cargo(args)?)?;
    Ok(shell::target()?
        .join(if release { "release" } else { "debug" })
        .join("sentinel"))
}

/// Builds the kernel object.
///
/// # Errors
/// As [`build`].
pub(crate) fn object(consent: Consent) -> Result<()> {
    shell::step("kernel programs");
    ebpf::build(ebpf::Options {
        yes: consent.yes,
        ..Default::default()
    })?;
    Ok(())
}

pub(crate) fn run(consent: Consent, args: &[String]) -> Result<()> {
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
