//! `cargo xtask bench`: figures, never a gate.

use crate::{Consent, lab, run, setup, shell};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use testbed::tools::{FIREWALLS, REDIS};

/// The suites there are.
pub(crate) const SUITES: [&str; 10] = [
    "api",
    "bettercap",
    "detect",
    "fleet",
    "intel",
    "kernel",
    "lists",
    "outside",
    "pipeline",
    "respond",
];

/// One figure, as `--json` writes it.
#[derive(Debug, Deserialize, Serialize)]
struct Figure {
    suite: String,
    name: String,
    value: f64,
    unit: String,
    /// `lower` or `higher`.
    better: String,
    /// The floor of the same run, where there is one.
    #[serde(default)]
    floor: Option<f64>,
    /// Value over floor.
    #[serde(default)]
    ratio: Option<f64>,
}

pub(crate) fn run(consent: Consent, suites: &[String], json: Option<&Path>) -> Result<()> {
    let wanted: Vec<&str> = if suites.is_empty() {
        SUITES.to_vec()
    } else {
        suites.iter().map(String::as_str).collect()
    };
    run::build(consent, true)?;
    let scratch = shell::target()?.join("bench");
    std::fs::create_dir_all(&scratch)?;
    let mut figures = Vec::new();
    for suite in wanted {
        if suite == "kernel" {
            setup::optional(consent, FIREWALLS, "to compare with")?;
        }
        if suite == "intel" {
            setup::optional(consent, &[REDIS], "to measure a shared cache")?;
        }
        if suite == "fleet" {
            setup::optional(consent, &[REDIS], "to measure what nodes tell each other")?;
        }
        shell::step(&format!("benchmark {suite}"));
        let out = scratch.join(format!("{suite}.json"));
        if !matches!(suite, "outside" | "respond") {
            figures.extend(figures_of(&out, || cargo_bench(suite, &out))?);
        }
        match suite {
            "outside" | "respond" => figures.extend(figures_of(&out, || lab::respond(consent, suite, &out))?),
            "pipeline" => {
                figures.extend(figures_of(&out, || lab::live(consent, "pipeline", &out))?);
                figures.extend(figures_of(&out, || lab::live(consent, "flood", &out))?);
            }
            _ => {}
        }
    }
    print(&figures);
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_vec_pretty(&figures)?).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Runs what writes `out`, and reads it.
fn figures_of(out: &Path, run: impl FnOnce() -> Result<()>) -> Result<Vec<Figure>> {
    // What an earlier run left must not pass for this one's figures.
    let _ = std::fs::remove_file(out);
    run()?;
    let text = std::fs::read_to_string(out).with_context(|| out.display().to_string())?;
    serde_json::from_str(&text).with_context(|| out.display().to_string())
}

/// Builds as the user; the kernel suite needs root to load programs.
fn cargo_bench(suite: &str, out: &Path) -> Result<()> {
    let mut bench = shell::cargo([
        "bench",
        "--locked",
        "--package",
        "sentinel",
        "--bench",
        suite,
        "--",
        "--json",
    ])?;
    bench.arg(out);
    if matches!(suite, "kernel" | "lists") && !shell::is_root() {
        let runner = format!(
            "CARGO_TARGET_{}_RUNNER",
            shell::host()?.to_uppercase().replace('-', "_")
        );
        bench.env(runner, "sudo --");
    }
    shell::run(&mut bench)
}

fn print(figures: &[Figure]) {
    let width = figures
        .iter()
        .map(|f| f.suite.len() + f.name.len() + 1)
        .max()
        .unwrap_or(0);
    println!(
        "\n{:<width$}  {:>12} {:<12}   floor or goal (ratio)",
        "figure", "value", "unit"
    );
    for f in figures {
        let name = format!("{}/{}", f.suite, f.name);
        let floor = f.floor.map_or(String::new(), |floor| {
            format!("   {floor:.1} (×{:.2})", f.ratio.unwrap_or(f.value / floor))
        });
        let places = if f.value.abs() < 10.0 { 2 } else { 1 };
        println!("{name:<width$}  {:>12.places$} {:<12}{floor}", f.value, f.unit);
    }
}
