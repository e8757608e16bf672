//! `sentinel intel`: what the world outside knows of an address, and how those stand who are asked.

use super::Global;
use super::exit::Failure;
use super::explain::show_answers;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use crate::types::{BreakerState, Checked, FeedStatus, IntelReport, QuotaStatus, SourceStatus};
use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Command {
    /// Asks the sources about an address; what is not known yet spends quota
    Check {
        /// An address
        ip: IpAddr,
    },
    /// Quota, cache and breaker of each source; feeds and databases
    Status,
}

pub(super) fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    let answer = match command {
        Command::Check { ip } => client.call(Method::POST, "/intel/check", &[], Some(&json!({ "ip": ip })))?,
        Command::Status => client.call(Method::GET, "/intel", &[], None)?,
    };
    if output.format() == Format::Json {
        output.json(&answer);
        return Ok(());
    }
    let shape = "the agent's answer has an unexpected shape; is it of this version?";
    match command {
        Command::Check { .. } => show_checked(&serde_json::from_value(answer).context(shape)?, &output),
        Command::Status => show_status(&serde_json::from_value(answer).context(shape)?, &output),
    }
    Ok(())
}

fn show_checked(checked: &Checked, output: &Output) {
    let place: Vec<&str> = [&checked.country, &checked.network]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let place = if place.is_empty() {
        String::new()
    } else {
        format!(" ({})", place.join(", "))
    };
    output.line(&output.strong(&escape_line(&format!("{}{place}: {}", checked.ip, summary(checked)))));
    if let Some(why) = &checked.special {
        output.line(&escape_line(&format!("Nobody outside was asked: {why}.")));
    }
    show_answers(&checked.answers, output);
    for contradiction in &checked.risk.contradictions {
        output.line(&escape_line(&format!("They disagree: {contradiction}.")));
    }
}

/// What the answers add up to; that nobody has one is no number.
fn summary(checked: &Checked) -> String {
    if checked.answers.iter().all(|answer| answer.indicator.is_none()) {
        "nobody outside has said anything, which is neither good nor bad".to_owned()
    } else if checked.risk.parts.is_empty() {
        "nobody outside has anything against it, or for it".to_owned()
    } else {
        checked.risk.summary.clone()
    }
}

fn show_status(report: &IntelReport, output: &Output) {
    if !report.status.enabled {
        output.line("Threat intelligence is off (`intel.enabled: false`).");
    }
    let mut table = Table::new(&[
        "Source",
        "Asked",
        "Key",
        "Weight",
        "Quota left",
        "Breaker",
        "Cached",
        "Hits",
        "Last error",
    ]);
    for source in &report.status.sources {
        table.row([
            source.name.clone(),
            yes(source.enabled).into(),
            yes(source.key).into(),
            format!("{:.1}", source.weight),
            source.quota.iter().map(left).collect::<Vec<_>>().join(", "),
            breaker(source),
            source.cache_entries.to_string(),
            source.cache_hits.to_string(),
            source
                .last_error
                .as_ref()
                .map(|e| format!("{}: {}", e.at, e.reason))
                .unwrap_or_default(),
        ]);
    }
    output.table(&table);
    if let Some(redis) = &report.status.redis {
        let state = match (redis.up, redis.cause.is_empty()) {
            (true, true) => "answers",
            (true, false) => "answers, but",
            (false, _) => "does not answer",
        };
        output.line(&escape_line(&format!("Redis {state} {}", redis.cause)));
    }
    if report.feeds.is_empty() {
        output.line("No feed is enabled (`intel.feeds.enabled`).");
    } else {
        let mut table = Table::new(&["Feed", "Entries", "Fetched", "Next", "In the kernel", "Last error"]);
        for feed in &report.feeds {
            let time = |at: Option<crate::types::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
            table.row([
                feed.name.clone(),
                feed.entries.to_string(),
                time(feed.fetched_at),
                time(feed.next_at),
                in_kernel(feed),
                feed.last_error.clone().unwrap_or_default(),
            ]);
        }
        output.table(&table);
    }
    for database in &report.geoip {
        let state = database.error.clone().or(database.kind.clone()).unwrap_or_default();
        output.line(&escape_line(&format!(
            "{} {}: {state}",
            database.database,
            database.path.display()
        )));
    }
}

const fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

fn left(quota: &QuotaStatus) -> String {
    let left = quota.allowed.saturating_sub(quota.spent);
    format!("{left} of {} this {}", quota.allowed, quota.period)
}

fn breaker(source: &SourceStatus) -> String {
    match source.breaker.state {
        BreakerState::Closed => "closed".into(),
        BreakerState::HalfOpen => "trying again".into(),
        BreakerState::Open => format!("open for {} s", source.breaker.retry_in_ms / 1000),
    }
}

fn in_kernel(feed: &FeedStatus) -> String {
    match &feed.kernel {
        None => "no".into(),
        Some(kernel) => match &kernel.error {
            Some(error) => error.clone(),
            None if kernel.simulated => format!("{} entries, would have dropped {}", kernel.entries, kernel.would_drop),
            None => format!("{} entries, dropped {}", kernel.entries, kernel.dropped),
        },
    }
}
