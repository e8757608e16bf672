//! The fleet: whether this node belongs to one, and what the room of it is given.

use crate::config::Config;
use crate::fleet::{Deps, Fleet, open};
use crate::metrics::Metrics;
use crate::respond::HitTable;
use crate::store::Store;
use crate::time;
use crate::types::{Acting, Clock, Command, FleetStatus, Health};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What it shares with other rooms.
pub(super) struct Others<'a> {
    pub(super) store: &'a Store,
    pub(super) commands: &'a mpsc::Sender<Command>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) health: &'a watch::Sender<Arc<Health>>,
    pub(super) hits: &'a watch::Receiver<Arc<HitTable>>,
    pub(super) acting: &'a watch::Receiver<Arc<Acting>>,
}

impl Others<'_> {
    /// The room, where the settings ask for one and it can be had.
    pub(super) async fn room(
        self,
        config: &Config,
        status: watch::Sender<Arc<FleetStatus>>,
        clock: Clock,
    ) -> anyhow::Result<Option<Fleet>> {
        let hits = self.hits.clone();
        let deps = Deps {
            store: self.store.clone(),
            commands: self.commands.clone(),
            metrics: Arc::clone(self.metrics),
            health: self.health.clone(),
            status,
            acting: self.acting.clone(),
            in_force: Box::new(move || hits.borrow().len() as u64),
            now: time::wall_now,
            desk: Box::new(move || clock.wall(time::boot_now())),
        };
        open(config, deps).await
    }
}
