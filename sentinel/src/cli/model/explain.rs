//! `sentinel model explain`.

use super::evaluate::Sees;
use crate::cli::exit::Failure;
use crate::cli::output::{Format, Output};
use crate::model::{Level, Method};
use crate::train::{Table, file};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The table
    #[arg(long, value_name = "FILE")]
    features: PathBuf,
    /// Which row of it, from 1 behind the heading
    #[arg(long)]
    row: usize,
    /// Which directions count
    #[arg(long, value_enum, default_value_t = Sees::Both)]
    sees: Sees,
    /// Contributions shown
    #[arg(long, default_value_t = 8)]
    top: usize,
}

pub(super) fn run(output: &Output, args: &Args) -> Result<(), Failure> {
    let (model, _) = file::read_model(&args.model)?;
    let table = Table::read(std::slice::from_ref(&args.features))?;
    let Some(vector) = args.row.checked_sub(1).and_then(|row| table.vectors.get(row)) else {
        return Err(Failure::Usage(format!(
            "--row {}: the table has rows 1 to {}",
            args.row,
            table.rows.len()
        )));
    };
    let scorer = model.scorer(args.sees.into());
    let told = scorer.explain(vector, Method::TreeShap);
    let verdict = scorer.verdict(vector);
    let [suspicious, flag] = scorer.levels();
    let reached = match verdict.level {
        Level::Benign => None,
        Level::Suspicious => suspicious.score,
        Level::Flag => flag.score,
    };
    let softer = reached.map(|threshold| scorer.counterfactual(vector, threshold));
    if output.format() == Format::Json {
        output.json(&json!({ "verdict": verdict, "explanation": told, "counterfactual": softer.flatten() }));
        return Ok(());
    }
    output.line(&output.strong(&told.summary));
    output.line(&format!("  {:+.3}  before anything is known of the flow", told.base));
    for c in told.contributions.iter().take(args.top) {
        output.line(&format!("  {:+.3}  {}", c.share, c.sentence));
    }
    let rest: f64 = told.contributions.iter().skip(args.top).map(|c| c.share).sum();
    output.line(&format!("  {rest:+.3}  all other features"));
    output.line(&format!("  {:+.3}  {}", told.second.share, told.second.sentence));
    match softer {
        Some(Some(softer)) => output.line(&format!("{}.", softer.sentence)),
        Some(None) => output.line("No change of four features or fewer gives a softer verdict."),
        None => {}
    }
    Ok(())
}
