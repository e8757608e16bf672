//! What is provisional: told to whoever probes, confirmed or rolled back by what comes of it.

use super::{Desk, Enforcer};
use crate::respond::{Cause, Order};
use crate::types::{CommandError, Decision, DecisionId, Provisional, Timestamp, Verdict};
use std::sync::Arc;
use tokio::sync::oneshot;

type Reply = oneshot::Sender<Result<Decision, CommandError>>;

impl<E: Enforcer> Desk<E> {
    /// What a probe came to.
    pub(super) async fn verdict(&mut self, verdict: Verdict) {
        let now = self.now();
        let (id, window) = (verdict.decision, Some(verdict.ends));
        match verdict.outcome {
            Ok(why) => {
                if let Some(decision) = self.judge.confirm(id, window, &why, now) {
                    self.confirmed(decision, "sentinel", why, None, now).await;
                }
            }
            Err(why) => self.roll_back(id, window, &why, now).await,
        }
    }

    /// A person says that a decision does no harm.
    pub(super) async fn confirm(&mut self, id: DecisionId, actor: String, reply: Reply) {
        let now = self.now();
        if let Some(stop) = self
            .stopped
            .as_ref()
            .filter(|_| self.judge.provisional().any(|d| d.id == id))
        {
            let text = format!("entries only count, so it drops nothing that could be judged: {stop}");
            let _ = reply.send(Err(CommandError::Invalid(text)));
            return;
        }
        match self.judge.confirm_by_hand(id, &actor, now) {
            Ok(decision) => {
                self.deps.metrics.confirmation("by_hand");
                let why = "a person confirmed it".to_owned();
                self.confirmed(decision, &actor, why, Some(reply), now).await;
            }
            Err(error) => {
                tracing::info!(decision = %id, actor, %error, "confirmation refused");
                let _ = reply.send(Err(error));
            }
        }
    }

    async fn confirmed(&mut self, decision: Decision, actor: &str, why: String, reply: Option<Reply>, now: Timestamp) {
        tracing::info!(decision = %decision.id, target_net = %decision.target, actor, why, "confirmed");
        if reply.is_none() {
            self.deps.metrics.confirmation("confirmed");
        }
        let order = Order::Confirm {
            decision,
            actor: actor.to_owned(),
            why,
            reply,
        };
        self.carry_out(vec![order], now).await;
    }

    async fn roll_back(&mut self, id: DecisionId, window: Option<Timestamp>, why: &str, now: Timestamp) {
        if let Some(decision) = self.judge.roll_back(id, window, why, now) {
            self.take_back(vec![decision], now).await;
        }
    }

    /// Takes back what was rolled back, and says so.
    pub(super) async fn take_back(&mut self, decisions: Vec<Decision>, now: Timestamp) {
        for decision in &decisions {
            self.deps.metrics.confirmation("rolled_back");
            if let Some(veto) = &decision.veto {
                self.deps.metrics.veto(veto);
                tracing::warn!(decision = %decision.id, target_net = %decision.target, why = veto.reason, "rolled back");
            }
        }
        self.withdraw(decisions, Cause::RolledBack, now).await;
    }

    /// What can be settled without a probe: what only counts drops nothing, and under a stop nobody can tell what a
    /// decision does. Then tells whoever probes what there is.
    pub(super) async fn settle_provisional(&mut self) {
        let now = self.now();
        let open: Vec<_> = self.judge.provisional().map(|d| (d.id, d.simulated)).collect();
        for (id, simulated) in open {
            if simulated {
                let why = "it only counts, so there is nothing to confirm";
                if let Some(decision) = self.judge.confirm(id, None, why, now) {
                    self.confirmed(decision, "sentinel", why.to_owned(), None, now).await;
                }
            } else if self.stopped.is_some() {
                let why = "all acting was stopped before it was confirmed, and so nobody can tell what it does";
                self.roll_back(id, None, why, now).await;
            }
        }
        self.tell_provisional();
    }

    /// Tells whoever probes what is provisional, where that changed.
    pub(super) fn tell_provisional(&self) {
        let now: Vec<Provisional> = self
            .judge
            .provisional()
            .filter_map(|d| {
                Some(Provisional {
                    decision: d.id,
                    target: d.target,
                    ends: d.expires_at?,
                })
            })
            .collect();
        self.deps.provisional.send_if_modified(|told| {
            let changed = **told != now;
            if changed {
                *told = Arc::new(now);
            }
            changed
        });
    }
}
