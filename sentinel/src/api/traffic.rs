//! The last rows of the traffic log.

use super::error::Problem;
use super::query::Params;
use super::{Shared, now};
use crate::traffic::{Wanted, tail};
use crate::types::{Timestamp, TrafficRow};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// Rows at most, and where nobody says how many.
const MOST: usize = 1000;
const USUAL: usize = 100;

/// `GET /traffic`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Traffic)]
pub(super) struct TrafficDto {
    /// The latest first.
    items: Vec<TrafficRow>,
    /// Whether the log is written (`traffic_log.enabled`).
    enabled: bool,
    /// Rows that were looked at for this answer, the latest ones.
    looked_at: u64,
    /// When the oldest of those was told.
    reaches: Option<Timestamp>,
    /// Nothing older would be an answer, or there are as many as were asked for.
    complete: bool,
}

pub(super) async fn rows(State(api): State<Shared>, mut params: Params) -> Result<Json<TrafficDto>, Problem> {
    let window = params.since(now())?;
    let range = |text: &str| text.parse().ok().filter(|n| (1..=MOST).contains(n));
    let limit = params.take("limit", "a number from 1 to 1000", range)?.unwrap_or(USUAL);
    let wanted = Wanted {
        limit,
        ip: params.ip()?,
        levels: params.words("level", "`benign`, `suspicious` or `flag`, or several with commas")?,
        sensor: params.take("sensor", "the name of a sensor such as `xdp`", sensor)?,
        since: window,
    };
    params.finish()?;
    let config = &api.config.traffic_log;
    let (path, enabled) = (config.path.clone(), config.enabled);
    // One after the other: each reads some megabytes.
    let _turn = api.tails.lock().await;
    let found = tokio::task::spawn_blocking(move || tail(&path, &wanted)).await;
    let found = found
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::internal(&error))?;
    Ok(Json(TrafficDto {
        items: found.items,
        enabled,
        looked_at: found.looked_at,
        reaches: found.reaches,
        complete: found.complete,
    }))
}

fn sensor(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    ((1..=32).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}
