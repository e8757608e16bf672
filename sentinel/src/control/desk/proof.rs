//! What decisions followed from, written down with them.

use super::Desk;
use crate::control::Case;
use crate::decide::{Before, Judged};
use crate::investigate::Weighed;
use crate::proof::{self, Proof};
use crate::respond::{Enforcer, Order};
use crate::types::{DecisionStatus, Detector, ProofRow, Timestamp};

impl<E: Enforcer> Desk<E> {
    /// Writes down what decisions stand on from now on.
    pub(super) fn take_ground(&mut self) {
        let written = proof::written(&self.judge.ground(&self.guards)).ok();
        self.ground = written.map(|(text, digest)| (text.into(), digest));
    }

    /// What a decision followed from. Lines in the log need no proof, and what led to a return on probation is the end of
    /// an earlier decision.
    pub(super) fn prove(&self, case: &Case, before: Before, order: &Order, now: Timestamp) -> Option<Order> {
        let outcome = match order {
            Order::Apply { decision, .. } => decision,
            Order::Withdraw { decisions, .. } => decisions.first()?,
            _ => return None,
        };
        if outcome.status == DecisionStatus::Logged || case.alert.detector == Detector::Probation {
            return None;
        }
        let weighed = Weighed::clone(case.weighed.as_ref()?);
        let (ground, sha256) = self.ground.clone()?;
        let proof = Proof {
            version: proof::VERSION,
            severity_thresholds: self.deps.severity_thresholds,
            judged: Judged {
                at: now,
                alert: self.dated(&case.alert).into_owned(),
                risk: weighed.risk.clone(),
                revised: case.revised,
                before,
                outcome: outcome.clone(),
            },
            weighed,
        };
        Some(Order::Prove(Box::new(ProofRow {
            decision: outcome.id,
            at: now,
            sha256,
            ground,
            proof: serde_json::to_string(&proof).ok()?,
        })))
    }
}
