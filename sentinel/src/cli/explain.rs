//! `sentinel explain`: the evidence behind a finding.

use super::Global;
use super::client::typed;
use super::decisions::{action, provisional, target, word};
use super::exit::Failure;
use super::output::{Format, Output, escape_line};
use super::source::Source;
use super::table::Table;
use crate::types::{Alert, Answer, Basis, Decision, DecisionStatus, EvidenceClass, Explanation, Investigation};
use clap::Subcommand;
use serde_json::Value;

/// Shares of a score that are shown one by one.
const SHARES: usize = 8;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Why an alert was raised
    Alert {
        /// Its name, as `alerts list` shows it
        id: uuid::Uuid,
    },
    /// Why a decision was taken
    Decision {
        /// Its name, as `decisions list` shows it
        id: uuid::Uuid,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let output = global.output();
    let source = Source::open(&global.load()?)?;
    match command {
        Command::Alert { id } => alert(&source, *id, &output),
        Command::Decision { id } => decision(&source, *id, &output),
    }
}

/// Prints one alert with its numbers.
pub(super) fn alert(source: &Source, id: uuid::Uuid, output: &Output) -> Result<(), Failure> {
    let found = source.get(&format!("/alerts/{id}"))?;
    if output.format() == Format::Json {
        output.json(&found);
        return Ok(());
    }
    show_alert(found, output)?;
    let known = source.list("/investigations", &[("alert", id.to_string())], 1)?;
    if let Some(found) = typed::<Investigation>(&known)?.first() {
        show_investigation(found, output);
    }
    Ok(())
}

/// What is known of the source: each summand of the risk, and who said what.
pub(super) fn show_investigation(found: &Investigation, output: &Output) {
    output.line(&output.strong(&escape_line(&format!("{}: {}", found.ip, found.risk.summary))));
    let lines = [
        ("found", found.id.to_string()),
        ("state", word(found.state).replace('_', " ")),
        ("country", found.country.clone().unwrap_or_default()),
        ("network", found.network.clone().unwrap_or_default()),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        output.line(&format!("  {name:<10}{}", escape_line(&value)));
    }
    let mut table = Table::new(&["Log-odds", "Who", "Says", "In words"]);
    for part in &found.risk.parts {
        table.row([
            format!("{:+.3}", part.log_odds),
            part.name.clone(),
            format!("{:.2}", part.says),
            part.sentence.clone(),
        ]);
    }
    table.row([
        format!("{:+.3}", found.risk.log_odds),
        "risk".into(),
        format!("{:.2}", found.risk.score),
        format!("the sum: {}", found.risk.level.as_str()),
    ]);
    output.table(&table);
    for contradiction in &found.risk.contradictions {
        output.line(&escape_line(&format!("They disagree: {contradiction}.")));
    }
    show_answers(&found.answers, output);
}

/// Who was asked, and what became of it.
pub(super) fn show_answers(answers: &[Answer], output: &Output) {
    if answers.is_empty() {
        return;
    }
    let mut table = Table::new(&["Source", "Says", "Score", "Sure", "How", "Details"]);
    for answer in answers {
        let Some(told) = &answer.indicator else {
            let nothing = String::new;
            let result = answer.result.replace('_', " ");
            table.row([
                answer.source.clone(),
                "nothing".into(),
                nothing(),
                nothing(),
                result,
                answer.reason.clone(),
            ]);
            continue;
        };
        let says = if told.spare {
            "do not block"
        } else {
            told.verdict.as_str()
        };
        let mut details = told.categories.clone();
        details.extend(told.raw.iter().map(|(name, value)| format!("{name} {value}")));
        table.row([
            answer.source.clone(),
            says.into(),
            format!("{:.2}", told.score),
            format!("{:.2}", told.confidence),
            answer.result.clone(),
            details.join(", "),
        ]);
    }
    output.table(&table);
}

fn show_alert(found: Value, output: &Output) -> Result<(), Failure> {
    let alert: Alert = serde_json::from_value(found)?;
    let source = alert
        .source
        .map_or("many sources, addresses forged".to_owned(), |ip| ip.to_string());
    let targets: Vec<_> = alert
        .targets
        .iter()
        .map(|t| std::net::SocketAddr::new(t.ip, t.port).to_string())
        .collect();
    output.line(&output.strong(&escape_line(&alert.summary)));
    let lines = [
        ("alert", alert.id.to_string()),
        ("at", alert.at.to_string()),
        ("source", source),
        ("targets", targets.join(", ")),
        (
            "detector",
            format!(
                "{}, {} ({})",
                alert.detector.as_str(),
                alert.technique,
                word(alert.family)
            ),
        ),
        (
            "severity",
            format!("{}, score {:.2}", alert.severity.as_str(), alert.score),
        ),
        ("seen by", alert.sensor.clone()),
    ];
    for (name, value) in lines {
        output.line(&format!("  {name:<10}{}", escape_line(&value)));
    }
    let mut table = Table::new(&["Evidence", "Value", "Limit", "Unit"]);
    for evidence in alert.evidence {
        table.row([
            evidence.name,
            number(evidence.value),
            number(evidence.threshold),
            evidence.unit,
        ]);
    }
    output.table(&table);
    if let Some(explanation) = &alert.explanation {
        show_explanation(explanation, output);
    }
    output.line(match alert.class {
        EvidenceClass::Behaviour => "Observed behaviour past a stated limit: it suffices for a block.",
        EvidenceClass::Statistical => "A deviation from habit: it suffices for a line in the log, and for more only where two independent sources outside agree.",
    });
    Ok(())
}

