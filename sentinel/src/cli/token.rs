//! `sentinel token` and `sentinel login`: who may use the API and the dashboard.

use super::client::typed;
use super::exit::Failure;
use super::output::{Format, Output, escape};
use super::source::Source;
use super::table::Table;
use super::{Global, duration};
use crate::types::{Role, Timestamp};
use anyhow::anyhow;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes a token and shows it, this once
    Create(Create),
    /// Every token, with what it may do and when it was used last
    List,
    /// Ends a token, and the sessions that began with it
    Revoke {
        /// Its name or its id
        token: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// What the audit will call whoever has it: letters, digits, `.`, `_`, `-`
    name: String,
    /// What it is good for: viewer (look), operator (act), admin (say who may), bouncer (a bouncer of CrowdSec)
    #[arg(long, default_value = "viewer")]
    role: Role,
    /// For how long, such as 90d [default: until revoked]
    #[arg(short, long, value_parser = duration)]
    duration: Option<Duration>,
}

#[derive(Debug, Deserialize)]
struct Shown {
    id: String,
    name: String,
    role: Role,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    used_at: Option<Timestamp>,
    holds: bool,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    match command {
        Command::Create(args) => {
            let mut body = json!({ "name": args.name, "role": args.role });
            if let Some(length) = args.duration {
                body["duration"] = json!(format!("{}ms", length.as_millis()));
            }
            let made = client.call(Method::POST, "/tokens", &[], Some(&body))?;
            if output.format() == Format::Json {
                output.json(&made);
                return Ok(());
            }
            let text = made["text"].as_str();
            output.line(text.ok_or_else(|| anyhow!("the agent's answer has no token"))?);
            // Apart from the token, so that it can be piped.
            output.remark(match args.role {
                Role::Bouncer => "Shown this once; it is the bouncer's `api_key`. Give each bouncer one of its own.",
                _ => "Shown this once; send it as `authorization: Bearer TOKEN`, or log in with it at /login.",
            });
        }
        Command::List => {
            let answer = client.call(Method::GET, "/tokens", &[], None)?;
            if output.format() == Format::Json {
                output.json(&answer["items"]);
                return Ok(());
            }
            let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            list(&typed(items)?, &output);
        }
        Command::Revoke { token } => {
            let path = format!("/tokens/{}", encoded(token)?);
            let gone = client.call(Method::DELETE, &path, &[], None)?;
            if output.format() == Format::Json {
                output.json(&gone);
            } else {
                let name = gone["name"].as_str().unwrap_or_default();
                output.line(&escape(&format!("Token {name} opens nothing any more.")));
            }
        }
    }
    Ok(())
}

/// `sentinel login`: a link that logs one browser in, once.
pub(super) fn link(global: &Global) -> Result<(), Failure> {
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    let made = client.call(Method::POST, "/login-links", &[], None)?;
    if output.format() == Format::Json {
        output.json(&made);
        return Ok(());
    }
    let url = made["url"].as_str();
    output.line(url.ok_or_else(|| anyhow!("the agent's answer has no link"))?);
    output.remark("Works once, within 15 minutes, in a browser that reaches this address.");
    Ok(())
}

/// Names have nothing in them that would have to be spelled otherwise in a path.
fn encoded(name: &str) -> Result<&str, Failure> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || !name.chars().all(good) || name.chars().all(|c| c == '.') {
        return Err(Failure::Usage(
            "that is no token's name or id; `sentinel token list` has them".to_owned(),
        ));
    }
    Ok(name)
}

fn list(tokens: &[Shown], output: &Output) {
    let mut table = Table::new(&["NAME", "ROLE", "CREATED", "LAST USED", "ENDS", "ID"]);
    for token in tokens {
        let ends = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) if token.holds => at.to_string(),
            (None, Some(at)) => format!("ended {at}"),
            (None, None) => "when revoked".to_owned(),
        };
        table.row([
            token.name.clone(),
            token.role.to_string(),
            token.created_at.to_string(),
            token.used_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
            ends,
            token.id.clone(),
        ]);
    }
    if table.is_empty() {
        output.line("No tokens; `sentinel token create NAME --role operator` makes one.");
    } else {
        output.table(&table);
    }
}
