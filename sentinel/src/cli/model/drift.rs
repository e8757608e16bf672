//! `sentinel model drift`.

use super::evaluate::Sees;
use crate::cli::exit::Failure;
use crate::cli::output::{Format, Output};
use crate::cli::table::Table as Shown;
use crate::train::{Rows, file};
use std::path::PathBuf;

/// Numbers shown.
const MOST: usize = 12;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Tables of newer flows, the traffic log among them; rows labelled as attacks are left out
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    features: Vec<PathBuf>,
    /// Which directions count
    #[arg(long, value_enum, default_value_t = Sees::Both)]
    sees: Sees,
}

pub(super) fn run(output: &Output, args: &Args) -> Result<(), Failure> {
    let (model, _) = file::read_model(&args.model)?;
    let mut rows = Rows::default().all_benign();
    for path in &args.features {
        rows.file(path)?;
    }
    let table = rows.finish();
    let scorer = model.scorer(args.sees.into());
    let mut drift = scorer.drift();
    for (row, vector) in table.rows.iter().zip(&table.vectors) {
        if !row.attack {
            drift.observe(vector, &scorer.verdict(vector));
        }
    }
    let report = drift.report();
    if output.format() == Format::Json {
        output.json(&report);
        return Ok(());
    }
    output.line(&output.strong(&format!(
        "{} benign flows: {}",
        report.flows,
        if report.alarm { "drift" } else { "no drift" }
    )));
    output.line(&report.advice);
    super::gather::tell(output, &table.left_out);
    output.line(&format!(
        "suspicious {:.2} %, flagged {:.2} %",
        report.reached[0] * 100.0,
        report.reached[1] * 100.0
    ));
    let mut shown = Shown::new(&["Number", "PSI"]);
    for moved in report.moved.iter().take(MOST) {
        shown.row([moved.name.to_owned(), format!("{:.3}", moved.psi)]);
    }
    output.table(&shown);
    Ok(())
}
