//! What is told of bans: actions and audit, health, the gauge.

use super::Bans;
use super::case::Case;
use crate::control::beside::Telling;
use crate::store::Record;
use crate::types::{ActionStatus, Component, Condition, Health};

impl Bans {
    /// Makes a new state durable with `extra`, then tells it. Whether it is durable.
    pub(super) async fn tell(
        &self,
        case: &mut Case,
        status: ActionStatus,
        outcome: String,
        extra: Vec<Record>,
    ) -> bool {
        let of = Telling {
            action: &mut case.action,
            told: &mut case.told,
            told_until: &mut case.told_until,
        };
        self.deps.tell(of, (status, verb(status)), outcome, extra).await
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
