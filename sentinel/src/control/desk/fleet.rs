//! Other nodes' words, carried out in their order.

use super::{Desk, Enforcer};
use crate::decide::{ENTRIES, Followed};
use crate::respond::{Cause, Order};
use crate::types::{CommandError, Decision, FleetDecision, FleetOrder, FleetOutcome, Timestamp};
use tokio::sync::oneshot;

/// What follows each other and shares its writes.
#[derive(Default)]
struct Together {
    orders: Vec<Order>,
    /// The place among the outcomes of who waits for a decision.
    made: Vec<(usize, oneshot::Receiver<Result<Decision, CommandError>>)>,
    /// What ends, on whose word, and the places of who waits for that.
    ended: Vec<Decision>,
    actor: String,
    ends: Vec<usize>,
}

impl<E: Enforcer> Desk<E> {
    /// Carries them out and answers. Decisions that follow each other share their writes, and so do ends of one actor.
    pub(super) async fn follow(
        &mut self,
        orders: Vec<FleetOrder>,
        most: usize,
        reply: oneshot::Sender<Vec<FleetOutcome>>,
    ) {
        let now = self.now();
        let mut outcomes = vec![FleetOutcome::Content; orders.len()];
        let mut together = Together::default();
        for (at, order) in orders.into_iter().enumerate() {
            let goes_on = match &order {
                FleetOrder::Follow(_) => together.ended.is_empty(),
                FleetOrder::Release { actor, .. } => {
                    together.orders.is_empty() && (together.ended.is_empty() || together.actor == *actor)
                }
                FleetOrder::Allow(_) | FleetOrder::Disallow { .. } => false,
            };
            if !goes_on {
                self.together(std::mem::take(&mut together), &mut outcomes, now).await;
            }
            match order {
                FleetOrder::Follow(word) => {
                    if let Some(outcome) = self.take_up(&word, most, at, &mut together, now) {
                        outcomes[at] = outcome;
                    }
                }
                FleetOrder::Release {
                    target,
                    actor,
                    by_person,
                    as_of,
                } => {
                    let ended = self.judge.release(target, by_person, as_of, now);
                    if !ended.is_empty() {
                        together.ended.extend(ended);
                        together.ends.push(at);
                        together.actor = actor;
                    }
                }
                FleetOrder::Allow(entry) => {
                    outcomes[at] = match self.allow(entry, self.now()).await {
                        Ok(_) => FleetOutcome::Done,
                        Err(error) => FleetOutcome::Failed(error.to_string()),
                    };
                }
                FleetOrder::Disallow { target, actor } => {
                    outcomes[at] = match self.disallow(target, &actor).await {
                        Ok(_) => FleetOutcome::Done,
                        // Not there, or what the settings of this node say.
                        Err(CommandError::NotFound | CommandError::Invalid(_)) => FleetOutcome::Content,
                        Err(error) => FleetOutcome::Failed(error.to_string()),
                    };
                }
            }
        }
        self.together(together, &mut outcomes, now).await;
        // Whoever asked may have left.
        let _ = reply.send(outcomes);
    }

    /// What is known of the outcome at once.
    fn take_up(
        &mut self,
        word: &FleetDecision,
        most: usize,
        at: usize,
        together: &mut Together,
        now: Timestamp,
    ) -> Option<FleetOutcome> {
        let decision = match self.judge.follow(word, most, &self.guards, now) {
            Followed::Content => return Some(FleetOutcome::Content),
            Followed::Held => return Some(FleetOutcome::Held),
            Followed::Do(decision) => *decision,
        };
        // Where there is no room, a row for each would fill the database instead.
        if let Some(veto) = decision.veto.as_ref().filter(|veto| veto.guard == ENTRIES) {
            self.deps.metrics.veto(veto);
            return Some(FleetOutcome::Vetoed(veto.clone()));
        }
        let (tell, told) = oneshot::channel();
        together.made.push((at, told));
        together.orders.push(Order::Apply {
            decision,
            alert: None,
            evidence_at: None,
            reply: Some(tell),
        });
        None
    }

    async fn together(&mut self, together: Together, outcomes: &mut [FleetOutcome], now: Timestamp) {
        let lost = || FleetOutcome::Failed("the desk gave no answer".to_owned());
        if !together.orders.is_empty() {
            self.carry_out(together.orders, now).await;
        }
        for (at, told) in together.made {
            outcomes[at] = match told.await {
                Ok(Ok(_)) => FleetOutcome::Done,
                Ok(Err(CommandError::Vetoed(veto))) => FleetOutcome::Vetoed(veto),
                Ok(Err(error)) => FleetOutcome::Failed(error.to_string()),
                Err(_) => lost(),
            };
        }
        if together.ended.is_empty() {
            return;
        }
        self.last_tallies(&together.ended).await;
        let (tell, told) = oneshot::channel();
        let order = Order::Withdraw {
            decisions: together.ended,
            cause: Cause::Fleet,
            actor: together.actor,
            reply: Some(tell),
        };
        self.carry_out(vec![order], now).await;
        let outcome = match told.await {
            Ok(Ok(_)) => FleetOutcome::Done,
            Ok(Err(error)) => FleetOutcome::Failed(error.to_string()),
            Err(_) => lost(),
        };
        for at in together.ends {
            outcomes[at] = outcome.clone();
        }
    }
}
