//! What the agent says, once a second: asked over its socket, made harmless, and no more of it than is shown.

use super::super::client::Client;
use super::super::decisions::{action, provisional, target};
use super::super::exit::Failure;
use super::super::output::escape_line;
use crate::cli::decisions::Shown;
use crate::types::{ActionKind, Alert, Busy, BusyBy, BusyPer, Stop, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest a look may take: then the agent counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rows asked for of each list.
pub(super) const ROWS: usize = 100;

/// Which flows are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) per: BusyPer,
    pub(super) by: BusyBy,
}

/// Everything that is shown, of one moment. Texts are escaped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) version: String,
    pub(super) uptime: Duration,
    pub(super) production: bool,
    /// Who stopped all acting, when and why.
    pub(super) stopped: Option<String>,
    pub(super) parts: Vec<Part>,
    /// Oldest first.
    pub(super) history: Vec<Sample>,
    pub(super) flows_active: u64,
    pub(super) sources_active: u64,
    pub(super) interfaces: Vec<String>,
    /// Records that the ring or a queue had no room for, since the start.
    pub(super) ring_lost: u64,
    /// The same of everything in user space, by stage and reason.
    pub(super) lost: Vec<(String, u64)>,
    pub(super) maps: Vec<Map>,
    pub(super) alerts: Vec<AlertRow>,
    pub(super) alerts_total: u64,
    pub(super) decisions: Vec<DecisionRow>,
    pub(super) decisions_total: u64,
    pub(super) busy: Vec<Busy>,
    pub(super) busy_total: u64,
}

/// A part of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    /// Its cause and mend, where it is degraded.
    pub(super) trouble: Option<(String, String)>,
    pub(super) detail: String,
}

/// Totals since the start, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Sample {
    pub(super) at: Timestamp,
    pub(super) passed: u64,
    pub(super) dropped: u64,
    pub(super) would_drop: u64,
    pub(super) bytes: u64,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) name: String,
    pub(super) entries: u64,
    pub(super) capacity: u64,
}

impl Map {
    /// From 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.entries as f64 / self.capacity.max(1) as f64
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct AlertRow {
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) severity: crate::types::Severity,
    pub(super) detector: &'static str,
    pub(super) source: String,
    pub(super) summary: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DecisionRow {
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) target: String,
    pub(super) action: String,
    /// `active`, `provisional`, `simulated`, `noted` or `held back`.
    pub(super) state: &'static str,
    pub(super) until: Option<Timestamp>,
    pub(super) hits: u64,
    /// Packets counted that passed all the same.
    pub(super) would_hits: u64,
    pub(super) actor: String,
    pub(super) reason: String,
}

#[derive(Deserialize)]
struct HealthTold {
    version: String,
    mode: String,
    uptime_seconds: u64,
    acting: ActingTold,
    components: BTreeMap<String, ConditionTold>,
}

#[derive(Deserialize)]
struct ActingTold {
    stopped: Option<Stop>,
}

#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum ConditionTold {
    Ok { detail: String },
    Degraded { cause: String, mend: String },
}

#[derive(Deserialize)]
struct StatsTold {
    totals: BTreeMap<String, u64>,
    interfaces: Vec<InterfaceTold>,
    maps: BTreeMap<String, MapTold>,
    flows_active: u64,
    sources_active: u64,
    lost: Vec<LostTold>,
}

#[derive(Deserialize)]
struct InterfaceTold {
    name: String,
    xdp_mode: String,
}

#[derive(Deserialize)]
struct MapTold {
    entries: u64,
    capacity: u64,
}

#[derive(Deserialize)]
struct LostTold {
    stage: String,
    reason: String,
    items: u64,
}

#[derive(Deserialize)]
struct PageTold<T> {
    items: Vec<T>,
    #[serde(default)]
    total: u64,
}

/// Looks once.
///
/// # Errors
/// Nobody answers, not in time, or in a shape that is not of this version.
pub(super) async fn look(client: &Client, wish: Wish) -> Result<Snapshot, Failure> {
    match tokio::time::timeout(PATIENCE, look_patiently(client, wish)).await {
        Ok(told) => told,
        Err(_) => Err(anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()).into()),
    }
}

