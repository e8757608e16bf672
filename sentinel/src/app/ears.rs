//! A second pair of ears: Bettercap's events, judged by flow table and detectors of their own.
//!
//! What the kernel sees and what Bettercap hears may be the same packets, so they share no table: nothing is counted twice,
//! and each alert says who saw it. The model judges none of it, for it was trained on what only the kernel tells.

use super::Rooms;
use crate::config::Config;
use crate::control::{Analysis, Gauges};
use crate::detect::Detectors;
use crate::flow::FlowTable;
use crate::intel::feeds::Feeds;
use crate::metrics::Metrics;
use crate::sensor::{BettercapFlows, BettercapListener};
use crate::traffic;
use crate::types::{Alert, Clock, FlowEnd, Health, Mint, Renewals};
use sentinel_common::event::FlowRecord;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The two halves of the sensor.
pub(super) type Ears = (BettercapListener, BettercapFlows);

/// Flow table and detectors of what Bettercap hears: it always hears both directions.
pub(super) fn judges(config: &Config, clock: Clock) -> (FlowTable, Detectors) {
    let mut config = config.clone();
    config.kernel.egress = true;
    let detectors = Detectors::new(&config, clock, Mint::Random, "bettercap");
    (FlowTable::new(&config.flow), detectors)
}

/// Spawns the sensor; its records go to `records`.
pub(super) fn listen(rooms: &mut Rooms, ears: Ears, records: mpsc::Sender<Vec<FlowRecord>>, cancel: CancellationToken) {
    let (listener, flows) = ears;
    rooms.spawn("bettercap", listener.run(cancel));
    rooms.spawn("bettercap flows", flows.run(records));
}

/// What the second analysis works with.
pub(super) struct Beside {
    pub(super) clock: Clock,
    pub(super) feeds: Feeds,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: watch::Sender<Arc<Health>>,
    pub(super) alerts: mpsc::Sender<Arc<Alert>>,
    pub(super) ended: Option<mpsc::Sender<FlowEnd>>,
    pub(super) traffic: Option<traffic::Sender>,
    pub(super) renewals: Renewals<Arc<Config>>,
}

/// Spawns sensor and analysis beside those of the kernel.
pub(super) fn beside(rooms: &mut Rooms, ears: Ears, config: &Config, deps: Beside, cancel: CancellationToken) {
    let (table, detectors) = judges(config, deps.clock);
    let detectors = detectors.with_lists(config, Box::new(deps.feeds));
    // Whom a provisional decision hits and who behaved well is told by the kernel's ears.
    let (peers, _) = watch::channel(Arc::default());
    let gauges = Arc::new(Gauges::default());
    let (records_tx, records) = mpsc::channel(super::RECORD_BATCHES);
    let ((_, notices), (_, asks)) = (mpsc::channel(1), mpsc::channel(1));
    listen(rooms, ears, records_tx, cancel);
    let analysis = Analysis::new(table, detectors, deps.metrics, gauges, deps.health, peers)
        .with_ended(deps.ended)
        .with_traffic(deps.traffic, config)
        .with_renewals(deps.renewals)
        .paced();
    rooms.spawn("bettercap analysis", analysis.run(records, notices, asks, deps.alerts));
}
