//! `sentinel notifications`: how it stands with who is told, and whether it comes through.

use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use super::{Global, now};
use crate::config::Config;
use crate::notify::{Sender, test};
use crate::types::{ChannelKind, TestOutcome};
use anyhow::{Context, anyhow};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sends a test message by every channel that is configured, or by one
    Test {
        /// email, slack, webhook, file or syslog
        channel: Option<String>,
    },
    /// How it stands with each channel, and the latest messages
    Status,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let config = global.load()?;
    let output = global.output();
    match command {
        Command::Test { channel } => {
            let channel = channel.as_deref().map(named).transpose()?;
            let outcomes = match Source::live(&config) {
                Ok(client) => {
                    let body = json!({ "channel": channel.map(ChannelKind::as_str) });
                    let answer = client.call(Method::POST, "/notifications/test", &[], Some(&body))?;
                    serde_json::from_value(answer["items"].clone())
                        .context("the agent's answer has an unexpected shape")?
                }
                // The settings are here all the same.
                Err(Failure::NotRunning(_)) => without_agent(&config, channel)?,
                Err(failure) => return Err(failure),
            };
            tested(&outcomes, &output)
        }
        Command::Status => {
            let answer = Source::live(&config)?.call(Method::GET, "/notifications", &[], None)?;
            if output.format() == Format::Json {
                output.json(&answer);
            } else {
                status(&answer, &output);
            }
            Ok(())
        }
    }
}

fn named(name: &str) -> Result<ChannelKind, Failure> {
    ChannelKind::named(name).ok_or_else(|| {
        let known = ChannelKind::ALL.map(ChannelKind::as_str).join(", ");
        Failure::Usage(format!("`{name}` is no channel; there are {known}"))
    })
}

fn without_agent(config: &Config, channel: Option<ChannelKind>) -> Result<Vec<TestOutcome>, Failure> {
    tracing::warn!("no agent is running; these are the settings as this command reads them");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime")?;
    let sender = Sender::here(config.api.url(config.api.listen));
    Ok(runtime.block_on(test(&config.alerting, channel, "the command line", &sender, now())))
}

/// Not all taken is a failure, so that scripts notice.
fn tested(outcomes: &[TestOutcome], output: &Output) -> Result<(), Failure> {
    if output.format() == Format::Json {
        output.json(&json!({ "items": outcomes }));
    } else if outcomes.is_empty() {
        output.line("No channel is configured: nobody is told. See `alerting` in the settings.");
    } else {
        for outcome in outcomes {
            let word = if outcome.taken { "ok    " } else { "failed" };
            output.line(&escape_line(&format!(
                "{word}  {:<8} {}",
                outcome.channel.as_str(),
                outcome.detail
            )));
            if let Some(mend) = &outcome.mend {
                output.line(&escape_line(&format!("        {:<8} {mend}", "")));
            }
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.taken).count();
    if failed > 0 {
        return Err(anyhow!("{failed} of {} channels did not take the test message", outcomes.len()).into());
    }
    Ok(())
}

fn status(answer: &Value, output: &Output) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut table = Table::new(&["Channel", "State", "Waiting", "In digest", "Last sent"]);
    for channel in answer["channels"].as_array().into_iter().flatten() {
        let state = match (&channel["configured"], &channel["trouble"]) {
            (Value::Bool(false), _) => "not configured".to_owned(),
            (_, Value::Null) => "ok".to_owned(),
            (_, trouble) => format!("failing since {}: {}", text(&trouble["since"]), text(&trouble["cause"])),
        };
        table.row([
            text(&channel["channel"]),
            state,
            channel["waiting"].to_string(),
            channel["digest"].to_string(),
            text(&channel["sent_at"]),
        ]);
    }
    output.table(&table);
    let mut table = Table::new(&["Put down", "Channel", "Kind", "State", "When"]);
    for message in answer["recent"].as_array().into_iter().flatten() {
        table.row([
            text(&message["at"]),
            text(&message["channel"]),
            text(&message["content"]["kind"]),
            text(&message["state"]),
            text(&message["state_at"]),
        ]);
    }
    output.table(&table);
}
