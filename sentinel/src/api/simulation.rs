//! What production would have done: by decision, and to whom.

use super::error::Problem;
use super::query::{Params, since};
use super::{Shared, now};
use crate::store::{AlertFilter, PAGE_MAX, Window};
use crate::types::{
    ActionKind, Address, Bystander, Decision, DecisionId, DecisionStatus, Hits, Prefix, Tally, Timestamp,
};
use axum::Json;
use axum::extract::State;
use ipnet::IpNet;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;
use utoipa::ToSchema;

/// How far back it reaches where nothing is said.
const SPAN: Duration = Duration::from_hours(24);
/// Sources looked up among the alerts; of those beyond, no word is said.
const SOURCES: usize = 2000;

/// `GET /simulation`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SimulationReport)]
pub(super) struct ReportDto {
    since: Timestamp,
    now: Timestamp,
    /// Packets that would have been dropped, limited or redirected, in all.
    would_packets: u64,
    /// Their frame bytes.
    would_bytes: u64,
    /// Sessions of sources that raised no alert of their own.
    benign_sessions: u64,
    /// Those sources.
    benign_sources: u64,
    /// Decisions that met something since then, the one that met most first.
    items: Vec<ItemDto>,
    /// Whether there are more than are told.
    more: bool,
}

/// One decision.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SimulatedDecision)]
pub(super) struct ItemDto {
    decision: DecisionId,
    #[schema(value_type = Prefix)]
    target: IpNet,
    action: ActionKind,
    status: DecisionStatus,
    at: Timestamp,
    actor: String,
    reason: String,
    /// Packets that would have been dropped, limited or redirected since it was taken.
    would_packets: u64,
    /// Their frame bytes.
    would_bytes: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    benign_sessions: u64,
    /// Sources under it that had established sessions and raised no alert of their own; those with most sessions.
    benign: Vec<SourceDto>,
    /// Sources under it that had established sessions and did raise one.
    alerted_sources: u64,
}

/// One source that production would have touched.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SimulatedSource)]
pub(super) struct SourceDto {
    #[schema(value_type = Address)]
    ip: IpAddr,
    /// TCP whose handshake was completed, other protocols with packets both ways.
    sessions: u64,
    first: Timestamp,
    last: Timestamp,
}

pub(super) async fn report(State(api): State<Shared>, mut params: Params) -> Result<Json<ReportDto>, Problem> {
    let now = now();
    let expected = "an RFC 3339 time or a duration such as `4h`";
    let since = params.take("since", expected, |text| since(text, now))?;
    params.finish()?;
    let since = since.unwrap_or(Timestamp(now.0 - SPAN.as_nanos() as i64));
    let mut tallies = api.store.tallies_since(since, PAGE_MAX + 1).await?;
    let more = tallies.len() > PAGE_MAX;
    tallies.truncate(PAGE_MAX);
    let names: Vec<_> = tallies.iter().map(|tally| tally.decision).collect();
    let mut sources: HashMap<DecisionId, Vec<Bystander>> = HashMap::new();
    let all = api.store.bystanders(names).await?;
    let alerted = alerted(&api, &all).await?;
    for one in all {
        sources.entry(one.decision).or_default().push(one);
    }
    let live = api.hits.borrow().clone();
    let mut items = Vec::with_capacity(tallies.len());
    for tally in tallies {
        let Some(decision) = api.store.decision(tally.decision).await? else {
            continue;
        };
        let under = sources.remove(&tally.decision).unwrap_or_default();
        let counted = latest(&tally, live.get(&tally.decision));
        items.push(item(decision, counted, under, &alerted));
    }
    items.sort_by_key(|item| (std::cmp::Reverse(item.would_packets), item.decision));
    let benign: HashSet<IpAddr> = items
        .iter()
        .flat_map(|item| item.benign.iter().map(|one| one.ip))
        .collect();
    Ok(Json(ReportDto {
        since,
        now,
        would_packets: items.iter().map(|item| item.would_packets).sum(),
        would_bytes: items.iter().map(|item| item.would_bytes).sum(),
        benign_sessions: items.iter().map(|item| item.benign_sessions).sum(),
        benign_sources: benign.len() as u64,
        items,
        more,
    }))
}

/// What was kept, and what the kernel has counted beyond it.
fn latest(tally: &Tally, live: Option<&Hits>) -> Hits {
    let mut hits = tally.hits;
    if let Some(live) = live.filter(|live| live.first_hit == tally.seen.first_hit) {
        hits.would_packets += live.would_packets.saturating_sub(tally.seen.would_packets);
        hits.would_bytes += live.would_bytes.saturating_sub(tally.seen.would_bytes);
        hits.last_hit = hits.last_hit.max(live.last_hit);
    }
    hits
}

/// Which of these have ever raised an alert; those nobody could look up count as if they had.
async fn alerted(api: &Shared, sources: &[Bystander]) -> Result<HashSet<IpAddr>, Problem> {
    let mut known = HashSet::new();
    let mut alerted = HashSet::new();
    for one in sources {
        if !known.insert(one.ip) {
            continue;
        }
        let spoke = known.len() > SOURCES || {
            let filter = AlertFilter {
                window: Window {
                    limit: 1,
                    ..Window::default()
                },
                ip: Some(one.ip.into()),
                ..AlertFilter::default()
            };
            api.store.alerts(filter).await?.total > 0
        };
        if spoke {
            alerted.insert(one.ip);
        }
    }
    Ok(alerted)
}

fn item(decision: Decision, hits: Hits, under: Vec<Bystander>, alerted: &HashSet<IpAddr>) -> ItemDto {
    let (spoke, benign): (Vec<_>, Vec<_>) = under.into_iter().partition(|one| alerted.contains(&one.ip));
    ItemDto {
        decision: decision.id,
        target: decision.target,
        action: decision.action,
        status: decision.status,
        at: decision.at,
        actor: decision.actor,
        reason: decision.reason,
        would_packets: hits.would_packets,
        would_bytes: hits.would_bytes,
        first: hits.first_hit,
        last: hits.last_hit,
        benign_sessions: benign.iter().map(|one| one.sessions).sum(),
        benign: benign
            .into_iter()
            .map(|one| SourceDto {
                ip: one.ip,
                sessions: one.sessions,
                first: one.first,
                last: one.last,
            })
            .collect(),
        alerted_sources: spoke.len() as u64,
    }
}
