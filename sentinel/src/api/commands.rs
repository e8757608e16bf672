//! What an operator may ask for: block, unblock, revert. Each is answered only when it was done, and audited.

use super::access::Actor;
use super::dto::{DecisionDto, DeletedDto, NewDecisionDto, SizeDto};
use super::error::Problem;
use super::lists::id;
use super::query::{Params, duration, target};
use super::{Shared, now};
use crate::config::parse_size;
use crate::store::{ActionFilter, Record, StoreError};
use crate::types::{
    Action, ActionId, ActionKind, Command, Decision, DecisionId, Deleted, Hits, NewDecision, OTHERWISE, Rate, Selector,
};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract::FromRequest};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the answer of the room that decides is awaited.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where very many may be taken back.
const LONG: Duration = Duration::from_secs(25);

/// Longest reason kept, characters.
const REASON: usize = 500;

/// A JSON body; what is wrong with it is told as a problem.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Problem))]
pub(super) struct Body<T>(pub(super) T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => Self::invalid(rejection.body_text()),
            status => Self::of_status(status),
        }
    }
}

pub(super) async fn add(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Body(body): Body<NewDecisionDto>,
) -> Result<Response, Problem> {
    let subject = super::query::short(&body.target);
    let result = match wish(&api, &body, &actor) {
        Ok(wish) => ask(&api, |reply| Command::Add(wish, reply)).await,
        Err(problem) => Err(problem),
    };
    let durable = audit(&api, &actor, "api.decision.add", &subject, &result, |d| {
        format!("decision {}", d.id)
    })
    .await;
    let decision = result?;
    kept(durable, "the decision stands, read back from the kernel")?;
    let place = format!("/decisions/{}", decision.id);
    let body = Json(carried_out(&api, decision).await);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], body).into_response())
}

fn wish(api: &Shared, body: &NewDecisionDto, actor: &str) -> Result<NewDecision, Problem> {
    let action = ActionKind::meant(&body.kind).ok_or_else(|| {
        let words: Vec<_> = ActionKind::askable()
            .filter_map(|kind| Some(format!("`{}`", kind.profile().words.first()?)))
            .collect();
        let (other, words) = (super::query::short(&body.kind), words.join(", "));
        Problem::invalid(format!("type `{other}` is not known; {words} are"))
    })?;
    let in_force = api.in_force();
    let response = &in_force.config.response;
    let length = match body.duration.as_deref() {
        None => response.duration,
        Some(text) => duration(text).map_err(Problem::invalid)?,
    };
    if length > response.max_duration {
        let hours = response.max_duration.as_secs() / 3600;
        return Err(Problem::invalid(format!(
            "the duration is longer than `response.max_duration` allows ({hours} h)"
        )));
    }
    Ok(NewDecision {
        rate: rate(body, action, &response.rate_limit).map_err(Problem::invalid)?,
        egress: body.egress,
        collateral: body.collateral,
        target: target(&body.target).map_err(Problem::invalid)?,
        action,
        duration: length,
        reason: reason(&body.reason)?,
        actor: actor.to_owned(),
    })
}

/// An operator's words, as they are kept.
pub(super) fn reason(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.chars().count() > REASON {
        return Err(Problem::invalid(format!(
            "the reason is longer than {REASON} characters"
        )));
    }
    Ok(if text.is_empty() { "no reason given" } else { text }.to_owned())
}

/// What a rate limit is to let through: what is said, and of the rest no limit; with neither packets nor bytes the
/// configured rate. `None` where nothing about a rate is said.
fn rate(body: &NewDecisionDto, action: ActionKind, configured: &Rate) -> Result<Option<Rate>, String> {
    let said = [
        ("packets", body.packets.is_some()),
        ("bytes", body.bytes.is_some()),
        ("burst", body.burst.is_some()),
        ("each", body.each == Some(true)),
        ("openings", body.openings == Some(true)),
    ];
    let Some((name, _)) = said.into_iter().find(|(_, said)| *said) else {
        return Ok(None);
    };
    if !action.profile().rated {
        return Err(format!("`{name}` belongs to type `rate_limit`, not to `{}`", body.kind));
    }
    let bytes = match &body.bytes {
        None => None,
        Some(SizeDto::Bytes(bytes)) => Some(*bytes),
        Some(SizeDto::Text(text)) => Some(parse_size(text)?),
    };
    let mut rate = *configured;
    if body.packets.is_some() || bytes.is_some() {
        rate.packets = body.packets.unwrap_or(0);
        rate.bytes = bytes.unwrap_or(0);
    }
    if let Some(text) = &body.burst {
        let burst = duration(text)?.as_millis();
        rate.burst_ms = u32::try_from(burst).unwrap_or(u32::MAX);
    }
    rate.each = body.each == Some(true);
    rate.openings = body.openings == Some(true);
    rate.check()?;
    Ok(Some(rate))
}

