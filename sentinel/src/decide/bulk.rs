//! Many wishes at once: drawn up first, put in force when they are stored, struck again where that fails.

use super::Judge;
use crate::types::{Decision, NewDecision, Timestamp};
use ipnet::IpNet;

impl Judge {
    /// The decisions that acceptable wishes ask for, none of them in force yet: stored first, then handed to
    /// [`Judge::enlist`] one by one. One on a target with a decision in force has that one's name.
    pub fn draw_up<'a>(&mut self, wishes: impl Iterator<Item = &'a NewDecision>, now: Timestamp) -> Vec<Decision> {
        self.latest = self.latest.max(now);
        wishes.map(|wish| self.wished(wish, now)).collect()
    }

    /// Puts a decision that was drawn up in force; returns the one that was in force on its target until now.
    pub fn enlist(&mut self, decision: &Decision) -> Option<Decision> {
        let stood = self.ledger.on(&decision.target).cloned();
        self.forget_hold(&decision.target);
        self.ledger.put(decision.clone());
        stood
    }

    /// Takes back that a decision was enlisted: what stood before is in force again.
    pub fn strike(&mut self, decision: &Decision, stood: Option<&Decision>) {
        self.ledger.take(decision.id);
        if let Some(stood) = stood {
            self.ledger.put(stood.clone());
        }
    }

    /// The decision in force on exactly this target.
    pub fn active_on(&self, target: &IpNet) -> Option<&Decision> {
        self.ledger.on(target)
    }
}
