//! The settings in force, and reading them anew.

use super::access::Actor;
use super::commands::{audit, kept};
use super::error::Problem;
use super::{Api, Shared};
use crate::config::{Told, told};
use crate::types::{KeyChange, RELOADING, ReloadError, ReloadWish, Reloaded};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// `GET /settings`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub(super) struct SettingsDto {
    /// In the order of the settings file; a section has `settings` of its own, a setting a `value`.
    settings: Vec<Told>,
    /// What the files said otherwise when they were last read, and the next start will bring.
    restart_pending: Vec<KeyChange>,
}

pub(super) async fn settings(State(api): State<Shared>) -> Json<SettingsDto> {
    let held = api.in_force();
    Json(SettingsDto {
        settings: told(&held.config, &held.origins),
        restart_pending: held.pending.clone(),
    })
}

/// `POST /settings/reload`.
pub(super) async fn reload(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
) -> Result<Json<Reloaded>, Problem> {
    let result = ask(&api, actor.clone()).await;
    let told = |done: &Reloaded| {
        format!(
            "{} keys hold, {} wait for a restart, {} decisions ended",
            done.applied.len(),
            done.restart.len(),
            done.released.len()
        )
    };
    let durable = audit(&api, &actor, "api.settings.reload", "settings", &result, told).await;
    let done = result?;
    kept(durable, "the settings of the files hold")?;
    Ok(Json(done))
}

async fn ask(api: &Api, actor: String) -> Result<Reloaded, Problem> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        api.reloads.send(ReloadWish { actor, reply }).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(RELOADING, asked).await {
        Ok(Some(result)) => Ok(result?),
        Ok(None) => Err(Problem::unavailable("the agent is shutting down")),
        Err(_) => Err(Problem::unavailable(format!(
            "the agent did not answer within {} s; the settings may still be taken up, look at /settings",
            RELOADING.as_secs()
        ))),
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let words = error.to_string();
        match error {
            ReloadError::Invalid(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-settings",
                "The settings are not valid",
                words,
            ),
            ReloadError::Failed(_) => Self::unavailable(words),
        }
    }
}
