//! What is told of isolations: actions and audit, health, the gauge.

use super::Isolations;
use super::case::{Case, Stage};
use crate::containers::Undo;
use crate::control::beside::Telling;
use crate::store::Record;
use crate::types::{ActionStatus, Component, Condition, ContainerSet, Health, UNTIL_REMOVED};
use std::net::IpAddr;

impl Isolations {
    /// Makes a new state durable with `extra`, then tells it. Whether it is durable.
    pub(super) async fn tell(
        &self,
        case: &mut Case,
        status: ActionStatus,
        outcome: String,
        extra: Vec<Record>,
    ) -> bool {
        let verb = match status {
            ActionStatus::Enforced if case.gone.is_some() => "removed",
            _ => verb(status),
        };
        let of = Telling {
            action: &mut case.action,
            told: &mut case.told,
            told_until: &mut case.told_until,
        };
        self.deps.tell(of, (status, verb), outcome, extra).await
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
    format!(
        "container {} was disconnected from {}, and is {place}, read back{}",
        undo.name,
        undo.networks(),
        heir(undo, known, address)
    )
}

/// What is left once a container that was cut off is removed; with the same warning.
pub(super) fn removed(undo: &Undo, known: &ContainerSet, address: IpAddr) -> String {
    format!(
        "container {}{UNTIL_REMOVED}; what runs under its name or address now is not isolated{}",
        undo.name,
        heir(undo, known, address)
    )
}

/// Who else was given the address meanwhile, and what that means for them; nothing where nobody was.
fn heir(undo: &Undo, known: &ContainerSet, address: IpAddr) -> String {
    let owners = known.owners.get(&address).map(Vec::as_slice).unwrap_or_default();
    let heir = owners.iter().find(|owner| *owner.id != *undo.container);
    heir.map_or(String::new(), |owner| {
        format!(
            "; container {} has been given {address} meanwhile, and meets the kernel's block: revert the action to free it",
            owner.name
        )
    })
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
