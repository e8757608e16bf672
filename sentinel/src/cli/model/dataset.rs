//! `sentinel model dataset`: the feature table of a directory of labelled captures.

use crate::cli::Global;
use crate::cli::exit::Failure;
use crate::cli::output::{Format, escape_line};
use crate::dataset::{self, Summary, Table};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where they are: with labels.csv (file,label,family,attackers,group,origin), or captures beside attacks.jsonl,
    /// with cli.ips and atk.ips where the hosts are known
    directory: PathBuf,
    /// The table: CSV, compressed where the name ends in .gz
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// At most so many rows of each group and family, drawn the same way every time
    #[arg(long, value_name = "N")]
    max_rows_per_group_family: Option<usize>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let config = global.load()?;
    let table = Table::new(&args.out, args.max_rows_per_group_family)?;
    let summary = dataset::directory(&config, &args.directory, table)?;
    report(global, &args.out, &summary);
    if summary.unreadable.is_empty() {
        return Ok(());
    }
    Err(Failure::Runtime(anyhow::anyhow!(
        "{} captures gave no rows; mend them or take them off the list (rows of the others are in {})",
        summary.unreadable.len(),
        args.out.display()
    )))
}

/// Says what became of the captures.
pub(super) fn report(global: &Global, out: &Path, summary: &Summary) {
    let output = global.output();
    if output.format() == Format::Json {
        output.json(summary);
        return;
    }
    for (name, fault) in summary.broken.iter().chain(&summary.unreadable) {
        eprintln!("warning: {}", escape_line(&format!("{name}: {fault}")));
    }
    let kept: u64 = summary.families.values().map(|(_, kept)| kept).sum();
    output.line(&format!(
        "{}: {kept} rows of {} captures ({} broken off, {} unreadable); {} packets, {} not read; {} rows left out for \
         want of a label; {} evictions",
        escape_line(&out.display().to_string()),
        summary.captures + summary.broken.len() as u64,
        summary.broken.len(),
        summary.unreadable.len(),
        summary.packets,
        summary.unread,
        summary.unlabelled,
        summary.evictions,
    ));
    for (family, (came, kept)) in &summary.families {
        output.line(&format!("  {:<16}{kept:>9} of {came}", escape_line(family)));
    }
}
