//! `sentinel model calibrate`.

use super::gather::{Captured, gather, pairs, tell};
use crate::cli::Global;
use crate::cli::exit::Failure;
use crate::cli::output::{Format, Output};
use crate::cli::table::Table as Shown;
use crate::model::conformal::Threshold;
use crate::model::{Model, Variant};
use crate::train::{calibrate, file};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Tables of the site's flows, the traffic log among them; rows labelled as attacks are left out, those without a label
    /// count as benign
    #[arg(long, required_unless_present = "pcap", num_args = 1.., value_name = "FILE")]
    benign: Vec<PathBuf>,
    /// Captures of the site's traffic; all of it is benign, but for what --truth knows
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pcap: Vec<PathBuf>,
    /// Attacks to leave out, for each --pcap in order: a line of JSON each, family, ip, t0 and t1 in unix seconds
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "pcap")]
    truth: Vec<PathBuf>,
    /// Shares of benign flows that may be suspicious and flagged
    #[arg(long, value_delimiter = ',', num_args = 1, default_values_t = [0.01, 0.001])]
    alpha: Vec<f64>,
    /// Weight of the site's flows in the forest's leaves, in terms of the benign training rows; 0 leaves the forest
    #[arg(long, value_name = "SHARE", default_value_t = calibrate::SHARE)]
    adapt: f64,
    /// The model with the site's thresholds [default: beside the model, ending in .site.model]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let output: &Output = &global.output();
    let [suspicious, flag] = args.alpha[..] else {
        return Err(Failure::Usage(format!(
            "--alpha takes two shares, for suspicious and flag, such as 0.01,0.001; {} given",
            args.alpha.len()
        )));
    };
    let (model, _) = file::read_model(&args.model)?;
    let captures: Vec<Captured<'_>> = if args.truth.is_empty() {
        args.pcap.iter().map(|path| (path.as_path(), None)).collect()
    } else {
        pairs(&args.pcap, &args.truth)?
    };
    let table = gather(global, &args.benign, &captures, true)?;
    let done = calibrate::calibrate(&model, &table, [suspicious, flag], args.adapt)?;
    let model = Model::new(done.record)?;
    if let Some(level) = model.scorer(Variant::Both).levels().iter().find(|_| none_set(&model)) {
        return Err(anyhow::anyhow!(
            "{} benign flows set no level: alpha {} needs {} more; collect them, or ask for a larger alpha",
            level.benign,
            level.alpha,
            level.missing
        )
        .into());
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.model.with_extension("site.model"));
    file::write(&out, &model.encode()?)?;
    if output.format() == Format::Json {
        output.json(&json!({
            "model": out, "sha256": crate::types::hex(model.sha256()), "benign": done.benign, "left_out": done.left_out,
            "rows_left_out": table.left_out,
            "levels": levels_json(&model),
        }));
        return Ok(());
    }
    output.line(&format!(
        "Thresholds by {} benign flows are in {}.",
        done.benign,
        out.display()
    ));
    if done.left_out > 0 {
        output.line(&format!("{} rows labelled as attacks were left out.", done.left_out));
    }
    tell(output, &table.left_out);
    show_levels(output, &model);
    Ok(())
}

fn none_set(model: &Model) -> bool {
    model
        .scorer(Variant::Both)
        .levels()
        .iter()
        .all(|level| level.score.is_none())
}

/// Levels of both variants, for scripts.
pub(super) fn levels_json(model: &Model) -> serde_json::Value {
    let of = |variant: Variant| {
        let [suspicious, flag] = model.scorer(variant).levels();
        json!({ "suspicious": suspicious, "flag": flag })
    };
    json!({ "both": of(Variant::Both), "ingress": of(Variant::Ingress) })
}

/// Levels of both variants, for people.
pub(super) fn show_levels(output: &Output, model: &Model) {
    let mut shown = Shown::new(&["Sees", "Level", "Alpha", "Threshold", "Benign flows", "Note"]);
    for variant in Variant::ALL {
        let names = ["suspicious", "flag"];
        for (name, level) in names.iter().zip(model.scorer(variant).levels()) {
            let Threshold {
                alpha,
                score,
                benign,
                missing,
            } = *level;
            let note = match score {
                Some(_) => String::new(),
                None => format!("never reached: {missing} more benign flows are needed"),
            };
            shown.row([
                variant.as_str().to_owned(),
                (*name).to_owned(),
                alpha.to_string(),
                score.map_or("–".into(), |score| format!("{score:.4}")),
                benign.to_string(),
                note,
            ]);
        }
    }
    output.table(&shown);
}
