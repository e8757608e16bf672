//! The busiest flows, as the room that keeps them tells.

use super::Shared;
use super::error::Problem;
use super::query::{Params, word};
use crate::types::{Busiest, Busy, BusyBy, BusyPer, Timestamp};
use axum::Json;
use axum::extract::State;
use ipnet::IpNet;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// How long an answer is awaited.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions about one address.
const ROOM: Duration = Duration::from_millis(50);
/// Rows at most, and where nobody says how many.
const MOST: usize = 256;
const USUAL: usize = 20;

/// `GET /flows/top`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Busiest)]
pub(super) struct BusiestDto {
    at: Timestamp,
    per: BusyPer,
    by: BusyBy,
    items: Vec<Busy>,
    /// Flows, or sources with `per=source`; with `ip`, those that have an end there.
    total: u64,
    /// Flows in the table, and how many of them were looked at.
    flows: u64,
    looked_at: u64,
}

pub(super) async fn top(State(api): State<Shared>, mut params: Params) -> Result<Json<BusiestDto>, Problem> {
    let by = params.take("by", "`bytes`, `packets` or `rate`", word)?;
    let per = params.take("per", "`flow` or `source`", word)?;
    let range = |text: &str| text.parse().ok().filter(|n| (1..=MOST).contains(n));
    let limit = params.take("limit", "a number from 1 to 256", range)?.unwrap_or(USUAL);
    let of = params.ip()?;
    params.finish()?;
    let (by, per) = (by.unwrap_or(BusyBy::Rate), per.unwrap_or(BusyPer::Flow));
    let told = ask(&api, per, of).await?;
    Ok(Json(BusiestDto {
        at: told.at,
        per,
        by,
        items: told.by(by).iter().take(limit).cloned().collect(),
        total: told.total,
        flows: told.flows,
        looked_at: told.looked_at,
    }))
}

async fn ask(api: &Shared, per: BusyPer, of: Option<IpNet>) -> Result<Arc<Busiest>, Problem> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        // Each question about one address is a walk of the whole table: one after the other, with room between.
        let turn = match of {
            Some(_) => Some(api.walks.lock().await),
            None => None,
        };
        api.busiest.send((per, of, reply)).await.ok()?;
        let told = answer.await.ok();
        if turn.is_some() {
            tokio::time::sleep(ROOM).await;
        }
        told
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Some(told)) => Ok(told),
        Ok(None) => Err(Problem::unavailable("the agent is shutting down")),
        Err(_) => Err(Problem::unavailable(
            "the analysis is too busy to tell its flows; try again",
        )),
    }
}
