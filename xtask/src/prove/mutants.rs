//! Code that is broken in one place after another: how much of it the tests find.

use super::record::Figure;
use crate::tools::MUTANTS;
use crate::{Consent, ebpf, shell};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// What is broken: the room, the files, the package and the tests that are asked.
const ROOMS: &[(&str, &str, &str, &[&str])] = &[
    ("parser", "sentinel-common/src/packet/*.rs", "sentinel-common", &[]),
    (
        "guards",
        "sentinel/src/decide/guards.rs",
        "sentinel",
        &["--lib", "decide::"],
    ),
    ("decide", "sentinel/src/decide/*.rs", "sentinel", &["--lib", "decide::"]),
    ("store", "sentinel/src/store/*.rs", "sentinel", &["--lib", "store::"]),
];

/// `count` mutants of each room, drawn by `seed`; all where there are fewer.
pub(super) fn prove(consent: Consent, count: u64, seed: u64) -> Result<Vec<Figure>> {
    let tool = MUTANTS.ensure(consent)?;
    let root = ebpf::root()?;
    let out = shell::target()?.join("mutants");
    let mut figures = Vec::new();
    for (room, files, package, tests) in ROOMS {
        shell::step(&format!("mutants of {room}"));
        let all = listed(&tool, &root, files, package)?;
        // A shard of as many as wanted: every so-manieth, beginning at one the seed draws.
        let shards = all.div_ceil(count.max(1)).max(1);
        let dir = out.join(room);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        let mut command = Command::new(&tool);
        command.args([
            "mutants",
            "--package",
            package,
            "--file",
            files,
            "--in-place",
            "--no-shuffle",
        ]);
        command.args([
            "--shard",
            &format!("{}/{shards}", seed % shards),
            "--sharding",
            "round-robin",
        ]);
        command
            .args(["--baseline", "skip", "--timeout", "300", "--output"])
            .arg(&dir);
        if tests.contains(&"--lib") {
            // Or all else that tests the package is built as well, each time.
            command.arg("--cargo-arg=--lib");
        }
        command.args(["--", "--quiet"]).args(*tests).current_dir(&root);
        // Exit codes 2 and 3 say that some were missed or timed out, which is what is counted.
        let status = command.status().context("cargo-mutants cannot be run")?;
        anyhow::ensure!(
            matches!(status.code(), Some(0 | 2 | 3)),
            "cargo-mutants failed ({status})"
        );
        figures.extend(counted(room, &dir.join("mutants.out/outcomes.json"))?);
    }
    Ok(figures)
}

fn listed(tool: &Path, root: &Path, files: &str, package: &str) -> Result<u64> {
    let mut command = Command::new(tool);
    command.args(["mutants", "--list", "--package", package, "--file", files]);
    let told = command.current_dir(root).output()?;
    Ok(String::from_utf8_lossy(&told.stdout).lines().count() as u64)
}

fn counted(room: &str, outcomes: &Path) -> Result<Vec<Figure>> {
    let text = std::fs::read_to_string(outcomes).with_context(|| outcomes.display().to_string())?;
    let told: Value = serde_json::from_str(&text)?;
    let of = |name: &str| told[name].as_f64().unwrap_or(0.0);
    let (caught, missed) = (of("caught") + of("timeout"), of("missed"));
    let figure = |name: &str, value: f64, unit: &str| Figure {
        name: format!("{room}: {name}"),
        value,
        unit: unit.to_owned(),
    };
    Ok(vec![
        figure("found", caught, ""),
        figure("missed", missed, ""),
        figure(
            "found of those that compile",
            100.0 * caught / (caught + missed).max(1.0),
            "%",
        ),
    ])
}
