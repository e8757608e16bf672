//! Completion scripts and manual pages, from the command line's own definition.

use super::exit::Failure;
use anyhow::Context;
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Where to write them
    directory: PathBuf,
}

pub(super) fn completions(command: &mut clap::Command, args: &Completions) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "sentinel", &mut script);
    // Written at once, so that a reader that goes away is no panic.
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), &script);
}

pub(super) fn man(command: clap::Command, args: &Man) -> Result<(), Failure> {
    let there = || args.directory.display().to_string();
    std::fs::create_dir_all(&args.directory).with_context(there)?;
    clap_mangen::generate_to(command, &args.directory).with_context(there)?;
    Ok(())
}
