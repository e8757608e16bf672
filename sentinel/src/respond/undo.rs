//! Taking back: removal proved by reading, and tried again until it is.

use super::held::{Held, Owed};
use super::responder::end_owed;
use super::tidings::Tidings;
use super::{Cause, EnforceError, Enforcer, Responder};
use crate::types::{
    Action, ActionStatus, CommandError, Decision, DecisionId, DecisionStatus, Ending, Selector, Timestamp, canonical,
    ended_as,
};
use ipnet::IpNet;

/// Removals tried again at a time.
const RETRIES: usize = 256;

/// More than so many decisions that end at once are kept as one record.
const TOGETHER: usize = 64;

impl<E: Enforcer> Responder<E> {
    pub(super) fn withdraw(
        &mut self,
        decisions: Vec<Decision>,
        cause: Cause,
        actor: &str,
        now: Timestamp,
        tidings: &mut Tidings,
    ) -> Result<Vec<Decision>, CommandError> {
        let mut failures = Vec::new();
        let mut decisions = decisions;
        let watches = self.enforcer.watches();
        let goes = |decision: &&Decision| {
            let held = self.held.get(&decision.target);
            let watched = watches && decision.terms.watch_until.is_some();
            !watched && held.is_none_or(|held| held.decision.id == decision.id)
        };
        let gone: Vec<IpNet> = decisions.iter().filter(goes).map(|decision| decision.target).collect();
        if gone.len() > 1 {
            self.enforcer.delete_ahead(&gone);
        }
        let together = decisions.len() > TOGETHER && matches!(cause, Cause::Expired | Cause::Operator | Cause::Fleet);
        for decision in &mut decisions {
            let held = self.held.get(&decision.target);
            let another = held.is_some_and(|held| held.decision.id != decision.id);
            let action = if another || held.is_none() {
                self.earlier.remove(&decision.id)
            } else {
                self.held.remove(&decision.target).map(|held| held.action)
            };
            self.gone.push(decision.id);
            let watching = matches!(cause, Cause::Expired | Cause::Operator | Cause::Fleet) && !another;
            let kept = watching.then(|| self.keep_watching(decision, now)).flatten();
            if kept.is_none() {
                decision.terms.watch_until = None;
            }
            let removed = match kept {
                Some(last) => Ok(last),
                // What another decision put there stays.
                None if another => Ok((0, 0)),
                None => self.remove(decision.target),
            };
            let mut ending = Ending {
                at: now,
                status: decision.status,
                by: match &decision.veto {
                    Some(veto) if cause == Cause::RolledBack => format!("rolled back by {actor}: {}", veto.reason),
                    _ => format!("{} by {actor}", cause.as_str()),
                },
                watch_until: decision.terms.watch_until,
                hits: 0,
                would_hits: 0,
            };
            match removed {
                Ok((hits, would_hits)) => {
                    (ending.hits, ending.would_hits) = (hits, would_hits);
                    let action = action.map(|mut action| {
                        ending.end_action(&mut action);
                        self.metrics.reverted(cause.as_str());
                        action
                    });
                    if together && !another {
                        tidings.ended(decision, action, ending);
                        continue;
                    }
                    if let Some(action) = action {
                        tidings.action(&action);
                    }
                }
                Err(error) => {
                    failures.push(format!("{}: {error}; it is tried again", decision.target));
                    let outcome =
                        format!("removal failed: {error}; it is tried again, and the kernel lets it lapse by itself");
                    let subject = decision.target.to_string();
                    tidings.audit(now, "sentinel", "removal_failed", subject, outcome.clone());
                    if let Some(mut action) = action {
                        let settled = ending.words();
                        action.outcome = outcome;
                        action.outcome_at = Some(now);
                        tidings.action(&action);
                        self.owe(&action, Some(decision.clone()), ended_as(decision.status), settled);
                    }
                }
            }
            tidings.decision(decision);
        }
        if failures.is_empty() {
            Ok(decisions)
        } else {
            Err(CommandError::Failed(failures.join("; ")))
        }
    }

    /// Removes an entry, proves that it is gone, and returns its last counters (hits, would-be hits).
    pub(super) fn remove(&mut self, target: IpNet) -> Result<(u64, u64), EnforceError> {
        let last = self.enforcer.delete_block(target)?;
        match self.enforcer.get_block(target)? {
            None => Ok(last.map_or((0, 0), |entry| (entry.hits, entry.would_hits))),
            Some(_) => Err(EnforceError::Kernel {
                map: "block",
                cause: "the entry is still there after its removal".into(),
            }),
        }
    }

