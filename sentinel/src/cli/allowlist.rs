//! `sentinel allowlist`: what is never touched, and why.

use super::Global;
use super::decisions::target;
use super::exit::Failure;
use super::output::Format;
use super::source::Source;
use super::table::Table;
use clap::Subcommand;
use ipnet::IpNet;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Everything that is protected now: configured, own addresses, gateways, resolvers, the operator's session
    List,
}

#[derive(Debug, Deserialize)]
struct Protected {
    target: IpNet,
    guard: String,
    reason: String,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let Command::List = command;
    let output = global.output();
    let mut answer = Source::live(&global.load()?)?.call(Method::GET, "/protected", &[], None)?;
    // The list is complete in one answer, plain or wrapped like the paged ones.
    let items = if answer.is_array() {
        answer
    } else {
        answer["items"].take()
    };
    if output.format() == Format::Json {
        output.json(&items);
        return Ok(());
    }
    let mut table = Table::new(&["Target", "Guard", "Reason"]);
    for item in items.as_array().map(Vec::as_slice).unwrap_or_default() {
        let entry: Protected = serde_json::from_value(Value::clone(item))?;
        table.row([target(&entry.target), entry.guard, entry.reason]);
    }
    output.table(&table);
    Ok(())
}
