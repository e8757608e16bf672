//! `sentinel actions`: what was done, and undoing it.

use super::Global;
use super::client::typed;
use super::decisions::{still_beside, still_covered, target, word};
use super::exit::Failure;
use super::output::{Format, Output};
use super::source::Source;
use super::table::Table;
use crate::types::Action;
use anyhow::anyhow;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The latest first
    List {
        /// How many at most; 0 for all
        #[arg(short, long, default_value_t = 50)]
        limit: usize,
    },
    /// Undoes what was done
    Revert(Revert),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Revert {
    /// One, by name
    id: Option<uuid::Uuid>,
    /// Every one in force
    #[arg(long)]
    all: bool,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    match command {
        Command::List { limit } => {
            let items = Source::open(&config)?.list("/actions", &[], *limit)?;
            if output.format() == Format::Json {
                output.json(&items);
                return Ok(());
            }
            let mut table = Table::new(&["At", "Action", "Target", "Status", "Until", "Hits", "Outcome", "Id"]);
            for action in typed::<Action>(&items)? {
                let simulated = action.would_hits > action.hits;
                table.row([
                    action.intent_at.to_string(),
                    action.kind.as_str().into(),
                    target(&action.target),
                    word(action.status),
                    action.expires_at.map_or(String::new(), |end| end.to_string()),
                    if simulated { action.would_hits } else { action.hits }.to_string(),
                    action.outcome,
                    action.id.to_string(),
                ]);
            }
            if table.is_empty() && output.format() == Format::Human {
                output.line("No actions.");
            } else {
                output.table(&table);
            }
        }
        Command::Revert(args) => {
            let client = Source::live(&config)?;
            let mut all = vec![("all", "true".to_owned())];
            if output.format() != Format::Json {
                all.push(("first", "0".to_owned()));
            }
            let answer = match args.id {
                Some(id) => client.call(Method::POST, &format!("/actions/{id}/revert"), &[], None)?,
                None => client.call(Method::DELETE, "/decisions", &all, None)?,
            };
            if output.format() == Format::Json {
                output.json(&answer);
            } else {
                undone(&output, &answer)?;
            }
        }
    }
    Ok(())
}

/// What was taken back, as far as it is known: whoever is asked beside the kernel takes their time.
fn undone(output: &Output, answer: &Value) -> Result<(), Failure> {
    let gone = answer["deleted"]
        .as_array()
        .ok_or_else(|| anyhow!("the agent's answer does not say what was taken back"))?;
    let total = answer["total"].as_u64().unwrap_or(gone.len() as u64);
    output.line(&format!("{total} taken back, as read back from the kernel."));
    for still in still_beside(answer) {
        output.line(&still);
    }
    if let Some(still) = still_covered(answer) {
        output.line(&still);
    }
    Ok(())
}
