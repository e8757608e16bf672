//! How the agent is: health, counters, metrics.

use super::dto::{HealthDto, HistoryDto, StatsDto, StatusDto};
use super::error::Problem;
use super::router::Expected;
use super::{Shared, now};
use crate::config::Hook;
use crate::metrics::CONTENT_TYPE;
use crate::types::{Acting, Component, Condition};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

/// 200 for `ok` and `degraded`: a degraded agent still protects.
pub(super) async fn health(State(api): State<Shared>) -> Json<HealthDto> {
    Json(api.health_now())
}

pub(super) async fn live() -> Json<StatusDto> {
    Json(StatusDto { status: "live" })
}

/// 503 until the kernel programs are attached somewhere, where they are what acts.
pub(super) async fn ready(State(api): State<Shared>) -> Response {
    let kernel = api.health.borrow().components.get(&Component::Kernel).cloned();
    let attached = api.stats.borrow().interfaces.iter().any(|i| i.xdp_mode != "none");
    // There are none to wait for, and the table stood before the API did.
    let without = api.config.kernel.hook == Hook::Nftables;
    if attached || without || matches!(kernel, Some(Condition::Ok { .. })) {
        return Json(StatusDto { status: "ready" }).into_response();
    }
    let problem = Problem::unavailable(match kernel {
        Some(Condition::Degraded { cause, mend }) => format!("the kernel programs are not attached: {cause}; {mend}"),
        _ => "the kernel programs are not attached yet".to_owned(),
    });
    (Extension(Expected), problem).into_response()
}

pub(super) async fn stats(State(api): State<Shared>) -> Json<StatsDto> {
    Json(api.stats_now())
}

pub(super) async fn history(State(api): State<Shared>) -> Json<HistoryDto> {
    Json(HistoryDto {
        items: api.history.all(),
    })
}

pub(super) async fn metrics(State(api): State<Shared>) -> Result<Response, Problem> {
    let text = api.metrics.encode().map_err(|e| Problem::internal(&e))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

impl super::Api {
    pub(super) fn health_now(&self) -> HealthDto {
        let acting = Acting::clone(&self.acting.borrow());
        let now = self.desk_now();
        HealthDto::new(&self.health.borrow(), acting, &self.config, self.started, now)
    }

    pub(super) fn stats_now(&self) -> StatsDto {
        let stats = self.stats.borrow().clone();
        let acting = Acting::clone(&self.acting.borrow());
        StatsDto::new(&stats, acting, &self.config, self.started, [now(), self.desk_now()])
    }
}
