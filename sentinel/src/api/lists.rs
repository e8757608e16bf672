//! What was seen, decided and done: pages and single items.

use super::dto::{DecisionDto, PageDto, ProtectedDto};
use super::error::Problem;
use super::query::{Params, word};
use super::{Shared, now};
use crate::proof::Bundle;
use crate::store::{
    ActionFilter, AlertFilter, AuditEntry, AuditFilter, AuditVerdict, DecisionFilter, InvestigationFilter,
};
use crate::types::{
    Acting, Action, ActionId, ActionStatus, Alert, AlertId, Decision, DecisionId, Hits, Investigation, InvestigationId,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;
use std::str::FromStr;

/// Alerts whose decisions may be asked for at once.
const ALERTS: usize = 100;

type Answer<T> = Result<Json<T>, Problem>;

/// An identifier of the path.
pub(super) fn id<T: FromStr>(text: &str, noun: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|_| Problem::not_found(format!("there is no {noun} of this name; identifiers are UUIDs")))
}

fn found<T>(item: Option<T>, noun: &str) -> Result<T, Problem> {
    item.ok_or_else(|| Problem::not_found(format!("there is no {noun} of this name")))
}

pub(super) async fn alerts(State(api): State<Shared>, mut params: Params) -> Answer<PageDto<Alert>> {
    let filter = AlertFilter {
        window: params.window(now())?,
        ip: params.ip()?,
        severity: params.words("severity", "`low`, `medium` or `high`, or several with commas")?,
        detector: params.words(
            "detector",
            "the name of a detector such as `port_scan`, or several with commas",
        )?,
    };
    params.finish()?;
    Ok(Json(PageDto::of(api.store.alerts(filter).await?, |alert| alert)))
}

pub(super) async fn alert(State(api): State<Shared>, Path(text): Path<String>) -> Answer<Alert> {
    let id: AlertId = id(&text, "alert")?;
    if let Some(alert) = api.store.alert(id).await? {
        return Ok(Json(alert));
    }
    let followed = DecisionFilter {
        alert: vec![id],
        ..DecisionFilter::default()
    };
    if api.store.decisions(followed).await?.total > 0 {
        return Err(Problem::not_found(
            "the alert is no longer kept (`store.retention.alerts`); what was decided then still is",
        ));
    }
    found(None, "alert")
}

pub(super) async fn investigations(State(api): State<Shared>, mut params: Params) -> Answer<PageDto<Investigation>> {
    let filter = InvestigationFilter {
        window: params.window(now())?,
        ip: params.ip()?,
        alert: params.take("alert", "an alert's identifier", |text| text.parse().ok())?,
        level: params.words("risk", "`low`, `medium` or `high`, or several with commas")?,
    };
    params.finish()?;
    let page = api.store.investigations(filter).await?;
    Ok(Json(PageDto::of(page, |investigation| investigation)))
}

pub(super) async fn investigation(State(api): State<Shared>, Path(text): Path<String>) -> Answer<Investigation> {
    let id: InvestigationId = id(&text, "investigation")?;
    Ok(Json(found(api.store.investigation(id).await?, "investigation")?))
}

pub(super) async fn decisions(State(api): State<Shared>, mut params: Params) -> Answer<PageDto<DecisionDto>> {
    let filter = DecisionFilter {
        window: params.window(now())?,
        ip: params.ip()?,
        active: params.take("active", "`true` or `false`", |text| text.parse().ok())?,
        watched: params
            .take("watched", "`true`", |text| text.parse().ok().filter(|w| *w))?
            .unwrap_or(false),
        simulated: params
            .take("simulated", "`true`", |text| text.parse().ok().filter(|s| *s))?
            .unwrap_or(false),
        alert: params
            .take("alert", "at most 100 identifiers of alerts, with commas", alert_ids)?
            .unwrap_or_default(),
    };
    params.finish()?;
    let page = api.store.decisions(filter).await?;
    let mut counted = counted(&api, &page.items).await?;
    let acting = api.acting.borrow().clone();
    Ok(Json(PageDto::of(page, |decision| {
        let hits = counted.remove(&decision.id).unwrap_or_default();
        DecisionDto::new(decision, hits, &acting)
    })))
}

fn alert_ids(text: &str) -> Option<Vec<AlertId>> {
    let ids: Option<Vec<AlertId>> = text.split(',').map(|id| id.parse().ok()).collect();
    ids.filter(|ids| ids.len() <= ALERTS)
}

