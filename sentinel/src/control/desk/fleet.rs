//! Other nodes' words, carried out in their order.

use super::{Desk, Enforcer};
use crate::respond::{Cause, Order};
use crate::types::{CommandError, Decision, DecisionStatus, FleetOrder, FleetOutcome, Timestamp};
use ipnet::IpNet;
use tokio::sync::oneshot;

/// Who waits for what became of a decision.
type Awaited = (usize, oneshot::Receiver<Result<Decision, CommandError>>);

impl<E: Enforcer> Desk<E> {
    /// Carries them out and answers. Decisions that follow each other share their writes.
    pub(super) async fn follow(
        &mut self,
        orders: Vec<FleetOrder>,
        most: usize,
        reply: oneshot::Sender<Vec<FleetOutcome>>,
    ) {
        let now = self.now();
        let mut outcomes = vec![FleetOutcome::Content; orders.len()];
        let mut together = Vec::new();
        let mut awaited: Vec<Awaited> = Vec::new();
        for (at, order) in orders.into_iter().enumerate() {
            if !matches!(order, FleetOrder::Follow(_)) {
                self.together(&mut together, &mut awaited, &mut outcomes, now).await;
            }
            match order {
                FleetOrder::Follow(word) => {
                    let Some(decision) = self.judge.follow(&word, most, &self.guards, now) else {
                        continue;
                    };
                    if let (DecisionStatus::Vetoed, Some(veto)) = (decision.status, &decision.veto) {
                        self.deps.metrics.veto(veto);
                        outcomes[at] = FleetOutcome::Vetoed(veto.clone());
                    }
                    let (tell, told) = oneshot::channel();
                    awaited.push((at, told));
                    together.push(Order::Apply {
                        decision,
                        alert: None,
                        evidence_at: None,
                        reply: Some(tell),
                    });
                }
                FleetOrder::Release {
                    target,
                    actor,
                    by_person,
                } => outcomes[at] = self.release(target, actor, by_person, now).await,
                FleetOrder::Allow(entry) => {
                    outcomes[at] = match self.allow(entry).await {
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
        self.together(&mut together, &mut awaited, &mut outcomes, now).await;
        // Whoever asked may have left.
        let _ = reply.send(outcomes);
    }

    async fn together(
        &mut self,
        orders: &mut Vec<Order>,
        awaited: &mut Vec<Awaited>,
        outcomes: &mut [FleetOutcome],
        now: Timestamp,
    ) {
        if orders.is_empty() {
            return;
        }
        self.carry_out(std::mem::take(orders), now).await;
        for (at, told) in awaited.drain(..) {
            match told.await {
                Ok(Ok(_)) => outcomes[at] = FleetOutcome::Done,
                Ok(Err(CommandError::Vetoed(veto))) => outcomes[at] = FleetOutcome::Vetoed(veto),
                Ok(Err(error)) => outcomes[at] = FleetOutcome::Failed(error.to_string()),
                Err(_) => outcomes[at] = FleetOutcome::Failed("the desk gave no answer".to_owned()),
            }
        }
    }

    async fn release(&mut self, target: IpNet, actor: String, by_person: bool, now: Timestamp) -> FleetOutcome {
        let decisions = self.judge.release(target, by_person, now);
        if decisions.is_empty() {
            return FleetOutcome::Content;
        }
        self.last_tallies(&decisions).await;
        let (tell, told) = oneshot::channel();
        let order = Order::Withdraw {
            decisions,
            cause: Cause::Fleet,
            actor,
            reply: Some(tell),
        };
        self.carry_out(vec![order], now).await;
        match told.await {
            Ok(Ok(_)) => FleetOutcome::Done,
            Ok(Err(error)) => FleetOutcome::Failed(error.to_string()),
            Err(_) => FleetOutcome::Failed("the desk gave no answer".to_owned()),
        }
    }
}
