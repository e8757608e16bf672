//! Many decisions that are stored already: carried out a part at a time, told without a line of the audit each.

use super::tidings::Tidings;
use super::{Cause, Enforcer, Responder};
use crate::types::{CommandError, Decision, DecisionId, DecisionStatus, Timestamp};
use ipnet::IpNet;
use std::collections::HashMap;

impl<E: Enforcer> Responder<E> {
    /// Carries out decisions that are stored; `stood` says of each whether it is as it was drawn up to be, else it is
    /// stored anew. Returns how many were carried out, and why the next one could not be.
    pub async fn enlist(
        &mut self,
        decisions: Vec<(Decision, bool)>,
        now: Timestamp,
    ) -> (usize, Result<(), CommandError>) {
        let mut tidings = Tidings {
            unaudited: true,
            ..Tidings::default()
        };
        let mut done = 0;
        let mut outcome = Ok(());
        for (decision, as_drawn) in decisions {
            self.metrics.decision(&decision);
            if !as_drawn {
                tidings.decision(&decision);
            }
            if let Some(held) = self.held.get(&decision.target) {
                self.replaced.insert(held.decision.id, held.action.clone());
            }
            let action = self.intent(&decision, &mut HashMap::new(), now);
            if let Err(error) = self.install(decision, action, None, "by", now, &mut tidings) {
                outcome = Err(error);
                break;
            }
            done += 1;
        }
        // Whoever failed is struck by the caller, with the rest.
        self.tell(tidings).await;
        (done, outcome)
    }

    /// Takes back what [`Responder::enlist`] carried out, and puts what stood there in force again; what was only stored
    /// is told as failed. Returns those that could not be put in force again, and on how many targets an entry is still
    /// in the kernel and owed.
    pub async fn unlist(
        &mut self,
        done: Vec<(Decision, Option<Decision>)>,
        stored: Vec<Decision>,
        why: &str,
        now: Timestamp,
    ) -> (Vec<DecisionId>, usize) {
        let mut tidings = Tidings {
            unaudited: true,
            ..Tidings::default()
        };
        let targets: Vec<IpNet> = done.iter().map(|(decision, _)| decision.target).collect();
        for (mut decision, stood) in done {
            if let Some(stood) = stood {
                tidings.decision(&stood);
                let action = match self.replaced.remove(&stood.id) {
                    Some(action) => action,
                    None => self.intent(&stood, &mut HashMap::new(), now),
                };
                // A failure is told by the outcome it leads to.
                let _ = self.install(stood.clone(), action, None, "again by", now, &mut tidings);
                if stood.id == decision.id {
                    continue;
                }
            }
            decision.status = DecisionStatus::Failed;
            decision.ended_at = Some(now);
            decision.terms.watch_until = None;
            // It may be another's entry by now, and then it stays. What does not go is owed, and counted below.
            let _ = self.withdraw(vec![decision], Cause::Undone, why, now, &mut tidings);
        }
        for mut decision in stored {
            decision.status = DecisionStatus::Failed;
            decision.ended_at = Some(now);
            decision.terms.watch_until = None;
            tidings.decision(&decision);
        }
        self.replaced.clear();
        let mut still = 0;
        for target in targets {
            let owed = self.owed.contains_key(&target) && self.settle_owed(target, now, &mut tidings).is_err();
            // Of what never got in a removal can fail as well.
            still += usize::from(owed && !matches!(self.enforcer.get_block(target), Ok(None)));
        }
        (self.tell(tidings).await, still)
    }

    /// Nothing that was enlisted is to be taken back any more.
    pub fn enlisted(&mut self) {
        self.replaced.clear();
    }

    /// Stores decisions in force once more, as they are.
    pub async fn restate(&mut self, decisions: &[Decision]) {
        let mut tidings = Tidings::default();
        for decision in decisions {
            tidings.decision(decision);
        }
        self.tell(tidings).await;
    }
}
