//! What is told of bans: actions and audit, health, the gauge.

use super::Bans;
use super::case::Case;
use crate::store::{Record, StoreError};
use crate::types::{ActionStatus, Component, Condition, Event, Health};
use std::sync::Arc;

impl Bans {
    /// Makes a new state durable with `extra`, then tells it. Whether it is durable.
    pub(super) async fn tell(
        &self,
        case: &mut Case,
        status: ActionStatus,
        outcome: String,
        extra: Vec<Record>,
    ) -> bool {
        let changed = (case.action.status, &case.action.outcome) != (status, &outcome) || !extra.is_empty();
        let longer = case.told_until != case.action.expires_at;
        if !changed && !longer && case.told {
            return true;
        }
        case.action.status = status;
        if changed {
            case.action.outcome = outcome;
            case.action.outcome_at = Some(self.now());
        }
        let action = Arc::new(case.action.clone());
        let mut records = extra;
        records.push(Record::Action(Arc::clone(&action)));
        if changed {
            records.push(Record::Audit {
                at: self.now(),
                actor: "sentinel".to_owned(),
                verb: verb(status).to_owned(),
                subject: action.target.to_string(),
                detail: action.outcome.clone(),
            });
        }
        let kept = self.deps.store.commit(records).await;
        case.told = kept.is_ok() || matches!(kept, Err(StoreError::Queued { .. }));
        if let Err(error) = &kept {
            tracing::warn!(%error, "the outcome of a ban is not durable yet");
        }
        if case.told {
            case.told_until = action.expires_at;
            if changed {
                let (kind, status) = (action.kind.as_str(), action.status);
                tracing::info!(id = %action.id, decision = %action.decision, kind, target_net = %action.target, ?status, "action: {}", action.outcome);
            }
            self.deps.bus.publish(Event::Action(action));
        }
        kept.is_ok()
    }

    /// How things stand, for `/health` and the gauge.
    pub(super) fn report(&self) {
        let stands = |case: &&Case| case.begun() && case.action.status == ActionStatus::Enforced;
        let standing = self.cases.values().filter(stands).count();
        self.deps.metrics.bettercap.bans.stand(standing);
        let condition = match &self.fault {
            Some(cause) => Condition::Degraded {
                cause: cause.clone(),
                mend: "tried again at least once a minute; the kernel's blocks stand. `sentinel actions list` has each"
                    .to_owned(),
            },
            None => Condition::Ok {
                detail: format!("{standing} neighbours kept from the gateway"),
            },
        };
        self.note(condition);
    }

    pub(super) fn note(&self, condition: Condition) {
        self.deps
            .health
            .send_if_modified(|health| Health::note(health, Component::ArpBan, condition));
    }
}

const fn verb(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::Intent => "banning",
        ActionStatus::Enforced => "banned",
        ActionStatus::Simulated => "simulated",
        ActionStatus::Failed => "failed",
        ActionStatus::Reverted => "lifted",
        ActionStatus::Expired => "expired",
    }
}
