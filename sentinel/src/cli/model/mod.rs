//! `sentinel model`: from captures to tables, from tables to models, and what a model is worth.

mod calibrate;
mod dataset;
mod drift;
mod evaluate;
mod events;
mod explain;
mod features;
mod gather;
mod info;
#[cfg(test)]
mod tests;
mod train;

use super::Global;
use super::exit::Failure;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The feature table of a capture, by the code that runs live
    Features(features::Args),
    /// The feature table of a directory of labelled captures
    Dataset(dataset::Args),
    /// Trains a model from feature tables and labelled captures and writes it with its card
    Train(train::Args),
    /// What a model is worth on labelled flows it has not seen
    Evaluate(evaluate::Args),
    /// Sets a model's thresholds by a site's own benign flows
    Calibrate(calibrate::Args),
    /// What a model is: card, thresholds, digests
    Info(info::Args),
    /// Whether traffic is still what a model's thresholds were set by
    Drift(drift::Args),
    /// Why a row of a table gets its score
    Explain(explain::Args),
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    match command {
        Command::Features(args) => features::run(global, args),
        Command::Dataset(args) => dataset::run(global, args),
        Command::Train(args) => train::run(global, args),
        Command::Evaluate(args) => evaluate::run(global, args),
        Command::Calibrate(args) => calibrate::run(global, args),
        Command::Info(args) => info::run(&output, args),
        Command::Drift(args) => drift::run(&output, args),
        Command::Explain(args) => explain::run(&output, args),
    }
}
