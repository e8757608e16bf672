//! `sentinel model evaluate --pcap`: attacks told of, and false accusations.

use crate::cli::Global;
use crate::cli::exit::Failure;
use crate::cli::output::{Format, Output, escape_line};
use crate::cli::progress::Progress;
use crate::cli::table::Table as Shown;
use crate::dataset::{EventFigures, FamilyFigures, Truth, watch};
use crate::model::{Model, number};
use crate::train::file;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(super) fn run(
    global: &Global,
    json: Option<&Path>,
    model: Model,
    capture: &Path,
    truth: &Path,
) -> Result<(), Failure> {
    let output = global.output();
    let calibrated = model.record().description.site.is_some();
    let sha256 = crate::types::hex(model.sha256());
    let (config, truth) = (global.load()?, Truth::read(truth)?);
    let progress = Progress::reading("Judging", [capture]);
    let figures = watch(&config, Some(Arc::new(model)), capture, &truth, &progress.meter())?;
    drop(progress);
    let told = json!({ "model_sha256": sha256, "calibrated_for_a_site": calibrated, "figures": figures });
    if let Some(path) = json {
        file::write(path, serde_json::to_string_pretty(&told)?.as_bytes())?;
    }
    if output.format() == Format::Json {
        output.json(&told);
        return Ok(());
    }
    if !calibrated {
        output.line(
            "The model has no thresholds of this network, so it says nothing: `sentinel model calibrate` sets them.",
        );
    }
    show(&figures, &output);
    Ok(())
}

fn show(figures: &EventFigures, output: &Output) {
    let mut shown = Shown::new(&[
        "Family",
        "Attacks",
        "Found",
        "By the model",
        "Median s",
        "p95 s",
        "Detectors",
    ]);
    for family in figures.families.iter().chain([&figures.all]) {
        let FamilyFigures {
            family,
            events,
            found,
            found_by_model,
            median_s,
            p95_s,
            detectors,
        } = family;
        let seconds = |s: &Option<f64>| s.map_or("-".into(), |s| format!("{s:.1}"));
        let detectors: Vec<_> = detectors.iter().copied().collect();
        shown.row([
            escape_line(family),
            events.to_string(),
            found.to_string(),
            found_by_model.to_string(),
            seconds(median_s),
            seconds(p95_s),
            detectors.join(" "),
        ]);
    }
    output.table(&shown);
    for missed in &figures.missed {
        output.line(&escape_line(&format!(
            "Not found: {} by {}, from {} on for {:.1} s.",
            missed.family, missed.ip, missed.began, missed.lasted_s
        )));
    }
    for wrong in &figures.wrong {
        output.line(&escape_line(&format!(
            "False, of {} at {}: {}",
            wrong.detector, wrong.at, wrong.summary
        )));
    }
    let each = |alerts: &BTreeMap<&'static str, usize>| {
        let each: Vec<_> = alerts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        if each.is_empty() {
            "none".to_owned()
        } else {
            each.join(", ")
        }
    };
    if !figures.late_alerts.is_empty() {
        output.line(&format!(
            "Late, about an attacker within six minutes after an attack, which count for nothing: {}.",
            each(&figures.late_alerts)
        ));
    }
    output.line(&format!(
        "False alerts: {}; {} in 100 host-hours ({} hosts, {:.2} h). Falsely accused: {}, {} of them by evidence that \
         blocks ({} of 10,000 hosts).",
        each(&figures.false_alerts),
        number(figures.per_100_host_hours),
        figures.hosts,
        figures.hours,
        figures.falsely_accused.len(),
        figures.falsely_blocked,
        number(figures.blocked_per_10000),
    ));
}
