//! `sentinel model`: from captures to tables, from tables to models.

mod dataset;
mod features;

use super::Global;
use super::exit::Failure;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The feature table of a capture, by the code that runs live
    Features(features::Args),
    /// The feature table of a directory of labelled captures
    Dataset(dataset::Args),
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Features(args) => features::run(global, args),
        Command::Dataset(args) => dataset::run(global, args),
    }
}
