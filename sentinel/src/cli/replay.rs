//! `sentinel replay`: a capture through the same pipeline.

use super::Global;
use super::exit::Failure;
use super::output::{Format, escape_line};
use super::progress::Progress;
use crate::app;
use crate::replay::{self, ReplayError, Speed, Summary};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The capture: pcap or pcapng
    file: PathBuf,
    /// Folder for eve.json, decisions.json and summary.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How fast
    #[arg(long, value_enum, default_value_t = Pace::Max)]
    speed: Pace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pace {
    /// As fast as it goes
    Max,
    /// At the pace of the capture
    Real,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    let model = app::judging_model(&config)?.map(|judging| judging.model);
    let speed = match args.speed {
        Pace::Max => Speed::Max,
        Pace::Real => Speed::Real,
    };
    let progress = Progress::reading("Replaying", [args.file.as_path()]);
    let outcome = replay::run(&config, model, &args.file, &args.out, speed, &progress.meter());
    drop(progress);
    let summary = match &outcome {
        Ok(summary) => summary,
        Err(ReplayError::Broken { summary, .. }) => summary,
        Err(_) => return outcome.map(|_| ()).map_err(Failure::from),
    };
    if output.format() == Format::Json {
        output.json(summary);
    } else {
        output.line(&escape_line(&sentence(summary)));
        output.line(&format!("Results are in {}.", args.out.display()));
    }
    outcome.map(|_| ()).map_err(Failure::from)
}

fn sentence(summary: &Summary) -> String {
    let count = |counts: &std::collections::BTreeMap<&str, u64>| {
        let parts: Vec<_> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    };
    let decisions: Vec<_> = summary
        .decisions
        .iter()
        .map(|(status, n)| format!("{n} {status}"))
        .collect();
    format!(
        "{}: {} packets, {} flows; alerts: {}; decisions: {}",
        summary.file,
        summary.packets,
        summary.flows,
        count(&summary.alerts),
        if decisions.is_empty() {
            "none".to_owned()
        } else {
            decisions.join(", ")
        },
    )
}
