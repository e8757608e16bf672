//! Decisions that somebody takes back.

use super::{Desk, Enforcer};
use crate::respond::{Cause, EnforceError, Order};
use crate::types::{CommandError, Decision, Deleted, Selector, canonical};
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Entries that could not be removed that are told; the others are counted.
const TOLD: usize = 16;

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
        // What ended before and did not go is no decision in force any more, and still in the kernel.
        let (gone, left) = self.responder.remove_owed(&which, now).await;
        let left = still_there(&left);
        let decisions = self.judge.delete(&which, forget, now);
        let targets: Vec<IpNet> = match &which {
            Selector::Target(target) => vec![canonical(*target)],
            Selector::Id(_) => {
                let over = forgotten.iter().chain(&gone);
                decisions.iter().chain(over).map(|d| d.target).collect()
            }
            Selector::All => Vec::new(),
        };
        let covering = self.covering(&targets);
        if decisions.is_empty() {
            self.note_respond();
            if let Some(left) = left {
                return Some(Err(CommandError::Failed(left)));
            }
            let over: Vec<Decision> = forgotten.into_iter().chain(gone).collect();
            return Some(match which {
                _ if !over.is_empty() => Ok(Deleted {
                    decisions: over,
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
        Some(match (taken, left) {
            (Ok(mut decisions), None) => {
                decisions.extend(gone);
                Ok(Deleted { decisions, covering })
            }
            (Ok(taken), Some(left)) => {
                let taken = taken.len() + gone.len();
                Err(CommandError::Failed(format!("{left}; taken back beside that: {taken}")))
            }
            (Err(CommandError::Failed(failed)), Some(left)) => Err(CommandError::Failed(format!("{failed}; {left}"))),
            (Err(error), _) => Err(error),
        })
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

/// What could not be removed by another try either, in words; `None` where that is nothing.
fn still_there(left: &[(IpNet, EnforceError)]) -> Option<String> {
    let told: Vec<String> = left
        .iter()
        .take(TOLD)
        .map(|(target, error)| format!("{target} is still in the kernel: {error}"))
        .collect();
    let more = match left.len() - told.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!told.is_empty()).then(|| format!("{}{more}; tried again every second", told.join("; ")))
}