pub(super) async fn decision(State(api): State<Shared>, Path(text): Path<String>) -> Answer<DecisionDto> {
    let id: DecisionId = id(&text, "decision")?;
    let decision = found(api.store.decision(id).await?, "decision")?;
    let hits = counted(&api, std::slice::from_ref(&decision)).await?.remove(&id);
    let acting = api.acting.borrow().clone();
    Ok(Json(DecisionDto::new(decision, hits.unwrap_or_default(), &acting)))
}

/// What a decision followed from: a bundle that `sentinel verify` comes to again.
pub(super) async fn proof(State(api): State<Shared>, Path(text): Path<String>) -> Answer<serde_json::Value> {
    let id: DecisionId = id(&text, "decision")?;
    found(api.store.decision(id).await?, "decision")?;
    let row = found(api.store.proof(id).await?, "proof of that decision")?;
    let bundle = Bundle::of(&row).map_err(|error| Problem::internal(&error))?;
    Ok(Json(bundle))
}

/// Live counters where the kernel has an entry, the last ones of the stored action where it no longer has.
pub(super) async fn counted(api: &Shared, decisions: &[Decision]) -> Result<HashMap<DecisionId, Hits>, Problem> {
    let live = api.hits.borrow().clone();
    let (mut known, mut ended) = (HashMap::new(), Vec::new());
    for decision in decisions {
        match live.get(&decision.id) {
            Some(hits) => drop(known.insert(decision.id, *hits)),
            None => ended.push(decision.id),
        }
    }
    for action in api.store.actions_of(ended).await? {
        let total: &mut Hits = known.entry(action.decision).or_default();
        total.packets += action.hits;
        total.would_packets += action.would_hits;
    }
    Ok(known)
}

pub(super) async fn actions(State(api): State<Shared>, mut params: Params) -> Answer<PageDto<Action>> {
    let filter = ActionFilter {
        window: params.window(now())?,
        ip: params.ip()?,
        decision: params.take("decision", "a decision's identifier", |text| text.parse().ok())?,
        status: params.take("status", "the name of a status such as `enforced`", word)?,
    };
    params.finish()?;
    let page = api.store.actions(filter).await?;
    let (hits, acting) = (api.hits.borrow().clone(), api.acting.borrow().clone());
    Ok(Json(PageDto::of(page, |action| counting(action, &hits, &acting))))
}

pub(super) async fn action(State(api): State<Shared>, Path(text): Path<String>) -> Answer<Action> {
    let id: ActionId = id(&text, "action")?;
    let action = found(api.store.action(id).await?, "action")?;
    let acting = api.acting.borrow().clone();
    Ok(Json(counting(action, &api.hits.borrow(), &acting)))
}

/// An action that is in force, with what the kernel has counted by now; one that a stop holds back is told so, though its
/// record may be on its way still. What is done beside the kernel is held back once its own room has undone and read it.
pub(super) fn counting(mut action: Action, hits: &HashMap<DecisionId, Hits>, acting: &Acting) -> Action {
    let in_kernel = action.kind == action.kind.in_kernel();
    let in_force = in_kernel && matches!(action.status, ActionStatus::Enforced | ActionStatus::Simulated);
    if let Some(live) = hits.get(&action.decision).filter(|_| in_force) {
        action.hits = live.packets;
        action.would_hits = live.would_packets;
    }
    if let Some(stop) = acting
        .stopped
        .as_ref()
        .filter(|_| in_kernel && action.status == ActionStatus::Enforced)
    {
        action.status = ActionStatus::Simulated;
        action.outcome = format!("held back since {}: {stop}", stop.at);
        action.outcome_at = Some(stop.at);
    }
    action
}

pub(super) async fn audit(State(api): State<Shared>, mut params: Params) -> Answer<PageDto<AuditEntry>> {
    let window = params.window(now())?;
    params.finish()?;
    Ok(Json(PageDto::of(
        api.store.audit(AuditFilter { window }).await?,
        |entry| entry,
    )))
}

pub(super) async fn verify_audit(State(api): State<Shared>) -> Answer<AuditVerdict> {
    Ok(Json(api.store.verify_audit().await?))
}

pub(super) async fn protected(State(api): State<Shared>) -> Response {
    let items = api.protected.borrow().clone();
    let total = items.len();
    Json(ProtectedDto { items: &items, total }).into_response()
}
