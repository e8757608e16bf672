//! `sentinel alerts`: what the detectors said.

use super::client::typed;
use super::exit::Failure;
use super::output::Format;
use super::source::Source;
use super::table::Table;
use super::{Global, duration, explain};
use crate::types::Alert;
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The latest first
    List(List),
    /// One, with its evidence
    Inspect {
        /// Its name, as `list` shows it
        id: uuid::Uuid,
    },
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Raised within this time, such as 4h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// About this source
    #[arg(short, long, value_name = "A")]
    ip: Option<IpAddr>,
    /// Of this severity
    #[arg(long, value_parser = ["low", "medium", "high"])]
    severity: Option<String>,
    /// Of this detector, such as port_scan
    #[arg(long)]
    detector: Option<String>,
    /// How many at most; 0 for all
    #[arg(short, long, default_value_t = 50)]
    limit: usize,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    let source = Source::open(&config)?;
    let args = match command {
        Command::Inspect { id } => return explain::alert(&source, *id, &output),
        Command::List(args) => args,
    };
    let mut query = Vec::new();
    if let Some(since) = args.since {
        query.push(("since", super::ago(since).to_string()));
    }
    if let Some(ip) = args.ip {
        query.push(("ip", ip.to_string()));
    }
    if let Some(severity) = &args.severity {
        query.push(("severity", severity.clone()));
    }
    if let Some(detector) = &args.detector {
        query.push(("detector", detector.clone()));
    }
    let items = source.list("/alerts", &query, args.limit)?;
    if output.format() == Format::Json {
        output.json(&items);
        return Ok(());
    }
    let mut table = Table::new(&["At", "Source", "Detector", "Severity", "Score", "Summary", "Id"]);
    for alert in typed::<Alert>(&items)? {
        table.row([
            alert.at.to_string(),
            alert.source.map_or("many".into(), |ip| ip.to_string()),
            alert.detector.as_str().into(),
            alert.severity.as_str().into(),
            format!("{:.2}", alert.score),
            alert.summary,
            alert.id.to_string(),
        ]);
    }
    if table.is_empty() && output.format() == Format::Human {
        output.line("No alerts.");
    } else {
        output.table(&table);
    }
    Ok(())
}
