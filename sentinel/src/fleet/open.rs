//! What the room is given, and whether it can be had.

use super::link::{Away, Place};
use super::room::Fleet;
use super::word::Signer;
use crate::config::Config;
use crate::files;
use crate::metrics::Metrics;
use crate::store::{Record, Store};
use crate::types::{Acting, Command, Component, Condition, FleetStatus, Health, Timestamp};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What the room shares with the rest of the house.
pub struct Deps {
    /// Where changes are noted, and what was told and heard is kept.
    pub store: Store,
    /// The desk.
    pub commands: mpsc::Sender<Command>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Published health.
    pub health: watch::Sender<Arc<Health>>,
    /// Published: how the fleet is.
    pub status: watch::Sender<Arc<FleetStatus>>,
    /// Whether a person stopped all acting here.
    pub acting: watch::Receiver<Arc<Acting>>,
    /// Decisions that have an entry here.
    pub in_force: Box<dyn Fn() -> u64 + Send + Sync>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// The desk's clock, by which decisions end.
    pub desk: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// The room, where the settings ask for one. Where it cannot be had that is said, and the node goes on alone.
///
/// # Errors
/// What the store says.
pub async fn open(config: &Config, deps: Deps) -> anyhow::Result<Option<Fleet>> {
    let Some(place) = config.bus.redis() else {
        deps.store.keep(vec![Record::Fleet(false)]).await?;
        return Ok(None);
    };
    let refuse = |cause: String, mend: &str| {
        tracing::error!(cause, mend, "the fleet is done without");
        let status = FleetStatus {
            enabled: true,
            cause: cause.clone(),
            ..FleetStatus::default()
        };
        deps.status.send_replace(Arc::new(status));
        note(&deps.health, degraded(cause, mend));
    };
    let Some(signer) = config.fleet.key.as_ref().and_then(Signer::new) else {
        refuse(
            "`bus` names a Redis, and there is no key to sign by: whoever can write there could have this node block anybody"
                .to_owned(),
            "make one by `openssl rand -hex 32`, the same for every node, name its file in `fleet.key_file` (or put it in \
             FLEET_KEY), and restart",
        );
        return Ok(None);
    };
    let place = match Place::new(place, &config.fleet) {
        Ok(place) => place,
        Err(Away { cause, mend }) => {
            refuse(format!("the Redis of the fleet {cause}"), &mend);
            return Ok(None);
        }
    };
    deps.store.keep(vec![Record::Fleet(true)]).await?;
    let position = deps.store.fleet_position().await?;
    let joins = position.is_none();
    let name = match config.fleet.name.as_str() {
        "" => host_name(),
        name => name.to_owned(),
    };
    let status = FleetStatus {
        enabled: true,
        name: name.clone(),
        cause: "not reached yet".to_owned(),
        position: position.clone().unwrap_or_default(),
        ..FleetStatus::default()
    };
    Ok(Some(Fleet {
        config: config.fleet.clone(),
        place,
        mode: config.mode,
        name,
        instance: format!("{:016x}", RandomState::new().hash_one(std::process::id())),
        signer,
        deps,
        position,
        alerts: None,
        ahead: None,
        joins,
        shown: false,
        deaf: None,
        failed: None,
        twin: false,
        status,
        forgot: Instant::now(),
    }))
}

/// Whether the Redis that the settings name answers and will do; nothing is written there.
///
/// # Errors
/// What is wrong, and the mend.
pub async fn probe(config: &Config) -> Result<(), (String, String)> {
    let Some(place) = config.bus.redis() else {
        return Ok(());
    };
    let told = |away: Away| (away.cause, away.mend);
    let place = Place::new(place, &config.fleet).map_err(told)?;
    place.connect().await.map(drop).map_err(told)
}

/// The host's name, in letters that a node's may have.
fn host_name() -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '_'
        }
    };
    files::host_name().chars().take(64).map(plain).collect()
}

pub(super) fn degraded(cause: impl Into<String>, mend: impl Into<String>) -> Condition {
    Condition::Degraded {
        cause: cause.into(),
        mend: mend.into(),
    }
}

pub(super) fn note(health: &watch::Sender<Arc<Health>>, condition: Condition) {
    health.send_if_modified(|health| Health::note(health, Component::Fleet, condition));
}
