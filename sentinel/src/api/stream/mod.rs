//! `WS /stream`: events as they become durable, counters once a second.
//!
//! A reader that lags loses the oldest events, is told how many, and the loss is counted. One that comes back names the last
//! event it saw and gets what came after it, as far as that is kept.

mod outbox;
mod reader;
mod wish;

use super::Shared;
use super::error::Problem;
use super::query::Params;
use crate::auth::Who;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use reader::Reader;
use std::sync::Arc;
use wish::Wish;

/// Readers at the same time; a further one is refused.
pub(super) const CLIENTS: usize = 256;

/// Largest message taken from a reader, bytes; nothing it says is used.
const INCOMING: usize = 4096;

pub(super) async fn stream(
    State(api): State<Shared>,
    Extension(who): Extension<Who>,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let wish = Wish::read(params)?;
    let upgrade = upgrade.map_err(|_| {
        let detail = "open this path as a WebSocket; the lists and /stats answer plain requests";
        Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade-required",
            "A WebSocket is needed",
            detail,
        )
    })?;
    let Ok(place) = Arc::clone(&api.clients).try_acquire_owned() else {
        return Err(Problem::unavailable(format!(
            "{CLIENTS} streams are open already; close one"
        )));
    };
    let upgrade = upgrade.max_message_size(INCOMING).max_frame_size(INCOMING);
    let tracked = api.sockets.token();
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _held = (place, tracked);
        api.metrics.stream_clients.inc();
        Reader::new(socket, Arc::clone(&api), wish, who).run().await;
        api.metrics.stream_clients.dec();
    }))
}
