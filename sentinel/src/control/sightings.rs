//! Who was seen beside us, to the database.

use crate::metrics::Metrics;
use crate::store::{Record, Store};
use crate::types::Sighting;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Sightings written at once.
const AT_ONCE: usize = 64;

/// Writes what comes until nobody sends any more. What the disk does not take is counted: who is there is seen again.
pub async fn keep_sightings(store: Store, metrics: Arc<Metrics>, mut seen: mpsc::Receiver<Sighting>) {
    let mut batch = Vec::new();
    while seen.recv_many(&mut batch, AT_ONCE).await > 0 {
        let records: Vec<_> = batch.drain(..).map(|one| Record::Sighting(Box::new(one))).collect();
        let many = records.len() as u64;
        if let Err(error) = store.commit(records).await {
            metrics.dropped("bettercap", "store", many);
            tracing::debug!(%error, "sightings could not be kept");
        }
    }
}
