//! Who was seen beside us.

use super::Shared;
use super::error::Problem;
use super::query::{Params, word};
use crate::types::Sighting;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// Rows at most, and where nobody says how many.
const MOST: usize = 1000;
const USUAL: usize = 100;

/// `GET /sightings`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sightings)]
pub(super) struct SightingsDto {
    /// The latest first.
    items: Vec<Sighting>,
    /// How many there are in all.
    total: u64,
}

pub(super) async fn list(State(api): State<Shared>, mut params: Params) -> Result<Json<SightingsDto>, Problem> {
    let kind = params.take("kind", "`endpoint`, `wifi` or `ble`", word)?;
    let range = |text: &str| text.parse().ok().filter(|n| (1..=MOST).contains(n));
    let limit = params.take("limit", "a number from 1 to 1000", range)?.unwrap_or(USUAL);
    let of = params.ip()?;
    params.finish()?;
    let (items, total) = api.store.sightings(of, kind, limit).await?;
    Ok(Json(SightingsDto { items, total }))
}
