//! The global stop: how it is, stopping and going on.

use super::access::Actor;
use super::commands::{Body, ask, audit, kept, reason};
use super::dto::mode;
use super::error::Problem;
use super::{Api, Shared};
use crate::config::Mode;
use crate::types::{Acting, Command, Stop};
use axum::Json;
use axum::extract::{Extension, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /acting`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ActingWish)]
pub(super) struct WishDto {
    /// Whether decisions are to be carried out from now on.
    acting: bool,
    /// In the operator's words.
    #[serde(default)]
    reason: String,
}

/// `GET /acting`, and the answer to `POST`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActingStatus)]
pub(super) struct ActingDto {
    /// Whether decisions are carried out.
    acting: bool,
    /// As configured.
    #[schema(value_type = String)]
    mode: &'static str,
    /// Who stopped it, where it is stopped.
    stopped: Option<Stop>,
    /// The same in a sentence.
    says: String,
}

impl ActingDto {
    fn new(api: &Api, acting: &Acting) -> Self {
        let production = api.config.mode == Mode::Production;
        let says = match (&acting.stopped, production) {
            (Some(stop), true) => format!("entries only count: {stop}"),
            (Some(stop), false) => format!("nothing acts anyway in `mode: simulation`; and {stop}"),
            (None, true) => "decisions are carried out".to_owned(),
            (None, false) => "nothing acts anyway in `mode: simulation`".to_owned(),
        };
        Self {
            acting: production && acting.stopped.is_none(),
            mode: mode(&api.config),
            stopped: acting.stopped.clone(),
            says,
        }
    }
}

pub(super) async fn status(State(api): State<Shared>) -> Json<ActingDto> {
    let acting = api.acting.borrow().clone();
    Json(ActingDto::new(&api, &acting))
}

pub(super) async fn wish(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Body(wish): Body<WishDto>,
) -> Result<Json<ActingDto>, Problem> {
    let on = wish.acting;
    let verb = if on { "api.acting.resume" } else { "api.acting.stop" };
    let result = match reason(&wish.reason) {
        Ok(reason) => {
            let actor = actor.clone();
            ask(&api, |reply| Command::Act {
                on,
                actor,
                reason,
                reply,
            })
            .await
        }
        Err(problem) => Err(problem),
    };
    let told = |acting: &Acting| ActingDto::new(&api, acting).says;
    let durable = audit(&api, &actor, verb, "all actions", &result, told).await;
    let acting = result?;
    let done = if on { "resumed" } else { "stopped" };
    kept(durable, &format!("acting is {done}, read back from the kernel"))?;
    Ok(Json(ActingDto::new(&api, &acting)))
}