async fn look_patiently(client: &Client, wish: Wish) -> Result<Snapshot, Failure> {
    let rows = || ("limit", ROWS.to_string());
    let flows = [rows(), ("per", word(wish.per)), ("by", word(wish.by))];
    let active = [rows(), ("active", "true".to_owned())];
    let newest = [rows()];
    let (health, stats, history, alerts, decisions, busy) = tokio::try_join!(
        get::<HealthTold>(client, "/health", &[]),
        get::<StatsTold>(client, "/stats", &[]),
        get::<PageTold<Sample>>(client, "/stats/history", &[]),
        get::<PageTold<Alert>>(client, "/alerts", &newest),
        get::<PageTold<Shown>>(client, "/decisions", &active),
        get::<PageTold<Busy>>(client, "/flows/top", &flows),
    )?;
    Ok(Snapshot {
        version: escape_line(&health.version),
        uptime: Duration::from_secs(health.uptime_seconds),
        production: health.mode == "production",
        stopped: health.acting.stopped.map(|stop| escape_line(&stop.to_string())),
        parts: health.components.into_iter().map(part).collect(),
        history: history.items,
        flows_active: stats.flows_active,
        sources_active: stats.sources_active,
        interfaces: stats
            .interfaces
            .iter()
            .map(|i| escape_line(&format!("{} ({})", i.name, i.xdp_mode)))
            .collect(),
        ring_lost: stats.totals.get("event_lost").copied().unwrap_or(0)
            + stats
                .lost
                .iter()
                .filter(|l| l.stage == "ring")
                .map(|l| l.items)
                .sum::<u64>(),
        lost: stats
            .lost
            .iter()
            .map(|l| (escape_line(&format!("{} {}", l.stage, l.reason)), l.items))
            .collect(),
        maps: stats
            .maps
            .into_iter()
            .map(|(name, used)| Map {
                name: escape_line(&name),
                entries: used.entries,
                capacity: used.capacity,
            })
            .collect(),
        alerts: alerts.items.iter().map(alert).collect(),
        alerts_total: alerts.total,
        decisions: decisions.items.iter().map(decision).collect(),
        decisions_total: decisions.total,
        busy: busy.items,
        busy_total: busy.total,
    })
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str, query: &[(&str, String)]) -> Result<T, Failure> {
    let answer = client.ask(Method::GET, path, query).await?;
    Ok(serde_json::from_value(answer).map_err(|error| {
        anyhow::anyhow!("the agent's answer to {path} has an unexpected shape; is it of this version? ({error})")
    })?)
}

fn word(value: impl serde::Serialize) -> String {
    super::super::decisions::word(value)
}

fn part((name, condition): (String, ConditionTold)) -> Part {
    let name = escape_line(&name);
    match condition {
        ConditionTold::Ok { detail } => Part {
            name,
            trouble: None,
            detail: escape_line(&detail),
        },
        ConditionTold::Degraded { cause, mend } => Part {
            name,
            trouble: Some((escape_line(&cause), escape_line(&mend))),
            detail: String::new(),
        },
    }
}

fn alert(alert: &Alert) -> AlertRow {
    AlertRow {
        id: alert.id.to_string(),
        at: alert.at,
        severity: alert.severity,
        detector: alert.detector.as_str(),
        source: alert
            .source
            .map_or_else(|| "nobody in particular".to_owned(), |source| source.to_string()),
        summary: escape_line(&alert.summary),
    }
}

fn decision(told: &Shown) -> DecisionRow {
    let decision = &told.decision;
    DecisionRow {
        id: decision.id.to_string(),
        at: decision.at,
        target: target(&decision.target),
        action: escape_line(&action(decision)),
        state: if told.held_back.is_some() {
            "held back"
        } else if decision.simulated {
            "simulated"
        } else if provisional(decision).is_some() {
            "provisional"
        } else if decision.action == ActionKind::LogOnly {
            "noted"
        } else {
            "active"
        },
        until: decision.expires_at,
        hits: told.hits,
        would_hits: told.would_hits,
        actor: escape_line(&decision.actor),
        reason: escape_line(&decision.reason),
    }
}
