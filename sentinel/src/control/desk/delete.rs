//! Decisions that somebody takes back.

use super::{Desk, Enforcer};
use crate::respond::{Cause, Order};
use crate::types::{CommandError, Decision, Deleted, Selector, canonical};
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

impl<E: Enforcer> Desk<E> {
    /// Ends what is meant, in the kernel and in the books; `None` where nobody answers any more.
    pub(super) async fn delete(
        &mut self,
        which: Selector,
        forget: bool,
        actor: String,
    ) -> Option<Result<Deleted, CommandError>> {
        let now = self.now();
        let forgotten = if forget {
            self.responder.forget(&which).await
        } else {
            Ok(Vec::new())
        };
        let forgotten = match forgotten {
            Ok(forgotten) => forgotten,
            Err(error) => return Some(Err(error)),
        };
        if which == Selector::All {
            self.imports.cancel();
        }
        let decisions = self.judge.delete(&which, forget, now);
        let targets: Vec<IpNet> = match &which {
            Selector::Target(target) => vec![canonical(*target)],
            Selector::Id(_) => decisions.iter().chain(&forgotten).map(|d| d.target).collect(),
            Selector::All => Vec::new(),
        };
        let covering = self.covering(&targets);
        if decisions.is_empty() {
            return Some(match which {
                _ if !forgotten.is_empty() => Ok(Deleted {
                    decisions: forgotten,
                    covering,
                }),
                // To take back everything where there is nothing is done already.
                Selector::All => Ok(Deleted::default()),
                Selector::Target(target) if !covering.is_empty() => Err(self.covered(target, &covering)),
                _ => Err(CommandError::NotFound),
            });
        }
        self.last_tallies(&decisions).await;
        let (reply, answer) = oneshot::channel();
        let order = Order::Withdraw {
            decisions,
            cause: Cause::Operator,
            actor,
            reply: Some(reply),
        };
        self.carry_out(vec![order], now).await;
        let taken = answer.await.ok()?;
        Some(taken.map(|decisions| Deleted { decisions, covering }))
    }

    fn covered(&self, target: IpNet, covering: &[Decision]) -> CommandError {
        let around: Vec<String> = covering.iter().map(|decision| decision.target.to_string()).collect();
        let held = match self.stopped {
            Some(_) => " (held back as long as acting is stopped)",
            None => "",
        };
        CommandError::Covered {
            target,
            around: around.join(", ") + held,
        }
    }

    /// What is in force around targets, the narrowest first.
    fn covering(&self, targets: &[IpNet]) -> Vec<Decision> {
        let around = targets.iter().flat_map(|target| {
            let around = self.judge.covering(*target);
            around.filter(move |decision| decision.target != *target && !decision.simulated)
        });
        let around: BTreeMap<_, _> = around
            .map(|decision| ((Reverse(decision.target.prefix_len()), decision.target), decision))
            .collect();
        around.into_values().cloned().collect()
    }
}
