//! `sentinel simulation report`: what production would have dropped, and whom it would have touched.

use super::decisions::target;
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use super::{Global, duration};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// By decision: packets, bytes, first and last, and benign sessions under it
    Report(Report),
}

#[derive(Args, Debug)]
pub(super) struct Report {
    /// Decisions that met something within this time
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
    since: Duration,
}

#[derive(Debug, Deserialize)]
struct Told {
    would_packets: u64,
    would_bytes: u64,
    benign_sessions: u64,
    benign_sources: u64,
    items: Vec<Item>,
    more: bool,
}

#[derive(Debug, Deserialize)]
struct Item {
    target: IpNet,
    action: String,
    reason: String,
    would_packets: u64,
    would_bytes: u64,
    first: Option<String>,
    last: Option<String>,
    benign_sessions: u64,
    benign: Vec<Touched>,
    alerted_sources: u64,
}

#[derive(Debug, Deserialize)]
struct Touched {
    ip: String,
    sessions: u64,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let Command::Report(args) = command;
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    let since = super::ago(args.since).to_string();
    let answer = client.call(Method::GET, "/simulation", &[("since", since)], None)?;
    if output.format() == Format::Json {
        output.json(&answer);
        return Ok(());
    }
    show(&serde_json::from_value(answer)?, &output);
    Ok(())
}

fn show(told: &Told, output: &Output) {
    let mut table = Table::new(&[
        "Target",
        "Action",
        "Packets",
        "Bytes",
        "First",
        "Last",
        "Benign sessions",
        "Reason",
    ]);
    for item in &told.items {
        table.row([
            target(&item.target),
            item.action.clone(),
            item.would_packets.to_string(),
            item.would_bytes.to_string(),
            item.first.clone().unwrap_or_default(),
            item.last.clone().unwrap_or_default(),
            item.benign_sessions.to_string(),
            item.reason.clone(),
        ]);
    }
    if !table.is_empty() || output.format() == Format::Raw {
        output.table(&table);
    }
    if output.format() == Format::Raw {
        return;
    }
    for item in told.items.iter().filter(|item| !item.benign.is_empty()) {
        let sources: Vec<_> = item
            .benign
            .iter()
            .map(|one| format!("{} ({} sessions)", one.ip, one.sessions))
            .collect();
        let alerted = match item.alerted_sources {
            0 => String::new(),
            n => format!("; {n} more sources under it had raised alerts"),
        };
        let text = format!(
            "{} would have touched {}{alerted}",
            target(&item.target),
            sources.join(", ")
        );
        output.line(&escape_line(&text));
    }
    let more = if told.more {
        " (only the latest decisions are told)"
    } else {
        ""
    };
    output.line(&format!(
        "In all {} packets ({} bytes) by {} decisions{more}, and {} established sessions of {} sources that raised no alert.",
        told.would_packets,
        told.would_bytes,
        told.items.len(),
        told.benign_sessions,
        told.benign_sources
    ));
}
