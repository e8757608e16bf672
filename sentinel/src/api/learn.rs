//! Learn mode: how it is, and the operator's word on it.

use super::Shared;
use super::access::Actor;
use super::commands::audit;
use super::error::Problem;
use crate::types::{LearnError, LearnWish, Learning};
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long an answer is awaited: thresholds are set by tens of thousands of flows.
const PATIENCE: Duration = Duration::from_secs(20);

impl From<LearnError> for Problem {
    fn from(error: LearnError) -> Self {
        let detail = error.to_string();
        match error {
            LearnError::NotLearning | LearnError::TooFew { .. } => {
                Self::new(StatusCode::CONFLICT, "not-learnt", "Not possible now", detail)
            }
            LearnError::NoModel => Self::unavailable(detail),
            LearnError::Failed(_) => {
                tracing::error!(%detail, "learn mode");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "not-kept", "Not kept", detail)
            }
        }
    }
}

pub(super) async fn status(State(api): State<Shared>) -> Result<Json<Learning>, Problem> {
    Ok(Json(ask(&api, LearnWish::Status).await?))
}

pub(super) async fn wish(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Path(word): Path<String>,
) -> Result<Json<Learning>, Problem> {
    let wish = match word.as_str() {
        "start" => LearnWish::Start,
        "accept" => LearnWish::Accept,
        "discard" => LearnWish::Discard,
        _ => {
            return Err(Problem::not_found("learn mode knows `start`, `accept` and `discard`"));
        }
    };
    let result = ask(&api, wish).await;
    let told = |learning: &Learning| format!("model {}, {} flows in hand", learning.model, learning.kept);
    audit(&api, &actor, &format!("api.learn.{word}"), "model", &result, told).await;
    Ok(Json(result?))
}

pub(super) async fn ask(api: &Shared, wish: LearnWish) -> Result<Learning, Problem> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        api.learning.send((wish, reply)).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Some(result)) => Ok(result?),
        Ok(None) if api.cancel.is_cancelled() => Err(Problem::unavailable("the agent is shutting down")),
        Ok(None) => Err(LearnError::NoModel.into()),
        Err(_) => Err(Problem::unavailable(
            "the agent did not answer within 20 s; look at `sentinel learn status`",
        )),
    }
}
