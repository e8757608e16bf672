//! `sentinel migrate`: bans and allowlists of fail2ban and CrowdSec, first shown, then carried over.

mod plan;

use super::client::Client;
use super::decisions::{Shown, target};
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::progress::Progress;
use super::source::Source;
use super::table::Table;
use super::{Global, client, now};
use crate::migrate::{Found, MigrateError, crowdsec, fail2ban};
use crate::types::{Protected, Timestamp};
use clap::{Args, Subcommand};
use plan::{Fate, Here, Plan};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Bans that hold, and `ignoreip`, of a fail2ban from 0.11 on
    Fail2ban(Fail2ban),
    /// Decisions in force, and allowlists, of a CrowdSec
    Crowdsec(Crowdsec),
}

#[derive(Args, Debug)]
pub(super) struct Fail2ban {
    /// Its database [default: /var/lib/fail2ban/fail2ban.sqlite3]
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// The folder of its settings [default: /etc/fail2ban, where there is one]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
pub(super) struct Crowdsec {
    /// Its database [default: /var/lib/crowdsec/data/crowdsec.db]
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// What `cscli decisions list -o json` printed, in place of the database
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    decisions: Option<PathBuf>,
    /// The folder of its settings [default: /etc/crowdsec, where there is one]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Also what came from CrowdSec's own lists and those one subscribed to
    #[arg(long)]
    lists: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
struct How {
    /// Carry it over; without this it is only shown
    #[arg(long)]
    apply: bool,
}

/// A source that is not what it is said to be is a wrong argument.
fn wrong(error: MigrateError) -> Failure {
    match error {
        MigrateError::Busy { .. } | MigrateError::Copy { .. } => error.into(),
        _ => Failure::Usage(error.to_string()),
    }
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    let now = now();
    let (whose, found, apply) = match command {
        Command::Fail2ban(args) => {
            let database = named(args.database.as_deref(), "/var/lib/fail2ban/fail2ban.sqlite3");
            let mut found = fail2ban::bans(database, now).map_err(wrong)?;
            if let Some(folder) = folder(args.config_dir.as_deref(), "/etc/fail2ban") {
                found = found.with(fail2ban::spared(folder).map_err(wrong)?);
            }
            ("fail2ban", found, args.how.apply)
        }
        Command::Crowdsec(args) => {
            let wish = crowdsec::Wish {
                now,
                of_lists: args.lists,
            };
            let mut found = match &args.decisions {
                Some(list) => crowdsec::listed(list, wish),
                None => crowdsec::database(
                    named(args.database.as_deref(), "/var/lib/crowdsec/data/crowdsec.db"),
                    wish,
                ),
            }
            .map_err(wrong)?;
            if let Some(folder) = folder(args.config_dir.as_deref(), "/etc/crowdsec") {
                found = found.with(crowdsec::spared(folder).map_err(wrong)?);
            }
            ("crowdsec", found, args.how.apply)
        }
    };
    let client = match Source::live(&config) {
        Ok(client) => Some(client),
        // What would be done can be told without an agent, but for what it protects.
        Err(Failure::NotRunning(_)) if !apply => None,
        Err(failure) => return Err(failure),
    };
    let here = client.as_ref().map(here).transpose()?;
    let plan = Plan::draw(&found, here.as_ref(), config.response.max_duration, now);
    if let (Some(client), true) = (&client, apply) {
        return carry_out(client, whose, &found, &plan, &output);
    }
    show(whose, &found, &plan, client.is_some(), &output);
    Ok(())
}

fn named<'p>(path: Option<&'p Path>, standard: &'static str) -> &'p Path {
    path.unwrap_or(Path::new(standard))
}

/// The folder of settings: the one that is named, or the usual one if it is there.
fn folder<'p>(path: Option<&'p Path>, standard: &'static str) -> Option<&'p Path> {
    path.or_else(|| Some(Path::new(standard)).filter(|folder| folder.is_dir()))
}

/// What the agent protects and what is in force.
fn here(client: &Client) -> Result<Here, Failure> {
    let mut told = client.call(Method::GET, "/protected", &[], None)?;
    let protected: Vec<Protected> = serde_json::from_value(told["items"].take())?;
    let active = client.list("/decisions", &[("active", "true".to_owned())], 0)?;
    let active = client::typed::<Shown>(&active)?.into_iter().map(|shown| shown.decision);
    Ok(Here::new(protected, active))
}

fn until(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "for good".to_owned(), |end| end.to_string())
}

fn show(whose: &str, found: &Found, plan: &Plan, asked: bool, output: &Output) {
    if output.format() == Format::Json {
        output.json(&told(found, plan));
        return;
    }
    let mut table = Table::new(&["Do", "Target", "Until", "Because"]);
    for step in plan.steps() {
        let what = match &step.fate {
            Fate::Do(what) => (*what).to_owned(),
            Fate::There => "nothing".to_owned(),
            Fate::Refused(_) => "not blocked".to_owned(),
        };
        table.row([what, target(&step.target), until(step.until), step.because()]);
    }
    for left in &found.left_out {
        table.row([
            "left out".to_owned(),
            left.what.clone(),
            String::new(),
            left.why.clone(),
        ]);
    }
    if table.is_empty() {
        output.line(&format!("There is nothing of {whose} to carry over."));
    } else {
        output.table(&table);
    }
    if output.format() != Format::Human {
        return;
    }
    aside(found, output);
    let (allow, block) = plan.counts();
    output.line(&format!(
        "{allow} would be put on the allowlist, {block} blocked or limited."
    ));
    if !asked {
        output.remark("The agent is not running, so it is not told what it protects and has in force already.");
    }
    if allow + block > 0 {
        output.remark("Nothing was done; the same with --apply does it.");
    }
}

/// What of the source is told in numbers only.
fn aside(found: &Found, output: &Output) {
    if found.over > 0 {
        output.line(&format!("{} are over.", found.over));
    }
    if found.left_out_more > 0 {
        output.line(&format!("{} more are left out.", found.left_out_more));
    }
    if found.of_lists > 0 {
        output.line(&format!(
            "{} are of lists that CrowdSec subscribes to; --lists takes them, too.",
            found.of_lists
        ));
    }
}

fn told(found: &Found, plan: &Plan) -> Value {
    let steps = plan.steps().map(|step| {
        let (fate, because) = match &step.fate {
            Fate::Do(what) => (*what, step.because()),
            Fate::There => ("nothing", step.because()),
            Fate::Refused(_) => ("not_blocked", step.because()),
        };
        json!({ "do": fate, "target": step.target, "until": step.until, "because": because })
    });
    let left = found.left_out.iter();
    json!({
        "steps": steps.collect::<Vec<_>>(),
        "left_out": left.map(|left| json!({ "what": left.what, "why": left.why })).collect::<Vec<_>>(),
        "left_out_more": found.left_out_more,
        "over": found.over,
        "of_lists": found.of_lists,
    })
}

fn carry_out(client: &Client, whose: &str, found: &Found, plan: &Plan, output: &Output) -> Result<(), Failure> {
    let mut refused = Vec::new();
    let mut allowed = 0;
    // Whom it spares must be spared before anybody is blocked.
    for step in plan.allow.iter().filter(|step| step.is_done()) {
        let wish = json!({ "target": step.target, "comment": format!("from {whose}: {}", step.reason) });
        match client.call(Method::POST, "/allowlist", &[], Some(&wish)) {
            Ok(_) => allowed += 1,
            Err(failure @ (Failure::Usage(_) | Failure::Runtime(_))) => {
                refused.push(format!("{}: {}", target(&step.target), failure.message()));
            }
            Err(failure) => return Err(failure),
        }
    }
    let list: Vec<Value> = plan.ban.iter().filter_map(plan::Step::line).collect();
    let mut done = json!({ "imported": 0, "replaced": 0 });
    if !list.is_empty() {
        let query = [("format", "json".to_owned()), ("skip_bad", "true".to_owned())];
        let progress = Progress::waiting(&format!("The agent takes {} bans in", list.len()));
        let answer = client.send_list("/decisions/import", &query, serde_json::to_vec(&list)?);
        drop(progress);
        done = answer?;
        for bad in done["bad"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let at = bad["line"]
                .as_u64()
                .and_then(|line| list.get(usize::try_from(line).ok()?.checked_sub(1)?));
            let of = at.map_or_else(
                || "?".to_owned(),
                |line| line["value"].as_str().unwrap_or_default().to_owned(),
            );
            refused.push(format!("{of}: {}", bad["problem"].as_str().unwrap_or_default()));
        }
    }
    if output.format() == Format::Json {
        let mut told = told(found, plan);
        told["allowed"] = json!(allowed);
        told["imported"] = done;
        told["refused"] = json!(refused);
        output.json(&told);
        return Ok(());
    }
    for step in plan.ban.iter().filter(|step| matches!(step.fate, Fate::Refused(_))) {
        output.line(&escape_line(&format!(
            "{} not blocked: {}",
            target(&step.target),
            step.because()
        )));
    }
    for text in &refused {
        output.line(&escape_line(&format!("refused: {text}")));
    }
    for left in &found.left_out {
        output.line(&escape_line(&format!("left out: {}: {}", left.what, left.why)));
    }
    aside(found, output);
    let there = plan.steps().filter(|step| step.fate == Fate::There).count();
    let only = if done["simulated"] == true {
        "; they only count (simulation, or acting is stopped)"
    } else {
        ""
    };
    output.line(&format!(
        "{allowed} put on the allowlist, {} blocked or limited, {there} were there already{only}.",
        done["imported"]
    ));
    Ok(())
}
