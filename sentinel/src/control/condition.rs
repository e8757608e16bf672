//! The store's own condition, on the board of health.

use crate::types::{Component, Condition, Health};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Copies the store's own condition into the health board, until cancelled.
pub async fn follow_store(
    mut condition: watch::Receiver<Condition>,
    health: watch::Sender<Arc<Health>>,
    cancel: CancellationToken,
) {
    loop {
        let now = condition.borrow_and_update().clone();
        health.send_if_modified(|board| Health::note(board, Component::Store, now));
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = condition.changed() => if changed.is_err() { return },
        }
    }
}
