//! What is in force, found by name, by target and by end.

use crate::types::{Decision, DecisionId, Origin, Timestamp};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// Decisions in force: at most one per target, each with an end.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    by_target: BTreeMap<IpNet, Decision>,
    targets: BTreeMap<DecisionId, IpNet>,
    ends: BTreeSet<(Timestamp, DecisionId)>,
    detectors: usize,
    others: usize,
    provisional: BTreeSet<DecisionId>,
}

impl Ledger {
    /// Puts a decision in force, in place of one on the same target or of the same name.
    pub(super) fn put(&mut self, decision: Decision) {
        self.take(decision.id);
        if let Some(old) = self.by_target.get(&decision.target).map(|d| d.id) {
            self.take(old);
        }
        if let Some(end) = decision.expires_at {
            self.ends.insert((end, decision.id));
        }
        self.detectors += usize::from(decision.origin == Origin::Detector);
        self.others += usize::from(decision.is_followed());
        if decision.until_if_confirmed.is_some() {
            self.provisional.insert(decision.id);
        }
        self.targets.insert(decision.id, decision.target);
        self.by_target.insert(decision.target, decision);
    }

    pub(super) fn take(&mut self, id: DecisionId) -> Option<Decision> {
        self.provisional.remove(&id);
        let target = self.targets.remove(&id)?;
        let decision = self.by_target.remove(&target)?;
        if let Some(end) = decision.expires_at {
            self.ends.remove(&(end, id));
        }
        self.detectors -= usize::from(decision.origin == Origin::Detector);
        self.others -= usize::from(decision.is_followed());
        Some(decision)
    }

    pub(super) fn on(&self, target: &IpNet) -> Option<&Decision> {
        self.by_target.get(target)
    }

    pub(super) fn named(&self, id: DecisionId) -> Option<&Decision> {
        self.by_target.get(self.targets.get(&id)?)
    }

    /// Decisions on the target itself and on the prefixes that hold it, narrowest first. At most 129 look-ups.
    pub(super) fn covering(&self, target: IpNet) -> impl Iterator<Item = &Decision> {
        supernets(target).filter_map(|net| self.by_target.get(&net))
    }

    /// The decision that ends first, if it has ended by `now`.
    pub(super) fn ended(&self, now: Timestamp) -> Option<DecisionId> {
        self.ends.first().filter(|(end, _)| *end <= now).map(|(_, id)| *id)
    }

    /// Decisions on the prefix itself and on everything in it, in the order of their targets.
    pub(super) fn within(&self, net: IpNet) -> impl Iterator<Item = &Decision> {
        let first = IpNet::new(net.network(), 0).unwrap_or(net);
        let last = IpNet::new(net.broadcast(), net.max_prefix_len()).unwrap_or(net);
        let inside = move |target: &IpNet| target.prefix_len() >= net.prefix_len();
        self.by_target
            .range(first..=last)
            .filter(move |(target, _)| inside(target))
            .map(|(_, decision)| decision)
    }

    /// How many of them are detectors'.
    pub(super) const fn detectors(&self) -> usize {
        self.detectors
    }

    /// How many of them are other nodes'.
    pub(super) const fn of_others(&self) -> usize {
        self.others
    }

    /// Those that are to be confirmed.
    pub(super) fn provisional(&self) -> impl Iterator<Item = &Decision> {
        self.provisional.iter().filter_map(|id| self.named(*id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Decision> {
        self.by_target.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_target.len()
    }
}

/// A prefix and every prefix that holds it, narrowest first.
pub(super) fn supernets(target: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(target.trunc()), IpNet::supernet)
}
