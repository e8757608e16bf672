//! The settings in force.

use super::Shared;
use crate::config::{Told, told};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// `GET /settings`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub(super) struct SettingsDto {
    /// In the order of the settings file; a section has `settings` of its own, a setting a `value`.
    settings: Vec<Told>,
}

pub(super) async fn settings(State(api): State<Shared>) -> Json<SettingsDto> {
    Json(SettingsDto {
        settings: told(&api.config, &api.origins),
    })
}
