//! `sentinel fleet`: the other sentinels, and what is told between them.

use super::Global;
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use crate::types::{FleetNode, Timestamp};
use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Command {
    /// Who is there, and how far they have been heard
    Status,
}

#[derive(Debug, Deserialize)]
struct Status {
    enabled: bool,
    name: String,
    connected: bool,
    cause: String,
    position: String,
    waiting: u64,
    told: u64,
    followed: u64,
    refused: u64,
    nodes: Vec<FleetNode>,
}

pub(super) fn run(global: &Global, Command::Status: Command) -> Result<(), Failure> {
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    let answer = client.call(Method::GET, "/fleet", &[], None)?;
    if output.format() == Format::Json {
        output.json(&answer);
        return Ok(());
    }
    let shape = "the agent's answer has an unexpected shape; is it of this version?";
    show(&serde_json::from_value(answer).context(shape)?, &output);
    Ok(())
}

fn show(told: &Status, output: &Output) {
    if !told.enabled {
        output.line("This node is alone (`bus: memory`).");
        return;
    }
    let how = match (told.connected, told.cause.as_str()) {
        (true, "") => "connected".to_owned(),
        (true, cause) => format!("connected; {cause}"),
        (false, cause) => format!("alone for now: the Redis {cause}"),
    };
    output.line(&output.strong(&escape_line(&format!("{}: {how}", told.name))));
    let position = if told.position.is_empty() {
        "nothing"
    } else {
        &told.position
    };
    output.line(&escape_line(&format!(
        "Heard up to {position}; {} followed, {} refused, {} told, {} waiting to be told.",
        told.followed, told.refused, told.told, told.waiting
    )));
    let mut table = Table::new(&["Node", "Last heard of", "Release", "Mode", "In force"]);
    for node in &told.nodes {
        table.row([
            escape_line(&node.name),
            Timestamp::to_string(&node.at),
            escape_line(&node.release),
            escape_line(&node.mode),
            node.in_force.to_string(),
        ]);
    }
    output.table(&table);
}
