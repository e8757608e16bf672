//! What is told of isolations: actions and audit, health, the gauge.

use super::Isolations;
use super::case::{Case, Stage};
use crate::containers::Undo;
use crate::store::{Record, StoreError};
use crate::types::{ActionKind, ActionStatus, Component, Condition, ContainerSet, Event, Health};
use std::net::IpAddr;
use std::sync::Arc;

impl Isolations {
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
            tracing::warn!(%error, "the outcome of an isolation is not durable yet");
        }
        if case.told {
            case.told_until = action.expires_at;
            if changed {
                let (kind, status) = (ActionKind::IsolateContainer.as_str(), action.status);
                tracing::info!(id = %action.id, decision = %action.decision, kind, target_net = %action.target, ?status, "action: {}", action.outcome);
            }
            self.deps.bus.publish(Event::Action(action));
        }
        kept.is_ok()
    }

    /// How things stand, for `/health` and the gauge.
    pub(super) fn report(&self) {
        let standing = self.cases.values().filter_map(Case::holds).count();
        self.deps.metrics.isolations_active.set(standing as i64);
        let known = self.known.borrow();
        let degraded = |cause: String, mend: &str| Condition::Degraded {
            cause,
            mend: mend.to_owned(),
        };
        let mut leaving = self.cases.values().filter(|case| case.stage == Stage::Leaving);
        let mut waiting = self.cases.values().filter(|case| case.stage != Stage::Leaving);
        let condition = if let Some(fault) = leaving.find_map(|case| case.fault.as_ref()) {
            degraded(
                format!("a container is not put back: {fault}"),
                "tried again at least once a minute; or reconnect it yourself with `docker network connect`",
            )
        } else if let Some(fault) = waiting.find_map(|case| case.fault.as_ref()) {
            degraded(
                fault.clone(),
                "tried again at least once a minute; `sentinel actions list` has each",
            )
        } else if let Some(fault) = &known.fault {
            degraded(
                fault.clone(),
                "tried again at least every 15 s; meanwhile isolations are blocks",
            )
        } else {
            let text = format!(
                "{} addresses of containers known, {standing} isolated",
                known.owners.len()
            );
            Condition::Ok { detail: text }
        };
        drop(known);
        self.note(condition);
    }

    pub(super) fn note(&self, condition: Condition) {
        self.deps
            .health
            .send_if_modified(|health| Health::note(health, Component::Containers, condition));
    }
}

/// What stands once it is read back; with a warning where somebody else was given the address meanwhile.
pub(super) fn isolated(undo: &Undo, known: &ContainerSet, address: IpAddr) -> String {
    let place = match &undo.quarantine {
        None => "connected to no network".to_owned(),
        Some(network) => format!("connected to {network} alone"),
    };
    let owners = known.owners.get(&address).map(Vec::as_slice).unwrap_or_default();
    let heir = owners.iter().find(|owner| *owner.id != *undo.container);
    let heir = heir.map_or(String::new(), |owner| {
        format!(
            "; container {} has been given {address} meanwhile, and meets the kernel's block: revert the action to free it",
            owner.name
        )
    });
    format!(
        "container {} was disconnected from {}, and is {place}, read back{heir}",
        undo.name,
        undo.networks()
    )
}

const fn verb(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::Intent => "isolating",
        ActionStatus::Enforced => "isolated",
        ActionStatus::Simulated => "simulated",
        ActionStatus::Failed => "failed",
        ActionStatus::Reverted => "restored",
        ActionStatus::Expired => "expired",
    }
}
