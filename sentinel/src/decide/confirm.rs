//! Decisions about prefixes are commit-confirm: the kernel lets go of them by itself unless they are confirmed in time.

use super::Judge;
use crate::types::{Check, CheckVerdict, CommandError, Decision, DecisionId, DecisionStatus, Timestamp, Veto};

/// Name of the guard that confirms, and rolls back.
const GUARD: &str = "health_probe";

impl Judge {
    /// Makes a decision that was just drawn up provisional, where it is about a prefix, drops something, and would last
    /// longer than the window. What is confirmed already needs it only for what is graver, and a window that runs goes on
    /// as it began.
    pub(super) fn provide(&self, decision: &mut Decision, now: Timestamp) {
        decision.until_if_confirmed = None;
        let window = self.config.policy.confirm.window;
        let Some(full) = decision.expires_at else { return };
        if window.is_zero() || decision.simulated || !decision.is_wide() {
            return;
        }
        let fresh = now.after(window);
        let standing = self.ledger.on(&decision.target).filter(|d| !d.simulated);
        let standing = standing.filter(|standing| no_graver(decision, standing));
        let confirmed = standing.and_then(|d| d.checks.iter().find(|check| check.guard == GUARD));
        if let Some(check) = confirmed {
            decision.checks.push(check.clone());
            return;
        }
        let runs = standing.filter(|d| d.until_if_confirmed.is_some());
        let end = runs.and_then(|d| d.expires_at).unwrap_or(fresh);
        if full > end {
            decision.until_if_confirmed = Some(full);
            decision.expires_at = Some(end);
        }
    }

    /// Nothing speaks against a provisional decision: it lasts to its full end. `None` where it is not provisional any
    /// more, or in another window than `window`.
    pub fn confirm(
        &mut self,
        id: DecisionId,
        window: Option<Timestamp>,
        why: &str,
        now: Timestamp,
    ) -> Option<Decision> {
        let mut decision = self.provisional_as(id, window)?.clone();
        if decision.expires_at.is_none_or(|end| end <= now) {
            return None;
        }
        decision.expires_at = decision.until_if_confirmed.take();
        decision.checks.retain(|check| check.guard != GUARD);
        decision.checks.push(Check {
            guard: GUARD.to_owned(),
            verdict: CheckVerdict::Passed,
            reason: why.to_owned(),
        });
        self.on_probation(&mut decision);
        self.ledger.put(decision.clone());
        Some(decision)
    }

    /// A person confirms a decision.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where it is not in force; [`CommandError::Invalid`] where it needs no confirmation.
    pub fn confirm_by_hand(&mut self, id: DecisionId, actor: &str, now: Timestamp) -> Result<Decision, CommandError> {
        self.latest = self.latest.max(now);
        let decision = self.ledger.named(id).ok_or(CommandError::NotFound)?;
        if decision.until_if_confirmed.is_none() {
            let end = decision.expires_at.unwrap_or(now);
            return Err(CommandError::Invalid(format!(
                "decision {id} is in force until {end} and needs no confirmation"
            )));
        }
        self.confirm(id, None, &format!("confirmed by {actor}"), now)
            .ok_or(CommandError::NotFound)
    }

    /// Something speaks against a provisional decision, or nobody can tell: it is over. Its prefix is not widened to again
    /// for a while. `None` as for [`Judge::confirm`].
    pub fn roll_back(
        &mut self,
        id: DecisionId,
        window: Option<Timestamp>,
        why: &str,
        now: Timestamp,
    ) -> Option<Decision> {
        self.latest = self.latest.max(now);
        self.provisional_as(id, window)?;
        let decision = self.end(id, DecisionStatus::RolledBack, now)?;
        Some(self.rolled_back(decision, why.to_owned(), now))
    }

    /// A provisional decision whose window passed, as it was taken off the books.
    pub(super) fn lapsed(&mut self, mut decision: Decision, end: Timestamp) -> Decision {
        decision.status = DecisionStatus::RolledBack;
        decision.ended_at = Some(end);
        decision.terms.watch_until = None;
        let why = "nothing confirmed it before its window had passed".to_owned();
        self.rolled_back(decision, why, end)
    }

    fn rolled_back(&mut self, mut decision: Decision, why: String, at: Timestamp) -> Decision {
        decision.veto = Some(Veto {
            guard: GUARD.to_owned(),
            reason: why,
        });
        self.shun(decision.target, at);
        decision
    }

    fn provisional_as(&self, id: DecisionId, window: Option<Timestamp>) -> Option<&Decision> {
        let named = self.ledger.named(id).filter(|d| d.until_if_confirmed.is_some())?;
        (window.is_none() || window == named.expires_at).then_some(named)
    }

    /// Decisions in force that are not confirmed.
    pub fn provisional(&self) -> impl Iterator<Item = &Decision> {
        self.ledger.provisional()
    }
}

/// Whether a decision drops nothing that the one standing on its target lets through.
fn no_graver(decision: &Decision, standing: &Decision) -> bool {
    let same = || {
        decision.action == standing.action
            && decision.terms.rate == standing.terms.rate
            && decision.terms.egress <= standing.terms.egress
    };
    decision.action < standing.action || same()
}
