//! `sentinel audit`: who did what, and whether the record is whole.

use super::exit::Failure;
use super::output::{Format, escape_line};
use super::source::Source;
use super::table::Table;
use super::{Global, duration};
use clap::{Args, Subcommand};
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The latest first
    List(List),
    /// Recomputes the whole chain of hashes; exit 1 and the first broken record where it does not hold
    Verify,
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Within this time, such as 4h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// How many at most; 0 for all
    #[arg(short, long, default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Deserialize)]
struct Entry {
    seq: i64,
    at: String,
    actor: String,
    verb: String,
    subject: String,
    detail: String,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let source = Source::open(&global.load()?)?;
    match command {
        Command::List(args) => {
            let mut query = Vec::new();
            if let Some(since) = args.since {
                query.push(("since", super::ago(since).to_string()));
            }
            let items = source.list("/audit", &query, args.limit)?;
            if output.format() == Format::Json {
                output.json(&items);
                return Ok(());
            }
            let mut table = Table::new(&["No", "At", "Who", "Did", "To", "Detail"]);
            for item in &items {
                let entry = Entry::deserialize(item)?;
                table.row([
                    entry.seq.to_string(),
                    entry.at,
                    entry.actor,
                    entry.verb,
                    entry.subject,
                    entry.detail,
                ]);
            }
            if table.is_empty() && output.format() == Format::Human {
                output.line("The audit is empty.");
            } else {
                output.table(&table);
            }
            Ok(())
        }
        Command::Verify => {
            let verdict = source.get("/audit/verify")?;
            let intact = verdict["intact"].as_i64().unwrap_or(0);
            let broken = verdict["broken"].as_str();
            if output.format() == Format::Json {
                output.json(&verdict);
            } else if let Some(broken) = broken {
                output.line(&escape_line(&format!(
                    "The audit is broken: {broken}; {intact} records before it are intact."
                )));
            } else {
                let head = verdict["head"].as_str().unwrap_or_default();
                let pruned = verdict["pruned"].as_i64().unwrap_or(0);
                if pruned > 0 {
                    output.line(&format!(
                        "Retention removed the first {pruned} records; the chain is checked from record {} on.",
                        pruned + 1
                    ));
                }
                output.line(&escape_line(&format!(
                    "All {intact} records are as they were written; the last one's hash is {head}. Keep it elsewhere to notice \
                     a chain that was replaced whole."
                )));
            }
            match broken {
                Some(_) => Err(Failure::Said),
                None => Ok(()),
            }
        }
    }
}
