//! The same commit, built twice in different places: the same bytes.

use super::record::Figure;
use crate::{Consent, ebpf, run, setup, shell};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// Builds the commit that is checked out `count` times, each in a clone of its own under another path.
pub(super) fn prove(consent: Consent, count: u64, _seed: u64) -> Result<Vec<Figure>> {
    setup::compiler(consent)?;
    let root = ebpf::root()?;
    let place = shell::target()?.join("reproducible");
    let mut first: Option<Vec<String>> = None;
    let mut differences = 0;
    let _ = std::fs::remove_dir_all(&place);
    for n in 0..count {
        // Paths of different lengths, too.
        let clone = place.join("a".repeat(n as usize + 1)).join("checkout");
        let mut git = Command::new("git");
        git.args(["clone", "--quiet"]).arg(&root).arg(&clone);
        shell::run(&mut git)?;
        // The kernel's linker is the same program, wherever it lies.
        let tools = clone.join("target/tools/bin");
        std::fs::create_dir_all(&tools)?;
        for entry in std::fs::read_dir(root.join("target/tools/bin"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), tools.join(entry.file_name()))?;
        }
        shell::step(&format!("build {} of {count}", n + 1));
        let mut programs = ebpf::own_cargo();
        programs.args(["xtask", "build-ebpf", "--yes"]).current_dir(&clone);
        shell::run(&mut programs)?;
        let mut agent = ebpf::own_cargo();
        agent.args([
            "build",
            "--locked",
            "--release",
            "--package",
            "sentinel",
            "--bin",
            "sentinel",
        ]);
        agent.current_dir(&clone);
        run::pathless(&mut agent, &clone);
        shell::run(&mut agent)?;
        let kept = place.join(format!("build-{}", n + 1));
        std::fs::create_dir_all(&kept)?;
        let mut sums = Vec::new();
        for file in ["target/bpf/sentinel-ebpf.o", "target/release/sentinel"] {
            let file = clone.join(file);
            std::fs::copy(&file, kept.join(file.file_name().context("a file has a name")?))?;
            sums.push(digest(&file)?);
        }
        std::fs::remove_dir_all(&clone)?;
        println!("kernel object {}, agent {}", sums[0], sums[1]);
        match &first {
            None => first = Some(sums),
            Some(known) => differences += known.iter().zip(&sums).filter(|(a, b)| a != b).count(),
        }
    }
    ensure!(
        differences == 0,
        "{differences} of the files differ from those of the first build: all are in {}",
        place.display()
    );
    let _ = std::fs::remove_dir_all(&place);
    Ok(vec![Figure {
        name: "differences".to_owned(),
        value: 0.0,
        unit: "of two files".to_owned(),
    }])
}

fn digest(file: &Path) -> Result<String> {
    let text = shell::says(Command::new("sha256sum").arg(file))?;
    let sum = text.split_whitespace().next().map(str::to_owned);
    sum.with_context(|| format!("no digest of {}", file.display()))
}
