//! `sentinel doctor`: whether this machine can run the agent, and what to mend where it cannot.
//!
//! In: `/proc`, `/sys`, the configuration. Out: one finding per question, each with its mend.
//! Invariant: nothing is loaded, attached, created or left bound. Deliberately elsewhere: the health of an agent that
//! runs (`GET /health`).

mod containers;
mod cookies;
mod fleet;
mod honeypot;
mod host;
mod interfaces;
mod nft;
mod places;
mod service;

use super::Global;
use super::exit::Failure;
use super::output::{Format, escape_line};
use super::table::Table;
use crate::config::Hook;
use serde::Serialize;

/// How an answer is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// As it should be.
    Pass,
    /// The agent runs, with less than it could have.
    Warn,
    /// The agent will not run.
    Fail,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was asked: `kernel`, `btf`, `interface eth0`.
    check: String,
    level: Level,
    /// What was found.
    found: String,
    /// What to do about it; empty when all is well.
    mend: String,
}

impl Finding {
    fn pass(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            level: Level::Pass,
            found: found.into(),
            mend: String::new(),
        }
    }

    fn warn(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            level: Level::Warn,
            found: found.into(),
            mend: mend.into(),
        }
    }

    fn fail(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            level: Level::Fail,
            found: found.into(),
            mend: mend.into(),
        }
    }
}

/// Asks everything; fails when one of the answers does.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let output = global.output();
    let loaded = global.load();
    let without = matches!(&loaded, Ok(config) if config.kernel.hook == Hook::Nftables);
    let mut findings = if without { nft::findings() } else { host::findings() };
    match loaded {
        Ok(config) if without => {
            findings.push(Finding::pass("configuration", "valid"));
            findings.extend(places::findings(&config));
            findings.extend(fleet::findings(&config));
            findings.extend(service::findings(&config));
        }
        Ok(config) => {
            findings.push(Finding::pass("configuration", "valid"));
            findings.extend(places::findings(&config));
            findings.extend(cookies::findings(&config));
            findings.extend(honeypot::findings(&config));
            findings.extend(containers::findings(&config));
            findings.extend(fleet::findings(&config));
            findings.extend(service::findings(&config));
        }
        Err(Failure::Config(problems)) => {
            let mends = problems
                .iter()
                .map(|p| Finding::fail("configuration", format!("{}: {}", p.place, p.message), &p.mend));
            findings.extend(mends);
        }
        Err(failure) => return Err(failure),
    }
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Pass);
    match output.format() {
        Format::Json => output.json(&serde_json::json!({ "worst": worst, "findings": findings })),
        Format::Raw => {
            let mut table = Table::new(&["Check", "Level", "Found", "Mend"]);
            for f in findings {
                table.row([f.check, f.level.as_str().into(), f.found, f.mend]);
            }
            output.table(&table);
        }
        Format::Human => {
            for f in &findings {
                let head = format!("{:<5} {:<20} {}", f.level.as_str(), f.check, f.found);
                output.line(&escape_line(&head));
                if !f.mend.is_empty() {
                    output.line(&escape_line(&format!("{:27}mend: {}", "", f.mend)));
                }
            }
        }
    }
    if worst == Level::Fail {
        Err(Failure::Said)
    } else {
        Ok(())
    }
}