/// The operator says that a provisional decision does no harm.
pub(super) async fn confirm(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Path(text): Path<String>,
) -> Result<Json<DecisionDto>, Problem> {
    let id: DecisionId = id(&text, "decision")?;
    let asker = actor.clone();
    let result = ask(&api, |reply| Command::Confirm {
        id,
        actor: asker,
        reply,
    })
    .await;
    let durable = audit(&api, &actor, "api.decision.confirm", &id.to_string(), &result, |d| {
        format!("confirmed: {}", d.target)
    })
    .await;
    let decision = result?;
    kept(durable, "the decision is confirmed, read back from the kernel")?;
    Ok(Json(carried_out(&api, decision).await))
}

/// A decision, and what its action in the kernel says: a hook may carry it out otherwise than it was meant.
async fn carried_out(api: &Shared, decision: Decision) -> DecisionDto {
    let of = ActionFilter {
        decision: Some(decision.id),
        ..ActionFilter::default()
    };
    let kind = decision.action.in_kernel();
    let outcome = match api.store.actions(of).await {
        Ok(page) => page
            .items
            .into_iter()
            .find(|action| action.kind == kind)
            .map(|action| action.outcome),
        Err(error) => Some(format!("decided{OTHERWISE}what came of it cannot be read: {error}")),
    };
    let acting = api.acting.borrow().clone();
    DecisionDto {
        outcome,
        ..DecisionDto::new(decision, Hits::default(), &acting)
    }
}

pub(super) async fn delete_one(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Path(text): Path<String>,
    mut params: Params,
) -> Result<Json<DeletedDto>, Problem> {
    let id: DecisionId = id(&text, "decision")?;
    let forget = forget(&mut params)?;
    params.finish()?;
    let which = Selector::Id(id);
    take_back(&api, actor, "api.decision.delete", id.to_string(), which, forget).await
}

/// Whether nothing is to be left behind, no probation either.
fn forget(params: &mut Params) -> Result<bool, Problem> {
    Ok(params
        .take("forget", "`true` or `false`", |text| text.parse().ok())?
        .unwrap_or(false))
}

pub(super) async fn delete_many(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    mut params: Params,
) -> Result<Json<DeletedDto>, Problem> {
    let net = params.take("target", "an address or prefix", |text| target(text).ok())?;
    let all = params.take("all", "`true`", |text| text.parse().ok().filter(|all| *all))?;
    let forget = forget(&mut params)?;
    let first = params.take("first", "a number", |text| text.parse().ok())?;
    params.finish()?;
    let (subject, which) = match (net, all) {
        (Some(net), None) => (net.to_string(), Selector::Target(net)),
        (None, Some(_)) => ("all".to_owned(), Selector::All),
        _ => {
            return Err(Problem::invalid(
                "say which decisions: either `target=ADDRESS` or `all=true`",
            ));
        }
    };
    let mut taken = take_back(&api, actor, "api.decision.delete", subject, which, forget).await?;
    taken.0.deleted.truncate(first.unwrap_or(usize::MAX));
    Ok(taken)
}

pub(super) async fn revert(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Path(text): Path<String>,
) -> Result<Json<DeletedDto>, Problem> {
    let id: ActionId = id(&text, "action")?;
    let action = match in_force(&api, id).await {
        Ok(action) => action,
        refused @ Err(_) => {
            audit(&api, &actor, "api.action.revert", &id.to_string(), &refused, |_| {
                String::new()
            })
            .await;
            refused?
        }
    };
    take_back(
        &api,
        actor,
        "api.action.revert",
        id.to_string(),
        Selector::Id(action.decision),
        false,
    )
    .await
}

