//! `sentinel verify`: coming to a decision again from what it followed from.

use super::Global;
use super::decisions::{action, target};
use super::exit::Failure;
use super::output::{Format, escape_line};
use super::source::Source;
use super::table::Table;
use crate::config::Config;
use crate::model::Model;
use crate::proof::Bundle;
use crate::train::file::read_model;
use crate::types::Decision;
use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Largest bundle that is read, bytes.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// A decision of this agent, from what is stored with it
    Decision {
        /// Its name, as `decisions list` shows it
        id: uuid::Uuid,
        /// Writes all there is to know of it to this file, for `verify bundle` on another machine
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The model that judged [default: the one the settings name]
        #[arg(long, value_name = "FILE")]
        model: Option<PathBuf>,
    },
    /// A decision of another agent, from a file that `verify decision --out` wrote
    Bundle {
        /// The file
        file: PathBuf,
        /// The model that judged [default: its score is only added up]
        #[arg(long, value_name = "FILE")]
        model: Option<PathBuf>,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Decision { id, out, model } => {
            let config = global.load()?;
            let source = Source::open(&config)?;
            let stored: Decision = serde_json::from_value(source.get(&format!("/decisions/{id}"))?)?;
            let bundle = source
                .get(&format!("/decisions/{id}/proof"))
                .map_err(|failure| without(failure, &stored))?;
            let text = serde_json::to_string_pretty(&bundle)?;
            if let Some(out) = out {
                std::fs::write(out, &text).with_context(|| format!("{} cannot be written", out.display()))?;
            }
            let judged = bundle.pointer("/proof/judged/alert/explanation").is_some();
            let model = if judged {
                judge(&config, model.as_deref())?
            } else {
                None
            };
            tell(global, &text, Some(&stored), model.as_ref())
        }
        Command::Bundle { file, model } => {
            let size = std::fs::metadata(file)
                .with_context(|| format!("{} cannot be read", file.display()))?
                .len();
            if size > LARGEST {
                return Err(anyhow!("{} is larger than any bundle is ({LARGEST} bytes)", file.display()).into());
            }
            let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let model = model.as_deref().map(read_model).transpose().context("--model")?;
            tell(global, &text, None, model.map(|(model, _)| model).as_ref())
        }
    }
}

/// Why there is nothing to come to again.
fn without(failure: Failure, stored: &Decision) -> Failure {
    let why = match (stored.alert, stored.status) {
        (None, _) if stored.origin == crate::types::Origin::Fleet => {
            "another node decided it, and has what it followed from: verify it there"
        }
        (None, _) => "it is a person's wish: the audit tells whose, and nothing was computed",
        (_, crate::types::DecisionStatus::Logged) => "nothing was done, and of lines in the log nothing more is kept",
        _ => return failure,
    };
    anyhow!("there is nothing to come to again: {why}").into()
}

/// The model that judges now, if it can be had: without it shares are only added up.
fn judge(config: &Config, named: Option<&Path>) -> Result<Option<Model>, Failure> {
    if let Some(file) = named {
        return Ok(Some(read_model(file).context("--model")?.0));
    }
    let judging = crate::app::judging_model(config).ok().flatten();
    Ok(judging.map(|judging| Model::clone(&judging.model)))
}

fn tell(global: &Global, text: &str, stored: Option<&Decision>, model: Option<&Model>) -> Result<(), Failure> {
    let output = global.output();
    let bundle = Bundle::read(text).map_err(|error| anyhow!("{error}"))?;
    let steps = bundle.verify(stored, model);
    let good = steps.iter().all(|step| step.ok);
    if output.format() == Format::Json {
        let value: Value = json!({ "decision": bundle.decision().id, "verified": good, "steps": steps });
        output.json(&value);
    } else {
        let decision = bundle.decision();
        output.line(&output.strong(&escape_line(&format!(
            "{} {}",
            action(decision),
            target(&decision.target)
        ))));
        let mut table = Table::new(&["Step", "Comes out", "Detail"]);
        for step in &steps {
            let came = if step.ok { "the same" } else { "otherwise" };
            table.row([step.what.to_owned(), came.to_owned(), step.detail.clone()]);
        }
        output.table(&table);
    }
    if good {
        Ok(())
    } else {
        let wrong: Vec<&str> = steps.iter().filter(|step| !step.ok).map(|step| step.what).collect();
        Err(anyhow!("the decision does not follow from what is stored: {}", wrong.join(", ")).into())
    }
}
