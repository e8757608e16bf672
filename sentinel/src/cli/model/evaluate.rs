//! `sentinel model evaluate`.

use crate::cli::Global;
use crate::cli::exit::Failure;
use crate::cli::output::{Format, Output, escape_line};
use crate::cli::progress::Progress;
use crate::cli::table::Table as Shown;
use crate::model::Variant;
use crate::train::evaluate::{Evaluation, Slice, judge};
use crate::train::{Rows, Table, file, plot};
use clap::ValueEnum;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Tables of labelled flows that it was not trained on, the traffic log among them; repeatable. Rows without a label are
    /// left out
    #[arg(long, required_unless_present = "pcap", num_args = 1.., value_name = "FILE")]
    features: Vec<PathBuf>,
    /// A capture: which of its attacks are told of, when, by which detector, and who is accused falsely
    #[arg(long, value_name = "FILE", requires = "truth", conflicts_with = "features")]
    pcap: Option<PathBuf>,
    /// The capture's attacks, a line of JSON each: family, ip, t0 and t1 in unix seconds
    #[arg(long, value_name = "FILE", requires = "pcap")]
    truth: Option<PathBuf>,
    /// What to tell apart
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [By::Family])]
    by: Vec<By>,
    /// Which directions count
    #[arg(long, value_enum, default_value_t = Sees::Both)]
    sees: Sees,
    /// Everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Curves and matrices as SVG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Labels and families
    Family,
    /// Where flows came from
    Origin,
}

/// Directions of traffic.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Sees {
    /// What comes in and what goes out
    Both,
    /// Only what comes in
    Ingress,
}

impl From<Sees> for Variant {
    fn from(sees: Sees) -> Self {
        match sees {
            Sees::Both => Self::Both,
            Sees::Ingress => Self::Ingress,
        }
    }
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let output = &global.output();
    let (model, _) = file::read_model(&args.model)?;
    if let (Some(capture), Some(truth)) = (&args.pcap, &args.truth) {
        return super::events::run(global, args.json.as_deref(), model, capture, truth);
    }
    let table = read(&args.features)?;
    let judging = Progress::waiting("Judging the flows");
    let scorer = model.scorer(args.sees.into());
    let figures = Evaluation::of(&judge(scorer, &table), scorer.levels().map(|level| level.score))?;
    drop(judging);
    let told = json!({
        "model": args.model, "sha256": crate::types::hex(model.sha256()), "variant": scorer.variant(),
        "calibrated_for_a_site": model.record().description.site.is_some(), "rows_left_out": table.left_out,
        "figures": figures,
    });
    if let Some(path) = &args.json {
        file::write(path, serde_json::to_string_pretty(&told)?.as_bytes())?;
    }
    if let Some(directory) = &args.plots {
        std::fs::create_dir_all(directory).map_err(|error| anyhow::anyhow!("{}: {error}", directory.display()))?;
        for (name, svg) in plot::plots(&figures) {
            file::write(&directory.join(name), svg.as_bytes())?;
        }
    }
    if output.format() == Format::Json {
        output.json(&told);
        return Ok(());
    }
    output.line(&format!(
        "{} flows, {} of them benign: ROC AUC {:.4}, PR AUC {:.4}, calibration error {:.4}; of 10,000 benign sources \
         {:.0} would be blocked",
        figures.rows,
        figures.benign,
        figures.roc_auc,
        figures.pr_auc,
        figures.calibration_error,
        figures.benign_sources_blocked_per_10000
    ));
    super::gather::tell(output, &table.left_out);
    show_points(output, &figures);
    if args.by.contains(&By::Family) {
        slices(output, &figures, &figures.labels);
        families(output, &figures);
    }
    if args.by.contains(&By::Origin) {
        slices(output, &figures, &figures.origins);
        cross(output, &figures);
    }
    Ok(())
}

fn read(files: &[PathBuf]) -> Result<Table, Failure> {
    let progress = Progress::reading("Reading", files.iter().map(PathBuf::as_path));
    let mut rows = Rows::default().with_meter(progress.meter());
    for file in files {
        rows.file(file)?;
    }
    Ok(rows.finish())
}

/// The table of thresholds.
pub(super) fn show_points(output: &Output, figures: &Evaluation) {
    let mut shown = Shown::new(&[
        "At",
        "Threshold",
        "Accuracy",
        "Balanced",
        "Precision",
        "Recall",
        "F1",
        "Macro recall",
        "FPR",
        "95 %",
    ]);
    for p in &figures.points {
        let four = |value: f64| format!("{value:.4}");
        shown.row([
            p.name.clone(),
            format!("{:.3}", p.threshold),
            four(p.accuracy),
            four(p.balanced_accuracy),
            four(p.precision),
            four(p.recall),
            four(p.f1),
            four(p.macro_recall),
            four(p.fpr),
            format!("{:.4}–{:.4}", p.fpr_low, p.fpr_high),
        ]);
    }
    output.table(&shown);
}

fn slices(output: &Output, figures: &Evaluation, slices: &[Slice]) {
    let names: Vec<_> = figures.points.iter().map(|point| point.name.as_str()).collect();
    output.line(&format!("\nShare above: {}", names.join(" · ")));
    let mut shown = Shown::new(&["Name", "Flows", "Shares"]);
    for slice in slices {
        let shares: Vec<_> = slice.above.iter().map(|share| format!("{share:.3}")).collect();
        shown.row([slice.name.clone(), slice.rows.to_string(), shares.join("  ")]);
    }
    output.table(&shown);
}

fn families(output: &Output, figures: &Evaluation) {
    output.line("\nCalled, at the level suspicious:");
    let mut shown = Shown::new(&["Family", "Flows", "Precision", "Recall", "F1", "Called"]);
    for f in &figures.families {
        let names = &figures.confusion_names;
        let row = names.iter().position(|name| *name == f.family).unwrap_or(0);
        let called = names
            .iter()
            .zip(&figures.confusion[row])
            .filter(|(_, count)| **count > 0);
        let called: Vec<_> = called.map(|(name, count)| format!("{count} {name}")).collect();
        let three = |value: f64| format!("{value:.3}");
        shown.row([
            f.family.to_owned(),
            f.rows.to_string(),
            three(f.precision),
            three(f.recall),
            three(f.f1),
            called.join(", "),
        ]);
    }
    output.table(&shown);
}

fn cross(output: &Output, figures: &Evaluation) {
    let Some(cross) = &figures.cross else { return };
    output.line(&format!(
        "\nRecall of each origin's attacks where {} % of another's benign flows set the threshold:",
        cross.alpha * 100.0
    ));
    for (attacks, recall) in cross.attacks.iter().zip(&cross.recall) {
        let cells: Vec<_> = cross
            .benign
            .iter()
            .zip(recall)
            .map(|(name, share)| format!("{name} {share:.3}"))
            .collect();
        output.line(&escape_line(&format!("  {attacks}: {}", cells.join(", "))));
    }
}
