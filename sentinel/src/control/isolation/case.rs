//! One decision's isolation: its action, what must be put back, how far it got.

use crate::containers::Undo;
use crate::types::{Action, ActionId, ActionKind, ActionStatus, ContainerSet, DecisionId, Isolate, Owner, Timestamp};
use ipnet::IpNet;
use std::time::Duration;
use tokio::time::Instant;

/// Pause before the first and the longest before a later try.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How far it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Wanted, and not known to be done.
    Begun,
    /// Cut off, as read back.
    Standing,
    /// Told only.
    Simulated,
    /// Not done, and why is told; with who had the address then.
    Refused(Vec<Owner>),
    /// Over, and not known to be put back.
    Leaving,
}

/// One isolation.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) action: Action,
    pub(super) undo: Option<Undo>,
    /// Of one that was removed while it was cut off: who had its address when that was told.
    pub(super) gone: Option<Vec<Owner>>,
    /// Why the undo record of an earlier run is of no use.
    pub(super) unreadable: Option<String>,
    pub(super) stage: Stage,
    /// Whether the store has its latest state, and with which end.
    pub(super) told: bool,
    pub(super) told_until: Option<Timestamp>,
    /// What went wrong last, while it does.
    pub(super) fault: Option<String>,
    /// When there is something to do next.
    pub(super) due: Option<Instant>,
    tries: u32,
}

impl Case {
    pub(super) fn new(id: ActionId, decision: DecisionId, wish: &Isolate, now: Timestamp) -> Self {
        let action = Action {
            id,
            decision,
            kind: ActionKind::IsolateContainer,
            target: IpNet::from(wish.address),
            status: ActionStatus::Intent,
            intent_at: now,
            entered_at: None,
            outcome_at: None,
            expires_at: wish.expires_at,
            outcome: String::new(),
            hits: 0,
            would_hits: 0,
        };
        Self::of(action, None, None, false)
    }

    /// As an earlier run left it. What it says of itself is not believed: it is looked at. Only that its container was
    /// removed is, since that one does not come back.
    pub(super) fn recalled(action: Action, undo: Option<&str>) -> Self {
        let (undo, unreadable) = match undo.map(Undo::decode) {
            None => (None, None),
            Some(Ok(undo)) => (Some(undo), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let gone = action.removed().then(Vec::new);
        Self {
            gone,
            ..Self::of(action, undo, unreadable, true)
        }
    }

    fn of(action: Action, undo: Option<Undo>, unreadable: Option<String>, told: bool) -> Self {
        Self {
            told_until: action.expires_at,
            action,
            undo,
            gone: None,
            unreadable,
            stage: Stage::Begun,
            told,
            fault: None,
            due: Some(Instant::now()),
            tries: 0,
        }
    }

    /// What is to be put back of a container that was not removed since.
    pub(super) fn undoes(&self) -> Option<&Undo> {
        self.undo.as_ref().filter(|_| self.gone.is_none())
    }

    /// The container that is cut off because of it, or may be in part.
    pub(super) fn holds(&self) -> Option<&str> {
        self.undoes().map(|undo| undo.name.as_str())
    }

    /// Whether it goes on under a wish: what was done is not left standing in simulation.
    pub(super) fn stays(&self, wish: &Isolate) -> bool {
        let done = self.undo.is_some() || self.unreadable.is_some();
        let told_only = self.stage == Stage::Simulated;
        if wish.simulated { !done } else { !told_only }
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// A new stage, with nothing to do next.
    pub(super) fn settle(&mut self, stage: Stage) {
        self.stage = stage;
        self.fault = None;
        self.tries = 0;
        self.due = None;
    }

    /// Its decision is over: to be put back at once.
    pub(super) fn leave(&mut self) {
        self.settle(Stage::Leaving);
        self.due = Some(Instant::now());
    }

    /// Again after a pause that doubles.
    pub(super) fn retry(&mut self) {
        let pause = PAUSE.0 * 2_u32.saturating_pow(self.tries.min(16));
        self.due = Some(Instant::now() + pause.min(PAUSE.1));
        self.tries += 1;
    }

    /// Whether what is known now is a reason to look again.
    pub(super) fn concerns(&self, known: &ContainerSet) -> bool {
        let having = known
            .owners
            .get(&self.action.target.addr())
            .map(Vec::as_slice)
            .unwrap_or_default();
        match &self.stage {
            Stage::Begun | Stage::Leaving => true,
            Stage::Simulated => false,
            Stage::Refused(seen) => having != seen.as_slice(),
            Stage::Standing => {
                if let Some(seen) = &self.gone {
                    return having != seen.as_slice();
                }
                // It has an address again, or somebody else was given the one it had.
                let own = self.undo.as_ref().map(|undo| undo.container.as_str());
                !having.is_empty() || known.owners.values().flatten().any(|owner| Some(&*owner.id) == own)
            }
        }
    }
}
