//! `sentinel decisions`: what is blocked, and blocking and unblocking by hand.

use super::client::typed;
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use super::{Global, duration, now, remaining};
use crate::types::{Decision, DecisionStatus, Timestamp};
use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// What is in force, or with --all what ever was
    List(List),
    /// Blocks an address or a prefix
    Add(Add),
    /// Takes decisions back
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Those that ended, failed or were refused too
    #[arg(short, long)]
    all: bool,
    /// Those about this address, by prefix too
    #[arg(short, long, value_name = "A")]
    ip: Option<IpAddr>,
    /// Those taken within this time, such as 4h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// How many at most; 0 for all
    #[arg(short, long, default_value_t = 100)]
    limit: usize,
}

#[derive(Args, Debug)]
pub(super) struct Add {
    #[command(flatten)]
    target: Target,
    /// What to do
    #[arg(short, long = "type", value_enum, default_value_t = Kind::Block)]
    kind: Kind,
    /// For how long, such as 4h [default: response.duration of the settings]
    #[arg(short, long, value_parser = duration)]
    duration: Option<Duration>,
    /// Why; kept with the decision
    #[arg(short, long, default_value = "manual")]
    reason: String,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// An address
    #[arg(short, long, value_name = "A")]
    ip: Option<IpAddr>,
    /// A prefix, such as 203.0.113.0/24
    #[arg(long, value_name = "P")]
    range: Option<IpNet>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Drop its packets in the kernel.
    Block,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Delete {
    /// All on this address
    #[arg(short, long, value_name = "A")]
    ip: Option<IpAddr>,
    /// All on exactly this prefix
    #[arg(long, value_name = "P")]
    range: Option<IpNet>,
    /// One, by name
    #[arg(long)]
    id: Option<uuid::Uuid>,
    /// Every one
    #[arg(long)]
    all: bool,
}

/// A decision as the API shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    #[serde(flatten)]
    decision: Decision,
    #[serde(default)]
    hits: u64,
    #[serde(default)]
    would_hits: u64,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    match command {
        Command::List(args) => list(&Source::open(&config)?, args, &output),
        Command::Add(args) => {
            let target = args.target.range.or(args.target.ip.map(IpNet::from));
            let duration = args.duration.unwrap_or(config.response.duration);
            let Kind::Block = args.kind;
            let wish = json!({
                "target": target,
                "type": "block",
                "duration": format!("{}ms", duration.as_millis()),
                "reason": args.reason,
            });
            let made = Source::live(&config)?.call(Method::POST, "/decisions", &[], Some(&wish))?;
            added(&output, made)
        }
        Command::Delete(args) => {
            let client = Source::live(&config)?;
            let query = match (args.range.or(args.ip.map(IpNet::from)), args.all) {
                (Some(target), _) => vec![("target", target.to_string())],
                (None, true) => vec![("all", "true".to_owned())],
                (None, false) => Vec::new(),
            };
            let path = args.id.map_or("/decisions".to_owned(), |id| format!("/decisions/{id}"));
            let gone = client.call(Method::DELETE, &path, &query, None)?;
            deleted(&output, &gone);
            Ok(())
        }
    }
}

fn list(source: &Source, args: &List, output: &Output) -> Result<(), Failure> {
    let mut query = Vec::new();
    if !args.all {
        query.push(("active", "true".to_owned()));
    }
    if let Some(ip) = args.ip {
        query.push(("ip", ip.to_string()));
    }
    if let Some(since) = args.since {
        query.push(("since", super::ago(since).to_string()));
    }
    let items = source.list("/decisions", &query, args.limit)?;
    if output.format() == Format::Json {
        output.json(&items);
        return Ok(());
    }
    let now = now();
    let mut table = Table::new(&[
        "Target",
        "Action",
        "Status",
        "Until",
        "Remaining",
        "Hits",
        "Reason",
        "Simulated",
        "Id",
    ]);
    for shown in typed::<Shown>(&items)? {
        let decision = shown.decision;
        let (until, left) = match decision.expires_at {
            Some(end) if decision.status == DecisionStatus::Active => (end.to_string(), remaining(now, end)),
            _ => (
                decision.ended_at.map_or(String::new(), |end| end.to_string()),
                String::new(),
            ),
        };
        table.row([
            target(&decision.target),
            decision.action.as_str().into(),
            word(decision.status),
            until,
            left,
            if decision.simulated {
                shown.would_hits
            } else {
                shown.hits
            }
            .to_string(),
            reason(&decision),
            if decision.simulated { "yes" } else { "no" }.into(),
            decision.id.to_string(),
        ]);
    }
    if table.is_empty() && output.format() == Format::Human {
        output.line(if args.all {
            "No decisions."
        } else {
            "No active decisions."
        });
    } else {
        output.table(&table);
    }
    Ok(())
}

fn added(output: &Output, made: Value) -> Result<(), Failure> {
    if output.format() == Format::Json {
        output.json(&made);
        return Ok(());
    }
    let decision: Decision = serde_json::from_value(made)?;
    let verb = if decision.simulated {
        "would be blocked (simulation)"
    } else {
        "is blocked"
    };
    let until = decision
        .expires_at
        .as_ref()
        .map(Timestamp::to_string)
        .unwrap_or_default();
    output.line(&format!(
        "{} {verb} until {until}, decision {}",
        target(&decision.target),
        decision.id
    ));
    Ok(())
}

fn deleted(output: &Output, gone: &Value) {
    if output.format() == Format::Json {
        output.json(gone);
        return;
    }
    // One by name answers with the decision itself or like the others with a list.
    let items = match &gone["deleted"] {
        Value::Array(items) => items.as_slice(),
        _ => std::slice::from_ref(gone),
    };
    for item in items {
        let what = item["target"].as_str().unwrap_or("the target");
        let id = item["id"].as_str().or(item.as_str()).unwrap_or_default();
        output.line(&escape_line(&format!("{what} is free again, decision {id}")));
    }
    if items.is_empty() {
        output.line("No active decision matched.");
    }
}

/// An address without the prefix length that says nothing.
pub(super) fn target(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// The reason, and the guard that refused.
fn reason(decision: &Decision) -> String {
    match &decision.veto {
        Some(veto) => format!("{} (refused by guard {}: {})", decision.reason, veto.guard, veto.reason),
        None => decision.reason.clone(),
    }
}

/// The serde name of a unit variant.
pub(super) fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
