//! How the fleet is, as this node sees it.

use super::Shared;
use crate::types::FleetStatus;
use axum::Json;
use axum::extract::State;

pub(super) async fn status(State(api): State<Shared>) -> Json<FleetStatus> {
    let status = FleetStatus::clone(&api.fleet.borrow());
    Json(status)
}
