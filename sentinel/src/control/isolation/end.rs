//! A decision that is over: its container is put back, or stays for another.

use super::Isolations;
use super::case::{Case, Stage};
use crate::containers::{ContainerError, Restored, Undo, restore};
use crate::types::{ActionStatus, DecisionStatus, ToIsolate};

impl Isolations {
    /// The decision is over. Whether the case is.
    pub(super) async fn end(&mut self, case: &mut Case, wanted: &ToIsolate) -> bool {
        if case.stage != Stage::Leaving {
            case.leave();
        }
        if !case.is_due() {
            return false;
        }
        let status = match self.deps.store.decision(case.action.decision).await {
            Ok(Some(decision)) if decision.status == DecisionStatus::Expired => ActionStatus::Expired,
            Ok(_) => ActionStatus::Reverted,
            Err(error) => {
                tracing::warn!(%error, "how a decision ended is not known yet");
                case.retry();
                return false;
            }
        };
        if let Some(unreadable) = &case.unreadable {
            let outcome = format!("not put back: {unreadable}");
            case.fault = Some(outcome.clone());
            case.retry();
            self.tell(case, case.action.status, outcome, Vec::new()).await;
            return false;
        }
        let outcome = match self.leave(case, wanted).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.deps.metrics.isolation_failed("restore");
                case.retry();
                let outcome = format!("over, and not put back yet: {error}; tried again until it is");
                case.fault = Some(outcome.clone());
                self.tell(case, case.action.status, outcome, Vec::new()).await;
                return false;
            }
        };
        if case.action.status == ActionStatus::Failed {
            // It was told already that nothing was done.
            return true;
        }
        let told = self.tell(case, status, outcome, Vec::new()).await;
        if !told {
            case.retry();
        }
        told
    }

    /// Puts back what was cut off, unless another decision keeps it so; what came of it, in words.
    async fn leave(&self, case: &Case, wanted: &ToIsolate) -> Result<String, ContainerError> {
        let Some(undo) = &case.undo else {
            return Ok("over; nothing was disconnected".to_owned());
        };
        let keeps = self.cases.iter().find(|(id, other)| {
            let same = other.undoes().is_some_and(|other| other.container == undo.container);
            same && wanted.get(id).is_some_and(|wish| other.stays(wish))
        });
        if let Some((other, _)) = keeps.filter(|_| case.gone.is_none()) {
            return Ok(format!(
                "over; container {} stays cut off for decision {other}",
                undo.name
            ));
        }
        match self.put_back(undo).await {
            // What was removed does not come back: it need not be waited for that the engine says so again.
            Err(_) if case.gone.is_some() => {
                self.deps.metrics.isolation_restored("gone");
                Ok(nothing_left(undo))
            }
            outcome => outcome,
        }
    }

    /// Connects a container to what it was connected to; how it is then, in words.
    pub(super) async fn put_back(&self, undo: &Undo) -> Result<String, ContainerError> {
        let (result, outcome) = match restore(&self.engine, undo).await? {
            Restored::Exactly => (
                "exact",
                format!(
                    "container {} is back on {} as it was, read back",
                    undo.name,
                    undo.networks()
                ),
            ),
            Restored::Differently(told) => (
                "different",
                format!(
                    "container {} is back, read back; not as it was: {}",
                    undo.name,
                    told.join("; ")
                ),
            ),
            Restored::Gone => ("gone", nothing_left(undo)),
        };
        self.deps.metrics.isolation_restored(result);
        Ok(outcome)
    }
}

fn nothing_left(undo: &Undo) -> String {
    format!("container {} is gone; nothing to put back", undo.name)
}
