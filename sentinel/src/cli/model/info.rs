//! `sentinel model info`.

use crate::cli::exit::Failure;
use crate::cli::output::{Format, Output, escape_line};
use crate::cli::table::Table as Shown;
use crate::model::{Model, Variant};
use crate::train::file;
use crate::types::hex;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
}

pub(super) fn run(output: &Output, args: &Args) -> Result<(), Failure> {
    let (model, bytes) = file::read_model(&args.model)?;
    let record = model.record();
    let description = &record.description;
    if output.format() == Format::Json {
        output.json(&json!({
            "sha256": hex(model.sha256()), "bytes": bytes, "format": model.format(),
            "schema": { "version": record.schema.version, "digest": hex(&record.schema.digest), "width": record.schema.width },
            "training": { "digest": hex(&description.training), "rows": description.rows, "seed": description.seed,
                "origins": description.origins, "parameters": pairs(&description.parameters) },
            "metrics": pairs(&description.metrics),
            "site": description.site.map(|sum| hex(&sum)),
            "levels": super::calibrate::levels_json(&model),
            "discounts": Variant::ALL.map(|variant| {
                let scorer = model.scorer(variant);
                json!({ "sees": variant, "log_odds": scorer.discounts().collect::<BTreeMap<_, _>>() })
            }),
        }));
        return Ok(());
    }
    let (trees, vectors) = model.scorer(Variant::Both).size();
    let families: Vec<_> = model.scorer(Variant::Both).families().collect();
    let site = match &description.site {
        Some(sum) => format!("thresholds set by a site's benign flows ({})", &hex(sum)[..16]),
        None => "thresholds are those of the training networks: not calibrated for this one".into(),
    };
    let lines = [
        ("sha256", hex(model.sha256())),
        (
            "size",
            format!("{:.2} MB, format {}", bytes as f64 / 1e6, model.format()),
        ),
        (
            "schema",
            format!("version {}, {} features", record.schema.version, record.schema.width),
        ),
        (
            "training",
            format!("{} rows, digest {}", description.rows, hex(&description.training)),
        ),
        ("seed", description.seed.to_string()),
        (
            "parts",
            format!(
                "{trees} trees, {vectors} support vectors; families: {}",
                families.join(", ")
            ),
        ),
        ("site", site),
    ];
    for (name, value) in lines {
        output.line(&format!("  {name:<10}{}", escape_line(&value)));
    }
    super::calibrate::show_levels(output, &model);
    show_discounts(output, &model);
    let mut shown = Shown::new(&["Origin", "Licence", "Published", "Rows"]);
    for origin in &description.origins {
        let rows: Vec<_> = origin
            .rows
            .iter()
            .map(|(label, count)| format!("{count} {label}"))
            .collect();
        shown.row([
            origin.name.clone(),
            origin.licence.clone(),
            origin.source.clone(),
            rows.join(", "),
        ]);
    }
    output.table(&shown);
    let mut shown = Shown::new(&["On held-out rows", "Value"]);
    for (name, value) in &description.metrics {
        shown.row([name.clone(), format!("{value:.4}")]);
    }
    output.table(&shown);
    Ok(())
}

/// What a score has to be more, where a flow is like this: while nothing is known of the network.
fn show_discounts(output: &Output, model: &Model) {
    let mut shown = Shown::new(&["Sees", "Like", "Taken off the score's log-odds"]);
    for variant in Variant::ALL {
        for (name, off) in model.scorer(variant).discounts() {
            shown.row([variant.as_str().into(), name.into(), format!("{off:.2}")]);
        }
    }
    if !shown.is_empty() {
        output.table(&shown);
    }
}

fn pairs<T: serde::Serialize + Clone>(pairs: &[(String, T)]) -> serde_json::Value {
    pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}
