//! The model that judges: what it is, and how it has been lately.

use super::Shared;
use super::learn;
use crate::types::{DriftTold, LearnWish, Learning, ModelCard};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// How long learn mode is awaited: while it sets thresholds it answers nobody, and the card does not wait for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /model`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Model)]
pub(super) enum ModelDto {
    Loaded(Box<LoadedDto>),
    None {
        loaded: bool,
        #[schema(value_type = String)]
        why: &'static str,
    },
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoadedModel)]
pub(super) struct LoadedDto {
    loaded: bool,
    #[serde(flatten)]
    card: ModelCard,
    /// As `GET /learn` says it; `null` while learn mode is busy.
    learning: Option<Learning>,
    /// What the last whole hour said; `null` before there was one, and without thresholds of this network.
    drift: Option<DriftTold>,
}

pub(super) async fn status(State(api): State<Shared>) -> Json<ModelDto> {
    let card = api.model.borrow().clone();
    let Some(card) = card else {
        return Json(ModelDto::None {
            loaded: false,
            why: if api.config.detect.model.enabled {
                "the agent has just started; the model is there in a moment"
            } else {
                "`detect.model.enabled` is false"
            },
        });
    };
    let learning = tokio::time::timeout(PATIENCE, learn::ask(&api, LearnWish::Status)).await;
    let learning = learning.ok().and_then(Result::ok);
    Json(ModelDto::Loaded(Box::new(LoadedDto {
        loaded: true,
        card: ModelCard::clone(&card),
        drift: learning.as_ref().and_then(|learning| learning.drift.clone()),
        learning,
    })))
}