    /// Remembers that an entry is still to be removed, whose it is, and how its action ends then.
    pub(super) fn owe(&mut self, action: &Action, decision: Option<Decision>, ended: ActionStatus, settled: String) {
        tracing::error!(target_net = %action.target, outcome = action.outcome, "an entry could not be removed");
        let owed = Owed {
            action: action.clone(),
            decision,
            ended,
            settled,
        };
        self.owed.entry(action.target).or_default().push(owed);
    }

    /// Tries again to remove what could not be removed, and tells of what is gone.
    pub async fn retry_removals(&mut self, now: Timestamp) {
        let targets: Vec<IpNet> = self.owed.keys().copied().take(RETRIES).collect();
        let mut tidings = Tidings::default();
        for target in targets {
            // What fails is tried again with the next look.
            let _ = self.settle_owed(target, now, &mut tidings);
        }
        self.tell(tidings).await;
    }

    /// Tries again at once to remove what is owed of a selector. Returns the decisions whose entries are gone by that, and
    /// what is still in the kernel.
    pub async fn remove_owed(
        &mut self,
        which: &Selector,
        now: Timestamp,
    ) -> (Vec<Decision>, Vec<(IpNet, EnforceError)>) {
        let meant = |target: IpNet, waiting: &[Owed]| match which {
            Selector::Id(id) => waiting.iter().any(|owed| owed.action.decision == *id),
            Selector::Target(wanted) => canonical(*wanted) == target,
            Selector::All => true,
        };
        let targets: Vec<IpNet> = self
            .owed
            .iter()
            .filter(|(target, waiting)| meant(**target, waiting.as_slice()))
            .map(|(target, _)| *target)
            .collect();
        if targets.len() > 1 {
            self.enforcer.delete_ahead(&targets);
        }
        let mut tidings = Tidings::default();
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for target in targets {
            match self.settle_owed(target, now, &mut tidings) {
                Ok(ended) => settled.extend(ended),
                Err(error) => left.push((target, error)),
            }
        }
        self.tell(tidings).await;
        let store = self.memory.store();
        let mut gone = Vec::with_capacity(settled.len());
        for (id, decision) in settled {
            if let Some(decision) = decision {
                gone.push(decision);
                continue;
            }
            // Its record is of an earlier run, and says how it ended there.
            match store.decision(id).await {
                Ok(stored) => gone.extend(stored),
                Err(error) => tracing::warn!(%id, %error, "a decision whose entry was removed cannot be read"),
            }
        }
        (gone, left)
    }

    /// Removes an entry that is owed, and ends what waited for that; returns the decisions that did, by name.
    pub(super) fn settle_owed(
        &mut self,
        target: IpNet,
        now: Timestamp,
        tidings: &mut Tidings,
    ) -> Result<Vec<(DecisionId, Option<Decision>)>, EnforceError> {
        let last = self.remove(target)?;
        let mut waiting = self.owed.remove(&target).unwrap_or_default();
        // The entry that could not be removed was the first one's; what came after never got in.
        if let Some(first) = waiting.first_mut() {
            (first.action.hits, first.action.would_hits) = last;
        }
        let mut ended = Vec::with_capacity(waiting.len());
        for mut owed in waiting {
            ended.push((owed.action.decision, owed.decision.take()));
            let outcome = owed.settled.clone();
            end_owed(owed, outcome, now, tidings);
        }
        Ok(ended)
    }

    /// Ends actions of an earlier run that are still told to be in force though their decisions are over: a removal that
    /// had failed, or an end between two writes. Call before [`Responder::restore`].
    pub async fn disown(&mut self, actions: Vec<Action>, now: Timestamp) {
        let mut tidings = Tidings::default();
        for mut action in actions {
            let settled = "ended with the earlier run; nothing of it in the kernel, read back".to_owned();
            match self.remove(action.target) {
                Ok(_) => {
                    let owed = Owed {
                        action,
                        decision: None,
                        ended: ActionStatus::Reverted,
                        settled: String::new(),
                    };
                    end_owed(owed, settled, now, &mut tidings);
                }
                Err(error) => {
                    action.outcome = format!("removal failed: {error}; tried again every second");
                    tidings.action(&action);
                    self.owe(&action, None, ActionStatus::Reverted, settled);
                }
            }
        }
        self.tell(tidings).await;
    }

    /// An older decision on the same target gave way to a new one: its action is over, the entry is the new one's.
    pub(super) fn supersede(&mut self, mut old: Held, by: &Decision, now: Timestamp, tidings: &mut Tidings) {
        self.gone.push(old.decision.id);
        old.action.status = ActionStatus::Reverted;
        old.action.outcome = format!("superseded by decision {}", by.id);
        old.action.outcome_at = Some(now);
        old.decision.status = DecisionStatus::Deleted;
        old.decision.ended_at = Some(now);
        old.decision.terms.watch_until = None;
        tidings.action(&old.action);
        tidings.decision(&old.decision);
    }
}
