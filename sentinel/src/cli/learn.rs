//! `sentinel learn`: the thresholds of this network, from its own benign flows.

use super::Global;
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use crate::model::number;
use crate::types::Learning;
use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Command {
    /// Collects this network's benign flows from now on; whoever is accused meanwhile is left out
    Start,
    /// How far it is, and what the thresholds in force promised and held
    Status,
    /// Sets the thresholds by what was collected: from then on the model speaks
    Accept,
    /// Lets go of what was collected
    Discard,
}

pub(super) fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    let answer = match command {
        Command::Start => client.call(Method::POST, "/learn/start", &[], None)?,
        Command::Status => client.call(Method::GET, "/learn", &[], None)?,
        Command::Accept => client.call(Method::POST, "/learn/accept", &[], None)?,
        Command::Discard => client.call(Method::POST, "/learn/discard", &[], None)?,
    };
    if output.format() == Format::Json {
        output.json(&answer);
        return Ok(());
    }
    let learning = serde_json::from_value(answer).context("the agent's answer has an unexpected shape")?;
    show(&learning, &output);
    Ok(())
}

fn show(learning: &Learning, output: &Output) {
    output.line(&output.strong(if learning.calibrated {
        "The model's thresholds are those of this network."
    } else {
        "The model's thresholds are not calibrated for this network: it judges, and says nothing."
    }));
    output.line(&format!("  model     {}", learning.model));
    match learning.since {
        None => output.line("  learning  off; `sentinel learn start` collects this network's benign flows"),
        Some(since) => {
            let resumed = learning.resumed.map_or_else(String::new, |at| {
                format!(", gone on with at {at} after a restart of the agent")
            });
            output.line(&format!("  learning  since {since}{resumed}"));
            output.line(&format!(
                "  flows     {} records seen, {} benign ones in hand, {} left out",
                learning.seen, learning.kept, learning.left_out
            ));
            let mut table = Table::new(&["Level", "Of benign flows", "Still missing"]);
            for level in &learning.levels {
                table.row([
                    level.name.clone(),
                    format!("{} %", number(level.alpha * 100.0)),
                    level.missing.to_string(),
                ]);
            }
            output.table(&table);
        }
    }
    if let Some(warning) = &learning.warning {
        output.line(&escape_line(&format!("  warning   {warning}")));
    }
    if learning.calibrated {
        let mut table = Table::new(&["Level", "Promised", "Held", "Flow records"]);
        for level in &learning.realised {
            let held = level.reached as f64 / level.judged.max(1) as f64;
            table.row([
                level.name.clone(),
                format!("{} %", number(level.alpha * 100.0)),
                format!("{} %", number(held * 100.0)),
                level.judged.to_string(),
            ]);
        }
        output.table(&table);
    }
}
