//! `sentinel reload`: the running agent reads its settings anew.

use super::Global;
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use crate::types::{KeyChange, Reloaded};
use anyhow::Context;
use reqwest::Method;
use serde::Deserialize;

pub(super) fn run(global: &Global) -> Result<(), Failure> {
    // What is wrong is said here already, as `check` would; the agent reads them all the same, by its own environment.
    let client = Source::live(&global.load()?)?;
    let answer = client.call_patiently(Method::POST, "/settings/reload")?;
    let done =
        Reloaded::deserialize(&answer).context("the agent's answer has an unexpected shape; is it of this version?")?;
    let output = global.output();
    if output.format() == Format::Json {
        output.json(&answer);
    } else {
        tell(&output, &done);
    }
    if done.failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Said)
    }
}

fn tell(output: &Output, done: &Reloaded) {
    let keys = |changes: &[KeyChange]| {
        for one in changes {
            output.line(&escape_line(&format!("  {}: {} → {}", one.key, one.old, one.new)));
        }
    };
    if done.applied.is_empty() && done.restart.is_empty() {
        output.line("Nothing differs from the settings that hold.");
    }
    if !done.applied.is_empty() {
        output.line("These hold now:");
        keys(&done.applied);
    }
    if !done.restart.is_empty() {
        output.line("These wait for a restart of the agent:");
        keys(&done.restart);
    }
    for one in &done.released {
        let text = format!(
            "Taken back: decision {} on {}, which is protected now.",
            one.decision, one.target
        );
        output.line(&escape_line(&text));
    }
    for part in &done.failed {
        output.line(&escape_line(&format!("Not taken up by {part}.")));
    }
}