/// An action that can be undone.
async fn in_force(api: &Shared, id: ActionId) -> Result<Action, Problem> {
    let Some(action) = api.store.action(id).await? else {
        return Err(Problem::not_found("there is no action of this name"));
    };
    if action.status.stands() {
        return Ok(action);
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "not-in-force",
        "Nothing to revert",
        format!("the action is over: {}", action.outcome),
    ))
}

async fn take_back(
    api: &Shared,
    actor: String,
    verb: &str,
    subject: String,
    which: Selector,
    forget: bool,
) -> Result<Json<DeletedDto>, Problem> {
    let asker = actor.clone();
    let result = ask_for(api, LONG, |reply| Command::Delete {
        which,
        forget,
        actor: asker,
        reply,
    })
    .await;
    let told = |taken: &Deleted| format!("{} decisions taken back", taken.decisions.len());
    let durable = audit(api, &actor, verb, &subject, &result, told).await;
    let Deleted {
        decisions: deleted,
        covering,
    } = result?;
    let total = deleted.len();
    kept(
        durable,
        &format!("{total} decisions are taken back, read back from the kernel"),
    )?;
    let beside = beside(api, &deleted).await.map_err(|error| {
        Problem::unavailable(format!(
            "{total} decisions are taken back, read back from the kernel, but what they did beside it cannot be read: \
             {error}; look at /actions"
        ))
    })?;
    Ok(Json(DeletedDto {
        deleted,
        total,
        held_back: api.acting.borrow().stopped.clone().filter(|_| !covering.is_empty()),
        covering,
        beside,
    }))
}

/// What these decisions did beside the kernel and what still stands of it, or may: their rooms undo it in their own time.
async fn beside(api: &Shared, over: &[Decision]) -> Result<Vec<Action>, StoreError> {
    let over: HashSet<DecisionId> = over.iter().map(|decision| decision.id).collect();
    let stand = api.store.isolations().await?.into_iter();
    let stand = stand.chain(api.store.bans().await?);
    // Without a record of what is to be put back nothing was begun.
    let begun = stand.filter_map(|(action, undo)| undo.map(|_| action));
    Ok(begun
        .filter(|action| over.contains(&action.decision) && !action.removed())
        .collect())
}

/// Sends a command and awaits the answer, both for a bounded time.
pub(super) async fn ask<T, E>(
    api: &Shared,
    command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
) -> Result<T, Problem>
where
    Problem: From<E>,
{
    ask_for(api, PATIENCE, command).await
}

/// The same with a patience of its own.
pub(super) async fn ask_for<T, E>(
    api: &Shared,
    patience: Duration,
    command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
) -> Result<T, Problem>
where
    Problem: From<E>,
{
    let (reply, answer) = oneshot::channel();
    let asked = async {
        api.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(Some(result)) => Ok(result?),
        Ok(None) => Err(Problem::unavailable("the agent is shutting down")),
        Err(_) => Err(Problem::unavailable(format!(
            "the agent did not answer within {} s; what was asked for may still be carried out, look at /decisions",
            patience.as_secs()
        ))),
    }
}

/// Whether what was `done` may be told as such: only what is durable survives the agent. The audit's line comes after it
/// on the way to the disk, so that it is durable when that is.
///
/// # Errors
/// 503, which says that it is done and that a restart would not know.
pub(super) fn kept(durable: bool, done: &str) -> Result<(), Problem> {
    if durable {
        return Ok(());
    }
    Err(Problem::unavailable(format!(
        "{done}, but the disk has not kept it yet: a restart now would not know; look at /health"
    )))
}

/// The door's own line: who asked through the API, and what the answer was, also when it was no. Returns whether the line,
/// and whatever was to be kept before it, is durable.
pub(super) async fn audit<T>(
    api: &Shared,
    actor: &str,
    verb: &str,
    subject: &str,
    result: &Result<T, Problem>,
    told: impl FnOnce(&T) -> String,
) -> bool {
    let detail = match result {
        Ok(value) => told(value),
        Err(problem) => format!("refused with {}: {}", problem.status().as_u16(), problem.detail()),
    };
    let record = Record::Audit {
        at: now(),
        actor: actor.to_owned(),
        verb: verb.to_owned(),
        subject: subject.to_owned(),
        detail,
    };
    match api.store.commit(vec![record]).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "an operator's action is not yet in the audit");
            false
        }
    }
}
