//! The local API of CrowdSec as far as its bouncers use it: `/v1/decisions`, `/v1/decisions/stream`, `/v1/usage-metrics`.
//!
//! In: a key in `X-Api-Key`, and what the decisions asked for are narrowed to. Out: what is in force, in CrowdSec's shapes.
//! Invariant: a change of a decision is told to a bouncer in two answers, over restarts of either side, so that it reaches
//! it unless both are lost; what is simulated, held back by the stop or about an address that may be forged is in force for
//! nobody else.
//! Deliberately elsewhere: noting changes (`store`), keys (`auth`); machines that report to CrowdSec are not served.
//!
//! [`wish`] what is asked for · [`told`] what is told, pure · [`shape`] how it is written

pub(super) mod shape;
mod told;
mod wish;

use super::Shared;
use super::error::Problem;
use crate::auth::Who;
use crate::store::{CHANGES_MAX, Record, StoreError};
use crate::types::{Acting, Bouncer, Numbered, TokenId, Told};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shape::{DecisionDto, DecisionsDto, StreamDto};
use tokio::sync::SemaphorePermit;
use wish::Wish;

/// Durations are never the same twice, and nobody between may keep them.
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The bouncer that keeps sets of the kernel's firewall: what stands in one already, it does not write again.
const KEEPS_SETS: &str = "crowdsec-firewall-bouncer";

/// `GET /v1/decisions`.
pub(super) async fn list(State(api): State<Shared>, method: Method, wish: Wish) -> Result<Response, Problem> {
    if method == Method::HEAD {
        return Ok(NO_STORE.into_response());
    }
    let _place = place(&api).await?;
    let all = in_force(&api, wish.overlaps()).await?.1;
    let now = api.desk_now();
    let kept: Vec<DecisionDto> = told::standing(&all, &wish, now)
        .skip(wish.offset)
        .take(wish.limit)
        .map(|one| DecisionDto::of(one, now))
        .collect();
    api.metrics.bouncers.list(kept.len());
    // As CrowdSec says it: bouncers compare with that word.
    let body = Json(DecisionsDto((!kept.is_empty()).then_some(kept)));
    Ok((NO_STORE, body).into_response())
}

/// `GET /v1/decisions/stream`.
pub(super) async fn stream(
    State(api): State<Shared>,
    Extension(who): Extension<Who>,
    method: Method,
    headers: HeaderMap,
    wish: Wish,
) -> Result<Response, Problem> {
    if method == Method::HEAD {
        return Ok(NO_STORE.into_response());
    }
    let _place = place(&api).await?;
    let known = match &who.token {
        Some(token) => api.store.bouncer(token.clone()).await?,
        None => None,
    };
    let keeps_sets = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .is_some_and(|agent| agent.starts_with(KEEPS_SETS));
    let body = match known.filter(|_| !wish.startup) {
        Some(known) => changed(&api, known, &wish, keeps_sets).await?,
        None => everything(&api, who.token, &wish).await?,
    };
    api.metrics
        .bouncers
        .stream(wish.startup, body.new.len(), body.deleted.len());
    Ok((NO_STORE, Json(body)).into_response())
}

/// `POST /v1/usage-metrics`. What a bouncer dropped is its own to tell; that it is alive is seen by its asking.
pub(super) async fn usage(body: Bytes) -> Result<StatusCode, Problem> {
    serde_json::from_slice::<serde::de::IgnoredAny>(&body)
        .map_err(|error| Problem::invalid(format!("the body is no JSON: {error}")).for_bouncers())?;
    Ok(StatusCode::CREATED)
}

/// One of few: whoever finds none waits for one, as long as a request may take.
async fn place(api: &Shared) -> Result<SemaphorePermit<'_>, Problem> {
    let place = api.bouncers.acquire().await;
    place.map_err(|_| Problem::unavailable("the agent is shutting down").for_bouncers())
}

/// What is in force; nothing while acting is stopped.
async fn in_force(api: &Shared, on: Option<ipnet::IpNet>) -> Result<(i64, Vec<Numbered>), Problem> {
    let (latest, all) = api.store.in_force(on).await?;
    Ok((latest, if acts(&api.acting.borrow()) { all } else { Vec::new() }))
}

fn acts(acting: &Acting) -> bool {
    acting.stopped.is_none()
}

/// What whoever starts must know. Changes are noted before everything is read, so that none falls between.
async fn everything(api: &Shared, token: Option<TokenId>, wish: &Wish) -> Result<StreamDto, Problem> {
    let acting = acts(&api.acting.borrow());
    if let Some(token) = &token
        && api.store.bouncer(token.clone()).await?.is_none()
    {
        let nothing = Told { change: 0, acting };
        keep(api, token.clone(), nothing, nothing).await?;
    }
    let (latest, all) = in_force(api, None).await?;
    if let Some(token) = token {
        let told = Told { change: latest, acting };
        keep(api, token, told, told).await?;
    }
    let now = api.desk_now();
    Ok(StreamDto {
        new: told::standing(&all, wish, now)
            .map(|one| DecisionDto::of(one, now))
            .collect(),
        deleted: Vec::new(),
    })
}

/// What changed since the answer before the last.
async fn changed(api: &Shared, known: Bouncer, wish: &Wish, keeps_sets: bool) -> Result<StreamDto, Problem> {
    let acting = acts(&api.acting.borrow());
    let changes = api.store.changes_since(known.before.change, CHANGES_MAX).await?;
    if changes.cut {
        tracing::warn!(
            most = CHANGES_MAX,
            "a bouncer was away for longer than it is told what ended meanwhile; it is told all that is in force"
        );
    }
    let acted = known.before.acting && known.last.acting;
    let turned = if acting {
        !acted || changes.cut
    } else {
        known.before.acting || known.last.acting
    };
    let all = if turned {
        api.store.in_force(None).await?.1
    } else {
        Vec::new()
    };
    let now = api.desk_now();
    let mut delta = told::delta(&changes.each, wish, now, keeps_sets);
    let everything = told::standing(&all, wish, now);
    if !acting {
        delta.new.clear();
        delta.deleted.extend(everything);
    } else if turned {
        delta.new = everything.collect();
    }
    let last = Told {
        change: changes.latest,
        acting,
    };
    if known.last != last || known.before != known.last {
        keep(api, known.token, known.last, last).await?;
    }
    let written = |all: Vec<&Numbered>| all.into_iter().map(|one| DecisionDto::of(one, now)).collect();
    Ok(StreamDto {
        new: written(delta.new),
        deleted: written(delta.deleted),
    })
}

/// What is not kept is only told once more.
async fn keep(api: &Shared, token: TokenId, before: Told, last: Told) -> Result<(), Problem> {
    let row = Bouncer { token, before, last };
    match api.store.keep(vec![Record::Bouncer(Box::new(row))]).await {
        Err(StoreError::Overflow { .. }) => Ok(()),
        outcome => Ok(outcome?),
    }
}
