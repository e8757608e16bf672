//! `sentinel decisions`: what is blocked, and blocking and unblocking by hand.

mod import;

use super::client::typed;
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use super::{Global, duration, now, remaining};
use crate::config::parse_size;
use crate::types::{ActionKind, Decision, DecisionStatus, OTHERWISE, Stop, Timestamp};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// Of everything that was taken back so much is told.
const TOLD: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// What is in force, or with --all what ever was
    List(List),
    /// Blocks, limits or redirects an address or a prefix, or isolates a container
    Add(Add),
    /// Confirms a provisional decision: it lasts to its full end
    Confirm {
        /// Its name, as `decisions list` shows it
        id: uuid::Uuid,
    },
    /// Takes decisions back
    Delete(Delete),
    /// Takes many decisions out of a list: all of them, or none
    Import(import::Import),
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Those that ended, failed or were refused too
    #[arg(short, long)]
    all: bool,
    /// Those that are over and whose targets are on probation
    #[arg(long, conflicts_with = "all")]
    watched: bool,
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
    #[arg(short, long = "type", value_parser = kinds(), default_value = "block")]
    kind: String,
    /// For how long, such as 4h [default: response.duration of the settings]
    #[arg(short, long, value_parser = duration)]
    duration: Option<Duration>,
    /// Why; kept with the decision
    #[arg(short, long, default_value = "manual")]
    reason: String,
    /// Of rate_limit: packets a second [default: with neither --packets nor --bytes response.rate_limit of the settings]
    #[arg(long, value_name = "N")]
    packets: Option<u32>,
    /// Of rate_limit: frame bytes a second, such as 1MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes: Option<u64>,
    /// Of rate_limit: traffic at that rate that may come at once, such as 1s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    burst: Option<Duration>,
    /// Of rate_limit on a prefix: each address has the rate for itself
    #[arg(long)]
    each: bool,
    /// Of rate_limit: only of what opens connections; those that stand go on
    #[arg(long)]
    openings: bool,
    /// About a prefix: how many peers that behaved well lately may lose service by it [default: response.widen.budget]
    #[arg(long, value_name = "N")]
    collateral: Option<u32>,
    /// Of block: drop what goes out to it, too
    #[arg(long)]
    egress: bool,
}

