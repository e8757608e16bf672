//! `sentinel model features`: the feature table of a capture, or of a log of flows.

use super::dataset::report;
use crate::cli::Global;
use crate::cli::exit::Failure;
use crate::dataset::{self, Labels, Session, Table};
use crate::train::labels;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    from: From,
    /// The table: CSV, compressed where the name ends in .gz
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    labels: Given,
    /// What attacks of a log are whose labels do not tell it, such as scan or c2
    #[arg(long, value_name = "FAMILY")]
    attack_family: Option<String>,
    /// At most so many rows of each family
    #[arg(long, value_name = "N")]
    max_rows_per_group_family: Option<usize>,
}

/// What the table is made of.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct From {
    /// The capture: pcap or pcapng, compressed with gzip or not
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// A log of flows instead: Zeek's conn.log (with tabs or JSON) or Argus' binetflow, compressed with gzip or not. Its own
    /// labels count where it has some and nothing else is given. Lengths of single packets are estimates
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    log: Option<PathBuf>,
}

/// What is known of the capture; without any of it, rows have no label.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Given {
    /// Attacks, one a line: {"family", "ip", "t0", "t1"} with unix seconds; the rest is benign, but what attackers did at
    /// other times is left out. Beside it cli.ips (benign hosts) and atk.ips (attackers) count too, where they are
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// A list of captures with this one on it: file,label,family,attackers,group,origin
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Everything in it is benign
    #[arg(long)]
    benign: bool,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let config = global.load()?;
    let labels = match &args.labels {
        Given { truth: Some(path), .. } => Labels::Session(Session::read(path)?),
        Given { labels: Some(path), .. } => Labels::List(path.clone()),
        Given { benign: true, .. } => Labels::Benign,
        _ => Labels::Unknown,
    };
    if let Some(family) = &args.attack_family {
        if args.from.log.is_none() {
            return Err(Failure::Usage(
                "--attack-family is for --log: a capture has its --truth".into(),
            ));
        }
        labels::check(family).map_err(|what| Failure::Usage(format!("--attack-family: {what}")))?;
    }
    let table = Table::new(&args.out, args.max_rows_per_group_family)?;
    let summary = match &args.from {
        From { pcap: Some(path), .. } => dataset::capture(&config, path, &labels, table)?,
        From { log: Some(path), .. } => dataset::log(&config, path, &labels, args.attack_family.as_deref(), table)?,
        From { .. } => return Err(Failure::Usage("give --pcap or --log".into())),
    };
    report(global, &args.out, &summary);
    if summary.broken.is_empty() {
        return Ok(());
    }
    Err(Failure::Runtime(anyhow::anyhow!(
        "the capture breaks off (rows of what came before are in {})",
        args.out.display()
    )))
}
