//! How decisions ended: one of them, or many together.

use super::{Action, ActionStatus, Decision, DecisionId, DecisionStatus, Timestamp};

/// How one decision ended, its entry in the kernel gone or left to watch, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// As what: expired or deleted.
    pub status: DecisionStatus,
    /// Why and by whom, for people: `operator by api`.
    pub by: String,
    /// Until when its entry stays to watch for a return.
    pub watch_until: Option<Timestamp>,
    /// Packets its entry acted on in all.
    pub hits: u64,
    /// Packets it would have acted on.
    pub would_hits: u64,
}

impl Ending {
    /// Writes it into the decision.
    pub fn end(&self, decision: &mut Decision) {
        decision.status = self.status;
        decision.ended_at = Some(self.at);
        decision.terms.watch_until = self.watch_until;
    }

    /// Writes it into the decision's action in the kernel; another action, or one that is over, stays as it is.
    pub fn end_action(&self, action: &mut Action) {
        if action.kind.beside() || !action.status.stands() {
            return;
        }
        action.status = ended_as(self.status);
        action.outcome_at = Some(self.at);
        action.outcome = self.words();
        (action.hits, action.would_hits) = (self.hits, self.would_hits);
    }

    /// What is told of it.
    pub fn words(&self) -> String {
        let by = &self.by;
        match self.watch_until {
            None => format!("{by}; entry gone, read back"),
            Some(until) => {
                format!("{by}; no longer in force, the entry only watches for a return until {until}, read back")
            }
        }
    }
}

/// As what the action of a decision is over that ended so.
pub fn ended_as(status: DecisionStatus) -> ActionStatus {
    if status == DecisionStatus::Expired {
        ActionStatus::Expired
    } else {
        ActionStatus::Reverted
    }
}

/// Decisions that ended at one instant, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// As what.
    pub status: DecisionStatus,
    /// Why and by whom.
    pub by: String,
    /// Which.
    pub each: Vec<EndedOne>,
}

/// One of many that ended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedOne {
    /// Its name.
    pub decision: DecisionId,
    /// As in [`Ending`].
    pub watch_until: Option<Timestamp>,
    /// As in [`Ending`].
    pub hits: u64,
    /// As in [`Ending`].
    pub would_hits: u64,
}