impl Add {
    /// What the API is asked for.
    fn wish(&self, standard: Duration) -> Value {
        let target = self.target.range.or(self.target.ip.map(IpNet::from));
        let duration = self.duration.unwrap_or(standard);
        let mut wish = json!({
            "target": target,
            "type": self.kind,
            "duration": format!("{}ms", duration.as_millis()),
            "reason": self.reason,
        });
        if let Some(packets) = self.packets {
            wish["packets"] = json!(packets);
        }
        if let Some(bytes) = self.bytes {
            wish["bytes"] = json!(bytes);
        }
        if let Some(burst) = self.burst {
            wish["burst"] = json!(format!("{}ms", burst.as_millis()));
        }
        if self.each {
            wish["each"] = json!(true);
        }
        if self.openings {
            wish["openings"] = json!(true);
        }
        if let Some(collateral) = self.collateral {
            wish["collateral"] = json!(collateral);
        }
        if self.egress {
            wish["egress"] = json!(true);
        }
        wish
    }
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

/// What can be asked for, by the first word of each.
fn kinds() -> PossibleValuesParser {
    let value = |kind: ActionKind| {
        let profile = kind.profile();
        Some(PossibleValue::new(*profile.words.first()?).help(profile.help))
    };
    PossibleValuesParser::new(ActionKind::askable().filter_map(value))
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
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

#[derive(Args, Debug)]
pub(super) struct Delete {
    #[command(flatten)]
    which: Which,
    /// Do not watch for a return, and end the probation of what is over
    #[arg(long)]
    forget: bool,
}

/// A decision as the API shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub(super) decision: Decision,
    #[serde(default)]
    pub(super) hits: u64,
    #[serde(default)]
    pub(super) would_hits: u64,
    /// The stop that holds it back.
    #[serde(default)]
    pub(super) held_back: Option<Stop>,
    /// What came of it in the kernel.
    #[serde(default)]
    outcome: Option<String>,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    match command {
        Command::List(args) => list(&Source::open(&config)?, args, &output),
        Command::Add(args) => {
            let wish = args.wish(config.response.duration);
            let made = Source::live(&config)?.call(Method::POST, "/decisions", &[], Some(&wish))?;
            added(&output, made)
        }
        Command::Confirm { id } => {
            let path = format!("/decisions/{id}/confirm");
            let made = Source::live(&config)?.call(Method::POST, &path, &[], None)?;
            added(&output, made)
        }
        Command::Import(args) => import::run(&Source::live(&config)?, args, &output),
        Command::Delete(args) => {
            let client = Source::live(&config)?;
            let which = &args.which;
            let mut query = match (which.range.or(which.ip.map(IpNet::from)), which.all) {
                (Some(target), _) => vec![("target", target.to_string())],
                (None, true) if output.format() == Format::Human => {
                    vec![("all", "true".to_owned()), ("first", TOLD.to_string())]
                }
                (None, true) => vec![("all", "true".to_owned())],
                (None, false) => Vec::new(),
            };
            if args.forget {
                query.push(("forget", "true".to_owned()));
            }
            let path = which
                .id
                .map_or("/decisions".to_owned(), |id| format!("/decisions/{id}"));
            let gone = client.call(Method::DELETE, &path, &query, None)?;
            deleted(&output, &gone);
            Ok(())
        }
    }
}

fn list(source: &Source, args: &List, output: &Output) -> Result<(), Failure> {
    let mut query = Vec::new();
    if args.watched {
        query.push(("watched", "true".to_owned()));
    } else if !args.all {
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
    let mut stopped = None;
    for shown in typed::<Shown>(&items)? {
        let decision = shown.decision;
        stopped = stopped.or_else(|| shown.held_back.clone());
        let (until, left) = match (decision.expires_at, decision.terms.watch_until) {
            (Some(end), _) if decision.status == DecisionStatus::Active => {
                let then = provisional(&decision).map_or(String::new(), |full| format!(", {full} if confirmed"));
                (format!("{end}{then}"), remaining(now, end))
            }
            (_, Some(end)) if args.watched => (end.to_string(), remaining(now, end)),
            _ => (
                decision.ended_at.map_or(String::new(), |end| end.to_string()),
                String::new(),
            ),
        };
        table.row([
            target(&decision.target),
            action(&decision),
            if shown.held_back.is_some() {
                "held back".to_owned()
            } else if provisional(&decision).is_some() {
                "provisional".to_owned()
            } else {
                word(decision.status)
            },
            until,
            left,
            if decision.simulated || shown.held_back.is_some() {
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
        output.line(match (args.watched, args.all) {
            (true, _) => "Nobody is on probation.",
            (_, true) => "No decisions.",
            _ => "No active decisions.",
        });
    } else {
        output.table(&table);
    }
    if let Some(stop) = stopped.filter(|_| output.format() == Format::Human) {
        output.line(&escape_line(&format!(
            "Entries only count: {stop}. `sentinel resume-acting` goes on."
        )));
    }
    Ok(())
}

fn added(output: &Output, made: Value) -> Result<(), Failure> {
    if output.format() == Format::Json {
        output.json(&made);
        return Ok(());
    }
    let shown: Shown = serde_json::from_value(made)?;
    let decision = shown.decision;
    if let Some(stop) = shown.held_back {
        let text = format!(
            "{} is held back, and its packets pass: {stop}; decision {}",
            target(&decision.target),
            decision.id
        );
        output.line(&escape_line(&text));
        return Ok(());
    }
    let otherwise = shown.outcome.filter(|outcome| outcome.contains(OTHERWISE));
    let [is, would_be] = decision.action.in_kernel().profile().told;
    let verb = match decision.simulated {
        false if decision.terms.egress => format!("{is} in both directions"),
        false => is.to_owned(),
        true => format!("{would_be} (simulation)"),
    };
    let verb = match otherwise {
        Some(_) => format!("is under {}, as far as that goes,", action(&decision)),
        None => verb,
    };
    let verb = match decision.terms.rate.filter(|_| otherwise.is_none()) {
        Some(rate) => format!("{verb} to {rate}"),
        None => verb,
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
    if let Some(outcome) = otherwise {
        output.line(&escape_line(&format!("What came of it: {outcome}.")));
    }
    if decision.action.beside() && !decision.simulated {
        output.line("Its container is being isolated; `sentinel actions list` has what came of that.");
    }
    if let Some(full) = provisional(&decision) {
        output.line(&format!(
            "It is provisional: over at {until} unless it is confirmed, by a health probe or `sentinel decisions confirm {}`; \
             then in force until {full}.",
            decision.id
        ));
    }
    Ok(())
}

/// Until when a decision lasts that is in force and not confirmed, if it is.
pub(super) fn provisional(decision: &Decision) -> Option<Timestamp> {
    decision
        .until_if_confirmed
        .filter(|_| decision.status == DecisionStatus::Active)
}

fn deleted(output: &Output, gone: &Value) {
    if output.format() == Format::Json {
        output.json(gone);
        return;
    }
    let items = gone["deleted"].as_array().map(Vec::as_slice).unwrap_or_default();
    for item in items {
        let what = item["target"].as_str().unwrap_or("the target");
        let id = item["id"].as_str().unwrap_or_default();
        let probation = match item["watch_until"].as_str() {
            Some(until) => format!(", on probation until {until}"),
            None => String::new(),
        };
        output.line(&escape_line(&format!("{what} is taken back{probation}, decision {id}")));
    }
    if let Some(still) = still_covered(gone) {
        output.line(&still);
    }
    for still in still_beside(gone) {
        output.line(&still);
    }
    if items.is_empty() {
        output.line("No active decision matched.");
    }
    let more = gone["total"].as_u64().unwrap_or(0).saturating_sub(items.len() as u64);
    if more > 0 {
        output.line(&format!("and {more} more."));
    }
}

/// What is still in force around what was taken back, and what to do about it; one line.
pub(super) fn still_covered(gone: &Value) -> Option<String> {
    let around = gone["covering"].as_array().filter(|around| !around.is_empty())?;
    let told = |one: &Value| {
        Some(format!(
            "{} (decision {})",
            one["target"].as_str()?,
            one["id"].as_str()?
        ))
    };
    let around: Vec<String> = around.iter().filter_map(told).collect();
    let covers = if gone["held_back"].is_object() {
        "It passes as long as acting is stopped; then it is covered again by"
    } else {
        "It is not free, but covered by"
    };
    Some(escape_line(&format!(
        "{covers} {}. `sentinel decisions delete --range` takes each back; `sentinel allowlist add` protects it and ends them.",
        around.join(" and ")
    )))
}

/// What was taken back and still stands beside the kernel, or may; one line each.
pub(super) fn still_beside(gone: &Value) -> Vec<String> {
    let told = |one: &Value| {
        let whom: IpNet = one["target"].as_str()?.parse().ok()?;
        let whom = target(&whom);
        let is = if one["status"] == "enforced" {
            "is not"
        } else {
            "may not be"
        };
        let what = match one["kind"].as_str()? {
            "isolate_container" => format!("The container that had {whom} {is} connected again yet"),
            "arp_ban" => format!("{whom} {is} let go by Bettercap yet"),
            _ => return None,
        };
        Some(format!("{what}; `sentinel actions list` tells when."))
    };
    gone["beside"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(told)
        .collect()
}

/// An address without the prefix length that says nothing.
pub(super) fn target(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// What is done, and with what.
pub(super) fn action(decision: &Decision) -> String {
    let kind = decision.action.as_str();
    match decision.terms.rate {
        Some(rate) => format!("{kind} ({rate})"),
        None if decision.terms.egress => format!("{kind} (both directions)"),
        None => kind.to_owned(),
    }
}

/// The reason, and the guard that refused.
fn reason(decision: &Decision) -> String {
    match &decision.veto {
        Some(veto) if decision.status == DecisionStatus::RolledBack => {
            format!("{} (rolled back: {})", decision.reason, veto.reason)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_stands_beside_the_kernel_is_told() {
        let one = |kind: &str, status: &str, target: &str| json!({ "kind": kind, "status": status, "target": target });
        let gone = json!({ "beside": [
            one("isolate_container", "enforced", "172.17.0.2/32"),
            one("isolate_container", "intent", "fd00::2/128"),
            one("arp_ban", "enforced", "192.0.2.7/32"),
        ] });
        assert_eq!(
            still_beside(&gone),
            [
                "The container that had 172.17.0.2 is not connected again yet; `sentinel actions list` tells when.",
                "The container that had fd00::2 may not be connected again yet; `sentinel actions list` tells when.",
                "192.0.2.7 is not let go by Bettercap yet; `sentinel actions list` tells when.",
            ]
        );
        for nothing in [json!({ "beside": [] }), json!({})] {
            assert!(still_beside(&nothing).is_empty());
        }
    }
}
