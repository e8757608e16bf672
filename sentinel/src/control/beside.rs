//! What rooms that act beside the kernel have in common: isolating containers, banning neighbours.

use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::store::{Record, Store, StoreError};
use crate::time;
use crate::types::{Action, ActionStatus, Clock, Event, Health, Timestamp};
use std::sync::Arc;
use tokio::sync::watch;

/// What a room works with that acts beside the kernel.
#[derive(Clone)]
pub struct BesideDeps {
    /// Durable memory.
    pub store: Store,
    /// The live lane.
    pub bus: Bus,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Published health.
    pub health: watch::Sender<Arc<Health>>,
    /// How the clocks stand.
    pub clock: Clock,
}

/// An action of such a room, and what was told of it.
pub(super) struct Telling<'a> {
    pub(super) action: &'a mut Action,
    /// Its latest state was told.
    pub(super) told: &'a mut bool,
    /// Until when it was told to last.
    pub(super) told_until: &'a mut Option<Timestamp>,
}

impl BesideDeps {
    /// The wall clock, as decisions are dated.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall(time::boot_now())
    }

    /// Makes a new state of an action durable with `extra`, then tells it; `verb` is for the audit. Whether it is durable.
    pub(super) async fn tell(
        &self,
        of: Telling<'_>,
        (status, verb): (ActionStatus, &'static str),
        outcome: String,
        extra: Vec<Record>,
    ) -> bool {
        let Telling {
            action: known,
            told,
            told_until,
        } = of;
        let changed = (known.status, &known.outcome) != (status, &outcome) || !extra.is_empty();
        let longer = *told_until != known.expires_at;
        if !changed && !longer && *told {
            return true;
        }
        known.status = status;
        if changed {
            known.outcome = outcome;
            known.outcome_at = Some(self.now());
        }
        let action = Arc::new(known.clone());
        let mut records = extra;
        records.push(Record::Action(Arc::clone(&action)));
        if changed {
            records.push(Record::Audit {
                at: self.now(),
                actor: "sentinel".to_owned(),
                verb: verb.to_owned(),
                subject: action.target.to_string(),
                detail: action.outcome.clone(),
            });
        }
        let kind = action.kind.as_str();
        let kept = self.store.commit(records).await;
        *told = kept.is_ok() || matches!(kept, Err(StoreError::Queued { .. }));
        if let Err(error) = &kept {
            tracing::warn!(kind, %error, "the outcome of an action is not durable yet");
        }
        if *told {
            *told_until = action.expires_at;
            if changed {
                let status = action.status;
                tracing::info!(id = %action.id, decision = %action.decision, kind, target_net = %action.target, ?status, "action: {}", action.outcome);
            }
            self.bus.publish(Event::Action(action));
        }
        kept.is_ok()
    }
}