/// The model's score, taken apart: what adds up to it, and what would have softened it.
fn show_explanation(explanation: &Explanation, output: &Output) {
    output.line(&escape_line(&explanation.summary));
    let mut table = Table::new(&["Adds", "What", "Value", "In words"]);
    table.row([
        format!("{:+.3}", explanation.base),
        "base".into(),
        String::new(),
        "what the model says before it knows anything of the flow".into(),
    ]);
    let (shown, rest) = explanation.shares.split_at(explanation.shares.len().min(SHARES));
    for share in shown {
        let value = format!("{} {}", crate::model::number(share.value), share.unit);
        let value = value.trim_end().to_owned();
        table.row([
            format!("{:+.3}", share.share),
            share.name.clone(),
            value,
            share.sentence.clone(),
        ]);
    }
    if !rest.is_empty() {
        let others: f64 = rest.iter().map(|share| share.share).sum();
        let count = format!("{} more", rest.len());
        table.row([
            format!("{others:+.3}"),
            count,
            String::new(),
            "smaller ones, together".into(),
        ]);
    }
    table.row([
        format!("{:.3}", explanation.sum()),
        "score".into(),
        String::new(),
        format!("the sum; the threshold is {:.3}", explanation.threshold),
    ]);
    output.table(&table);
    if let Some(counterfactual) = &explanation.counterfactual {
        output.line(&escape_line(&format!("{counterfactual}.")));
    }
}

fn decision(source: &Source, id: uuid::Uuid, output: &Output) -> Result<(), Failure> {
    let found = source.get(&format!("/decisions/{id}"))?;
    if output.format() == Format::Json {
        output.json(&found);
        return Ok(());
    }
    let decision: Decision = serde_json::from_value(found)?;
    let what = format!(
        "{} {}: {}",
        action(&decision),
        target(&decision.target),
        decision.reason
    );
    output.line(&output.strong(&escape_line(&what)));
    let mut lines = vec![
        ("decision", decision.id.to_string()),
        (
            "taken",
            format!("{} by {} ({})", decision.at, decision.actor, decision.origin.as_str()),
        ),
        ("status", word(decision.status)),
        (
            "simulated",
            if decision.simulated {
                "yes: counted, not enforced"
            } else {
                "no"
            }
            .into(),
        ),
    ];
    if let Some(end) = decision.expires_at {
        lines.push((
            "until",
            match provisional(&decision) {
                Some(full) => format!("in force until {end} unless confirmed; then until {full}"),
                None => end.to_string(),
            },
        ));
    }
    if let Some(until) = decision.terms.watch_until {
        let reapply = match decision.terms.reapply_ms {
            0 => "a return raises an alert".to_owned(),
            ms => format!("a return puts it in force again for {} s at once", ms as f64 / 1000.0),
        };
        lines.push(("probation", format!("until {until}; {reapply}")));
    }
    if let (Some(severity), Some(risk)) = (decision.severity, decision.risk) {
        let cell = format!("severity {}, risk {}", severity.as_str(), risk.as_str());
        lines.push(("matrix", format!("{cell} → {}", decision.action.as_str())));
    }
    if let Some(basis) = decision.basis {
        let basis = match basis {
            Basis::LocalEvidenceOnly => "local evidence only",
            Basis::IndependentSources => "local evidence, and independent sources outside agree",
        };
        lines.push(("rests on", basis.into()));
    }
    if let Some(veto) = &decision.veto {
        let did = if decision.status == DecisionStatus::RolledBack {
            "rolled it back"
        } else {
            "refused"
        };
        lines.push(("guard", format!("{} {did}: {}", veto.guard, veto.reason)));
    }
    if let Some(collateral) = decision.collateral {
        lines.push(("costs", format!("{collateral} peers that behaved well lately")));
    }
    for (name, value) in lines {
        output.line(&format!("  {name:<10}{}", escape_line(&value)));
    }
    if !decision.checks.is_empty() {
        let mut table = Table::new(&["Guard", "Said", "Why"]);
        for check in &decision.checks {
            table.row([check.guard.clone(), word(check.verdict), check.reason.clone()]);
        }
        output.table(&table);
    }
    if let Some(behind) = decision.alert {
        match source.get(&format!("/alerts/{behind}")) {
            Ok(found) => show_alert(found, output)?,
            Err(failure) => show_missing("alert", behind, &failure, output),
        }
    }
    if let Some(id) = decision.investigation {
        match source.get(&format!("/investigations/{id}")) {
            Ok(found) => show_investigation(&serde_json::from_value(found)?, output),
            Err(failure) => show_missing("investigation", id, &failure, output),
        }
    }
    Ok(())
}

/// What a decision followed from may be kept for less time than the decision.
fn show_missing(noun: &str, id: impl std::fmt::Display, failure: &Failure, output: &Output) {
    let why = failure.message();
    output.line(&escape_line(&format!("Its {noun} {id} cannot be shown: {why}")));
}

/// Whole where it is whole, else with two places.
fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
