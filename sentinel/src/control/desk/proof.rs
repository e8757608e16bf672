//! What decisions followed from, written down with them.

use super::Desk;
use crate::control::Case;
use crate::decide::{Before, Judged};
use crate::proof::{self, Proof};
use crate::respond::{Enforcer, Order};
use crate::types::{Decision, DecisionStatus, Detector, ProofRow, Timestamp};
use ipnet::IpNet;

impl<E: Enforcer> Desk<E> {
    /// Writes down what decisions stand on from now on.
    pub(super) fn take_ground(&mut self) {
        let written = proof::written(&self.judge.ground(&self.guards)).ok();
        self.ground = written.map(|(text, digest)| (text.into(), digest));
    }

    /// The decision that ran out, where it is a return on probation.
    pub(super) fn former(&self, case: &Case) -> Option<&Decision> {
        let returned = case.alert.detector == Detector::Probation;
        self.responder.former(case.alert.former.filter(|_| returned)?)
    }

    /// What a decision followed from. Lines in the log need no proof.
    pub(super) fn proof(
        &self,
        case: &Case,
        former: Option<Decision>,
        before: Before,
        order: &Order,
        now: Timestamp,
    ) -> Option<Proof> {
        let outcome = match order {
            Order::Apply { decision, .. } => decision,
            Order::Withdraw { decisions, .. } => decisions.first()?,
            _ => return None,
        };
        if outcome.status == DecisionStatus::Logged {
            return None;
        }
        let weighed = case.weighed.as_deref().filter(|_| former.is_none()).cloned();
        if weighed.is_none() && former.is_none() {
            return None;
        }
        Some(Proof {
            version: proof::VERSION,
            severity_thresholds: self.deps.severity_thresholds,
            judged: Judged {
                at: now,
                alert: self.dated(&case.alert).into_owned(),
                risk: weighed.as_ref().map(|weighed| weighed.risk.clone()),
                former,
                revised: case.revised,
                before,
                outcome: outcome.clone(),
            },
            weighed,
            widened: Vec::new(),
        })
    }

    /// The order to keep it.
    pub(super) fn prove(&self, proof: &Proof, now: Timestamp) -> Option<Order> {
        let (ground, sha256) = self.ground.clone()?;
        let last = proof.widened.last().map(|step| &step.outcome);
        Some(Order::Prove(Box::new(ProofRow {
            decision: last.unwrap_or(&proof.judged.outcome).id,
            at: now,
            sha256,
            ground,
            proof: serde_json::to_string(proof).ok()?,
        })))
    }

    /// What the latest decision means for the prefixes its target is of.
    pub(super) fn widen(
        &mut self,
        orders: &mut Vec<Order>,
        mut proof: Option<Proof>,
        network: Option<IpNet>,
        now: Timestamp,
    ) {
        while let Some(Order::Apply { decision, .. }) = orders.last()
            && let Some(wider) = self.judge.widened(decision, network, &self.guards, now)
        {
            let decision = wider.outcome.clone();
            proof = proof.filter(|_| wider.can_be_kept());
            if let Some(proof) = &mut proof {
                proof.widened.push(wider);
            }
            orders.extend(proof.as_ref().and_then(|proof| self.prove(proof, now)));
            orders.push(Order::Apply {
                decision,
                alert: None,
                evidence_at: None,
                reply: None,
            });
        }
    }
}
