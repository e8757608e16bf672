//! `sentinel allowlist`: what is never touched, and why; adding to it and removing from it.

use super::client::Client;
use super::decisions::{action, target};
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use super::{Global, duration};
use crate::types::{Decision, Protected};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Everything that is protected now: configured, own addresses, gateways, resolvers, the operator's session
    List,
    /// Puts an address or prefix on it, and ends at once every decision that it covers
    Add(Add),
    /// Takes an entry off that was put there by command
    Remove {
        /// Exactly the address or prefix of the entry
        #[arg(value_parser = net)]
        target: IpNet,
    },
    /// Which guard protects an address, or which decision covers it
    Check {
        /// An address or a prefix
        #[arg(value_parser = net)]
        target: IpNet,
    },
}

#[derive(Args, Debug)]
pub(super) struct Add {
    /// An address or a prefix
    #[arg(value_parser = net)]
    target: IpNet,
    /// For how long, such as 4h [default: for good]
    #[arg(short, long, value_parser = duration)]
    duration: Option<Duration>,
    /// Why; shown with the entry
    #[arg(long, default_value = "")]
    comment: String,
}

#[derive(Debug, Deserialize)]
struct Checked {
    guards: Vec<Protected>,
    decisions: Vec<Decision>,
}

fn net(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse::<IpNet>())
        .map_err(|_| "give an address or a prefix such as 203.0.113.0/24".to_owned())
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    match command {
        Command::List => list(&client, &output),
        Command::Add(args) => add(&client, args, &output),
        Command::Remove { target: net } => {
            let gone = client.call(Method::DELETE, "/allowlist", &[("target", net.to_string())], None)?;
            if output.format() == Format::Json {
                output.json(&gone);
            } else {
                output.line(&format!("{} is off the allowlist.", target(net)));
            }
            Ok(())
        }
        Command::Check { target: net } => check(&client, net, &output),
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let mut answer = client.call(Method::GET, "/protected", &[], None)?;
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

fn add(client: &Client, args: &Add, output: &Output) -> Result<(), Failure> {
    let mut wish = json!({ "target": args.target, "comment": args.comment });
    if let Some(duration) = args.duration {
        wish["duration"] = json!(format!("{}ms", duration.as_millis()));
    }
    let made = client.call(Method::POST, "/allowlist", &[], Some(&wish))?;
    if output.format() == Format::Json {
        output.json(&made);
        return Ok(());
    }
    let until = match made["expires_at"].as_str() {
        Some(end) => format!("until {end}"),
        None => "for good".to_owned(),
    };
    output.line(&escape_line(&format!(
        "{} is on the allowlist {until}, in the kernel, read back.",
        target(&args.target)
    )));
    for ended in made["ended"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let decision: Decision = serde_json::from_value(ended.clone())?;
        let text = format!(
            "Ended with it: {} on {}, decision {}",
            action(&decision),
            target(&decision.target),
            decision.id
        );
        output.line(&escape_line(&text));
    }
    Ok(())
}

fn check(client: &Client, net: &IpNet, output: &Output) -> Result<(), Failure> {
    let found = client.call(Method::GET, "/allowlist/check", &[("ip", net.to_string())], None)?;
    if output.format() == Format::Json {
        output.json(&found);
        return Ok(());
    }
    let name = target(net);
    let found: Checked = serde_json::from_value(found)?;
    for guard in &found.guards {
        let text = format!(
            "{name} is protected by guard {}: {} ({})",
            guard.guard,
            guard.reason,
            target(&guard.target)
        );
        output.line(&escape_line(&text));
    }
    for decision in &found.decisions {
        let until = decision.expires_at.map_or(String::new(), |end| format!(" until {end}"));
        let does = if decision.simulated { ", simulated" } else { "" };
        let text = format!(
            "{name} is met by {} on {}{does}{until}: {} (decision {})",
            action(decision),
            target(&decision.target),
            decision.reason,
            decision.id
        );
        output.line(&escape_line(&text));
    }
    if found.guards.is_empty() && found.decisions.is_empty() {
        output.line(&format!("{name}: no guard protects it, and no decision is about it."));
    }
    Ok(())
}
