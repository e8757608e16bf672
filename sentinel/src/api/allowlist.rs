//! Who is never touched: the settings' entries and the operators', and what stands behind an address.

use super::Shared;
use super::access::Actor;
use super::commands::{Body, ask, audit, kept, reason};
use super::dto::DecisionDto;
use super::error::Problem;
use super::lists::counted;
use super::query::{Params, duration, short, target};
use crate::store::{DecisionFilter, PAGE_MAX};
use crate::types::{
    AllowDone, Allowed, Command, Decision, DecisionStatus, NewAllowed, Prefix, Protected, Target, Timestamp, canonical,
};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Decisions told about one address.
const TOLD: usize = 20;

/// One entry of `GET /allowlist`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AllowlistEntry)]
pub(super) struct EntryDto {
    #[schema(value_type = Prefix)]
    target: IpNet,
    /// `settings`: the key `allowlist`, which no command changes; `operator`: put there by command.
    #[schema(value_type = String)]
    origin: &'static str,
    comment: String,
    actor: Option<String>,
    at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl From<Allowed> for EntryDto {
    fn from(entry: Allowed) -> Self {
        Self {
            target: entry.target,
            origin: "operator",
            comment: entry.comment,
            actor: Some(entry.actor),
            at: Some(entry.at),
            expires_at: entry.expires_at,
        }
    }
}

/// `GET /allowlist`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Allowlist)]
pub(super) struct ListDto {
    items: Vec<EntryDto>,
    total: usize,
}

pub(super) async fn list(State(api): State<Shared>) -> Result<Json<ListDto>, Problem> {
    let settings = api.in_force();
    let configured = settings.config.allowlist.iter().map(|net| EntryDto {
        target: canonical(*net),
        origin: "settings",
        comment: "listed in `allowlist` of the configuration".to_owned(),
        actor: None,
        at: None,
        expires_at: None,
    });
    let now = api.desk_now();
    let ours = api.store.allowlist().await?.into_iter();
    let ours = ours.filter(|entry| entry.expires_at.is_none_or(|end| end > now));
    let items: Vec<_> = configured.chain(ours.map(EntryDto::from)).collect();
    let total = items.len();
    Ok(Json(ListDto { items, total }))
}

/// `POST /allowlist`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAllowlistEntry)]
pub(super) struct NewDto {
    /// Address or prefix.
    #[schema(value_type = Target)]
    target: String,
    /// For how long, such as `4h`; for good where absent.
    #[schema(examples("4h", "30d"))]
    duration: Option<String>,
    /// In the operator's words.
    #[serde(default)]
    comment: String,
}

/// The answer to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AddedAllowlistEntry)]
pub(super) struct AddedDto {
    #[serde(flatten)]
    entry: EntryDto,
    /// Decisions that ended with it.
    ended: Vec<Decision>,
}

pub(super) async fn add(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Body(body): Body<NewDto>,
) -> Result<Response, Problem> {
    let result = match wish(&body, &actor) {
        Ok(wish) => ask(&api, |reply| Command::Allow(wish, reply)).await,
        Err(problem) => Err(problem),
    };
    let told = |done: &AllowDone| format!("{}; {} decisions ended", done.entry.comment, done.ended.len());
    let durable = audit(&api, &actor, "api.allowlist.add", &short(&body.target), &result, told).await;
    let done = result?;
    kept(durable, "the entry is on the allowlist, read back from the kernel")?;
    let status = if done.changed {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let body = AddedDto {
        entry: done.entry.into(),
        ended: done.ended,
    };
    Ok((status, Json(body)).into_response())
}

fn wish(body: &NewDto, actor: &str) -> Result<NewAllowed, Problem> {
    let length = body.duration.as_deref().map(duration).transpose();
    Ok(NewAllowed {
        target: target(&body.target).map_err(Problem::invalid)?,
        comment: reason(&body.comment)?,
        actor: actor.to_owned(),
        duration: length.map_err(Problem::invalid)?,
    })
}

pub(super) async fn remove(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    mut params: Params,
) -> Result<Json<EntryDto>, Problem> {
    let net = params.take("target", "an address or prefix", |text| target(text).ok())?;
    params.finish()?;
    let Some(target) = net else {
        return Err(Problem::invalid("say which entry: `target=ADDRESS`"));
    };
    let asker = actor.clone();
    let result = ask(&api, |reply| Command::Disallow {
        target,
        actor: asker,
        reply,
    })
    .await
    .map_err(|problem| {
        if problem.status() == StatusCode::NOT_FOUND {
            return Problem::not_found(format!(
                "{target} is not on the allowlist as such; `sentinel allowlist list` shows what is"
            ));
        }
        problem
    });
    let told = |entry: &Allowed| entry.comment.clone();
    let subject = target.to_string();
    let durable = audit(&api, &actor, "api.allowlist.remove", &subject, &result, told).await;
    let entry = result?;
    kept(durable, "the entry is off the allowlist, read back from the kernel")?;
    Ok(Json(entry.into()))
}

/// `GET /allowlist/check`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AllowlistCheck)]
pub(super) struct CheckDto {
    #[schema(value_type = Prefix)]
    target: IpNet,
    /// Whether a guard keeps it from every action.
    protected: bool,
    /// The guards that do, the first being the one a refusal names.
    guards: Vec<Protected>,
    /// Decisions in force on it, or on a prefix around or within it.
    decisions: Vec<DecisionDto>,
}

pub(super) async fn check(State(api): State<Shared>, mut params: Params) -> Result<Json<CheckDto>, Problem> {
    let net = params.ip()?;
    params.finish()?;
    let Some(net) = net else {
        return Err(Problem::invalid("say whom to look up: `ip=ADDRESS`"));
    };
    let target = canonical(net);
    let overlaps = |p: &&Protected| p.target.contains(&target) || target.contains(&p.target);
    let guards: Vec<_> = api.protected.borrow().iter().filter(overlaps).cloned().collect();
    let mut filter = DecisionFilter {
        ip: Some(target),
        active: Some(true),
        ..DecisionFilter::default()
    };
    filter.window.limit = TOLD.min(PAGE_MAX);
    let found = api.store.decisions(filter).await?.items;
    let in_force = |d: &Decision| d.status == DecisionStatus::Active;
    let found: Vec<_> = found.into_iter().filter(in_force).collect();
    let mut hits = counted(&api, &found).await?;
    let acting = api.acting.borrow().clone();
    let decisions = found.into_iter().map(|decision| {
        let hits = hits.remove(&decision.id).unwrap_or_default();
        DecisionDto::new(decision, hits, &acting)
    });
    Ok(Json(CheckDto {
        target,
        protected: !guards.is_empty(),
        decisions: decisions.collect(),
        guards,
    }))
}
