//! What was in force before a restart, put back; and outcomes told anew where they are carried out otherwise by now.

use super::held::entry_of;
use super::responder::{AGAIN, tell_outcome};
use super::tidings::Tidings;
use super::{Enforcer, Responder};
use crate::store::Record;
use crate::types::{Action, Decision, DecisionId, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// Outcomes told anew at a time.
const RETOLD: usize = 4096;

impl<E: Enforcer> Responder<E> {
    /// Takes up the actions of an earlier run, so that whatever becomes of their decisions is told of them.
    pub fn recall(&mut self, actions: HashMap<DecisionId, Action>) {
        self.earlier = actions;
    }

    /// Puts back what was in force before a restart: written and read back like anything new, and told by the next
    /// [`Responder::reword`]. Returns the decisions that could not be enforced.
    pub async fn restore(&mut self, decisions: Vec<Decision>, now: Timestamp) -> Vec<DecisionId> {
        let mut tidings = Tidings::default();
        self.put_ahead(decisions.iter());
        for decision in decisions {
            let mut action = match self.earlier.remove(&decision.id) {
                Some(action) => action,
                None => self.intent(&decision, &mut HashMap::new(), now),
            };
            action.expires_at = decision.expires_at;
            // Whether it is simulated may have changed with the mode.
            tidings.records.push(Record::Decision(Arc::new(decision.clone())));
            if let Err(error) = self.install(decision, action, None, AGAIN, now, &mut tidings) {
                tracing::error!(%error, "a decision of the earlier run was not restored");
            }
        }
        self.tell(tidings).await
    }

    /// Tells of what was put back at the start, and corrects what was told of actions that the hook carries out otherwise
    /// by now: a redirection where only tc is left, what goes out of an interface that is not seen, each where one is not
    /// judged at all. Call when the programs are attached, and now and then. Some thousands at a time; returns whether there
    /// is more to tell.
    pub async fn reword(&mut self, now: Timestamp) -> bool {
        let mut tidings = Tidings::default();
        // Whoever asks for the same of the same family meets the same.
        let mut known: HashMap<_, Option<String>> = HashMap::new();
        let mut told = 0;
        for held in self.held.values_mut() {
            if told == RETOLD {
                break;
            }
            let decision = &held.decision;
            let v4 = decision.target.addr().is_ipv4();
            let class = (v4, decision.action, decision.terms.egress, decision.simulated);
            let instead = known.entry(class).or_insert_with(|| {
                self.enforcer
                    .shortfall(decision.target, &entry_of(decision, self.clock))
            });
            if !held.told || held.instead != *instead {
                held.instead.clone_from(instead);
                held.told = true;
                told += 1;
                tell_outcome(held, &self.enforcer.name(), self.stopped.as_ref(), now, &mut tidings);
            }
        }
        if !tidings.records.is_empty() {
            self.tell(tidings).await;
        }
        told == RETOLD
    }
}
