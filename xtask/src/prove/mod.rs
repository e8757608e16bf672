//! `cargo xtask prove`: what `cargo xtask test` shows in small, at length, with its result written down.
//!
//! In: the name of a proof, how many, which seed. Out: its figures on the terminal and, with `--record`, in
//! `docs/proofs/NAME.json` beside date, commit, machine and, where anything is drawn, seed. Invariant: a result is only recorded of a run that ended
//! well, from a tree without changes. Deliberately elsewhere: what is shown, which is a test like any other, told by its
//! environment how long to go on; it says `figure: NAME = VALUE UNIT` for each figure.

mod mutants;
pub(crate) mod page;
mod record;
mod reproducible;
mod table;

use crate::{Consent, run, setup, shell};
use anyhow::{Context, Result, bail, ensure};
pub(crate) use record::Figure;
use record::Record;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use table::{PROOFS, Proof, Way};

/// How one run is wished for.
#[derive(clap::Args, Debug)]
pub(crate) struct Wish {
    /// Which; without one, those there are are listed (with `--record`, the page is made to show what was recorded)
    name: Option<String>,
    /// How many; what the proof is about by default
    #[arg(long)]
    count: Option<u64>,
    /// Which; another on every run by default, and told
    #[arg(long)]
    seed: Option<u64>,
    /// Write the result to docs/proofs, with date, commit and machine
    #[arg(long)]
    record: bool,
}

/// Runs a proof.
///
/// # Errors
/// When there is no such proof, it fails, or its result cannot be recorded.
pub(crate) fn run(consent: Consent, wish: &Wish) -> Result<()> {
    let Some(name) = &wish.name else {
        list();
        if wish.record {
            page::write(&crate::ebpf::root()?)?;
        }
        return Ok(());
    };
    let Some(proof) = PROOFS.iter().find(|proof| proof.name == name) else {
        list();
        bail!("there is no proof `{name}`");
    };
    let commit = record::commit()?;
    ensure!(
        !wish.record || !commit.ends_with("-dirty"),
        "there are changes that are not committed; a record names the commit that was proven"
    );
    let count = wish.count.unwrap_or(proof.count);
    let seed = wish.seed.unwrap_or_else(record::any_seed);
    let drawn = record::told(proof.draws().then_some(seed));
    shell::step(&format!("{}: {count} {}{drawn}", proof.name, proof.unit));
    let began = Instant::now();
    let figures = match &proof.way {
        Way::Test(test) => {
            shell::can_elevate()?;
            setup::tools_of_tests(consent)?;
            // Tests that run the agent run the one that is built beside them.
            if test.package == "sentinel-tests" {
                run::build(consent, test.release)?;
            } else {
                run::kernel_programs(consent)?;
            }
            let mut command = table::command(test, count, seed)?;
            crate::test::as_root(&mut command)?;
            watch(&mut command)?
        }
        Way::Own(prove) => prove(consent, count, seed)?,
    };
    let record = Record::new(proof, count, seed, commit, began.elapsed(), figures)?;
    println!("\n{record}");
    if wish.record {
        println!("\nwritten to {}", record.keep()?.display());
        page::write(&crate::ebpf::root()?)?;
    }
    Ok(())
}

fn list() {
    let width = PROOFS.iter().map(|proof| proof.name.len()).max().unwrap_or(0);
    for Proof {
        name,
        about,
        count,
        unit,
        ..
    } in PROOFS
    {
        println!("{name:<width$}  {about} ({count} {unit})");
    }
}

/// Runs what says its figures on either output, with all of it shown.
fn watch(command: &mut Command) -> Result<Vec<Figure>> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the proof cannot be run")?;
    let outputs: (_, _) = (child.stdout.take(), child.stderr.take());
    let (Some(out), Some(err)) = outputs else {
        bail!("the proof has no output");
    };
    let beside = std::thread::spawn(move || figures_in(BufReader::new(err), |line| eprintln!("{line}")));
    let mut figures = figures_in(BufReader::new(out), |line| println!("{line}"))?;
    let told = beside
        .join()
        .map_err(|_| anyhow::anyhow!("reading its output failed"))?;
    figures.extend(told?);
    let status = child.wait()?;
    ensure!(status.success(), "it does not hold ({status}); see above");
    ensure!(!figures.is_empty(), "it told no figure, so nothing was shown");
    Ok(figures)
}

fn figures_in(lines: impl BufRead, show: impl Fn(&str)) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in lines.lines() {
        let line = line?;
        show(&line);
        // The harness puts a test's name before the first line it prints.
        if let Some((_, told)) = line.split_once("figure: ") {
            figures.push(told.parse()?);
        }
    }
    Ok(figures)
}
