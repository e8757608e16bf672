//! A Bettercap as a sensor: what it hears on the wire and on the air, as flow records and sightings.
//!
//! In: the events of its `api.rest` (a WebSocket). Out: flow records as the kernel makes them, through the same counting;
//! an empty batch says that nothing more came until now. Two rooms, so that one reads while the other counts: [`listen`]
//! and [`judge`], with a bounded queue between them; what does not fit is dropped and counted.
//! Invariant: nothing is heard twice, nothing of it is believed further than `infer` says, memory is bounded.
//! Deliberately elsewhere: what flows mean (`detect`), commands to Bettercap (`bettercap`).

mod event;
mod flows;
mod infer;
mod judge;
mod lenient;
mod listen;
mod offline;
mod order;
mod seen;
mod services;
mod skew;
#[cfg(test)]
mod tests;

pub use judge::BettercapFlows;
pub use listen::BettercapListener;
pub use offline::BettercapReplay;

use crate::config::Config;
use crate::host::HostFacts;
use crate::metrics::Metrics;
use crate::types::{Health, Sighting};
use flows::Flows;
use listen::Hearing;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{mpsc, watch};

/// The two halves of the sensor; `None` where no Bettercap is to be heard. Who was seen goes to `sightings`.
pub fn bettercap(
    config: &Config,
    facts: watch::Receiver<Arc<HostFacts>>,
    metrics: Arc<Metrics>,
    health: watch::Sender<Arc<Health>>,
    sightings: mpsc::Sender<Sighting>,
) -> Option<(BettercapListener, BettercapFlows)> {
    let settings = &config.bettercap;
    settings.events()?;
    let (events_tx, events) = mpsc::channel(settings.queue);
    let connected = Arc::new(AtomicBool::new(false));
    let flows = Flows::new(
        config.flow.max_flows,
        config.kernel.report_interval,
        settings.inside.clone(),
    );
    let judge = BettercapFlows {
        flows,
        events,
        connected: Arc::clone(&connected),
        facts,
        here: settings.is_here(),
        idle: config.flow.idle_timeout,
        metrics: Arc::clone(&metrics),
    };
    let listener = BettercapListener {
        config: settings.clone(),
        events: events_tx,
        connected,
        metrics,
        health,
        sightings,
        air: listen::Air::default(),
        hearing: Hearing::new(listen::since()),
        pauses: listen::PAUSES,
    };
    Some((listener, judge))
}
