//! After the end: entries that only watch for a return, until they are forgotten.

use super::held::entry_of;
use super::tidings::Tidings;
use super::{Enforcer, Responder};
use crate::types::{Clock, CommandError, Decision, DecisionId, DecisionStatus, Selector, Timestamp, canonical};
use ipnet::IpNet;
use sentinel_common::entry::{ACTION_WATCH, BlockEntry, FLAG_SHADOW};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Probations ended at a time.
const ENDED: usize = 1024;

/// Decisions that are over and whose entries stay to watch: at most one per target.
#[derive(Debug, Default)]
pub(super) struct Watched {
    by_target: BTreeMap<IpNet, Decision>,
    ends: BTreeSet<(Timestamp, IpNet)>,
    names: HashMap<DecisionId, IpNet>,
    /// Whether something protected by now could not be taken off yet.
    unspared: bool,
}

impl Watched {
    fn put(&mut self, decision: Decision) {
        self.take(&decision.target);
        if let Some(end) = decision.terms.watch_until {
            self.ends.insert((end, decision.target));
            self.names.insert(decision.id, decision.target);
            self.by_target.insert(decision.target, decision);
        }
    }

    pub(super) fn take(&mut self, target: &IpNet) -> Option<Decision> {
        let decision = self.by_target.remove(target)?;
        if let Some(end) = decision.terms.watch_until {
            self.ends.remove(&(end, *target));
        }
        self.names.remove(&decision.id);
        Some(decision)
    }

    pub(super) fn contains(&self, target: &IpNet) -> bool {
        self.by_target.contains_key(target)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpNet, &Decision)> {
        self.by_target.iter()
    }

    /// The one that ends first among those that share a kernel map with `target`.
    fn first_beside(&self, target: &IpNet) -> Option<IpNet> {
        let kind = |net: &IpNet| (net.addr().is_ipv4(), net.prefix_len() == net.max_prefix_len());
        self.ends
            .iter()
            .map(|(_, net)| *net)
            .find(|net| kind(net) == kind(target))
    }
}

/// The kernel entry of a decision that is over: as it was where its time ran out, so that a return can put it in force
/// again; without any action where a person ended it.
pub(super) fn watch_entry(decision: &Decision, clock: Clock) -> BlockEntry {
    let entry = entry_of(decision, clock);
    if decision.status == DecisionStatus::Expired {
        return entry;
    }
    BlockEntry {
        expires_ns: decision.ended_at.map_or(0, |at| clock.boot(at).0),
        action: ACTION_WATCH,
        flags: entry.flags & FLAG_SHADOW,
        burst_ms: 0,
        packet_ns: 0,
        byte_ns_q8: 0,
        reapply_ns: 0,
        ..entry
    }
}

impl<E: Enforcer> Responder<E> {
    /// Leaves the entry of a decision that is over in the kernel, read back as one that only watches; returns its last
    /// counters (hits, would-be hits). `None` where it is not to be watched, or could not be: then it is to be removed.
    pub(super) fn keep_watching(&mut self, decision: &Decision, now: Timestamp) -> Option<(u64, u64)> {
        decision.terms.watch_until.filter(|until| *until > now)?;
        if !self.enforcer.watches() {
            return None;
        }
        let wanted = watch_entry(decision, self.clock);
        let there = self.enforcer.get_block(decision.target).ok()?;
        if there.is_some_and(|there| there.decision != wanted.decision) {
            return None;
        }
        // An entry whose time ran out needs no write: a return that it met already stays noted in it.
        if !there.is_some_and(|there| there.same_order(&wanted))
            && let Err(error) = self.put_and_read(decision.target, &wanted)
        {
            tracing::warn!(target_net = %decision.target, %error, "not put on probation; its entry is removed");
            return None;
        }
        self.watched.put(decision.clone());
        Some(there.map_or((0, 0), |there| (there.hits, there.would_hits)))
    }

    /// Ends a probation in the books because its entry is another's by now, or is to go.
    pub(super) fn unwatch(&mut self, target: &IpNet, tidings: &mut Tidings) -> Option<Decision> {
        let mut decision = self.watched.take(target)?;
        decision.terms.watch_until = None;
        self.gone.push(decision.id);
        tidings.decision(&decision);
        Some(decision)
    }

    /// Makes a full map take a new entry: the probation that would end first gives way. Whether one did.
    pub(super) fn make_room(&mut self, target: IpNet, tidings: &mut Tidings) -> bool {
        let Some(victim) = self.watched.first_beside(&target) else {
            return false;
        };
        if self.remove(victim).is_err() {
            return false;
        }
        self.metrics.dropped("respond", "probation_evicted", 1);
        tracing::warn!(target_net = %victim, r#for = %target, "a full map: a probation gives way to a new decision");
        self.unwatch(&victim, tidings);
        true
    }

    /// Removes the entries of probations that are over by `now`, a bounded number at a time.
    pub async fn end_probations(&mut self, now: Timestamp) {
        let due: Vec<IpNet> = self
            .watched
            .ends
            .iter()
            .take_while(|(end, _)| *end <= now)
            .take(ENDED)
            .map(|(_, target)| *target)
            .collect();
        // What fails is tried again with the next look.
        let _ = self.forget_all(&due).await;
        if self.watched.unspared {
            self.spare_protected().await;
        }
    }

    /// Takes back probations of what is protected by now.
    pub async fn spare_protected(&mut self) {
        let spared: Vec<IpNet> = self
            .watched
            .by_target
            .keys()
            .filter(|net| self.protected.iter().any(|p| p.contains(*net) || net.contains(p)))
            .copied()
            .collect();
        self.watched.unspared = self.forget_all(&spared).await.is_err();
    }

    /// Ends probations on an operator's word; returns the decisions whose they were.
    ///
    /// # Errors
    /// [`CommandError::Failed`] where an entry could not be removed; the others are.
    pub async fn forget(&mut self, which: &Selector) -> Result<Vec<Decision>, CommandError> {
        let targets: Vec<IpNet> = self
            .watched
            .iter()
            .filter(|(target, decision)| match which {
                Selector::Id(id) => decision.id == *id,
                Selector::Target(wanted) => canonical(*wanted) == **target,
                Selector::All => true,
            })
            .map(|(target, _)| *target)
            .collect();
        self.forget_all(&targets).await
    }

    /// Removes entries and ends their probations.
    async fn forget_all(&mut self, targets: &[IpNet]) -> Result<Vec<Decision>, CommandError> {
        let mut tidings = Tidings::default();
        let mut forgotten = Vec::new();
        let mut failures = Vec::new();
        for target in targets {
            match self.remove(*target) {
                Ok(_) => forgotten.extend(self.unwatch(target, &mut tidings)),
                Err(error) => failures.push(format!("{target} is still on probation: {error}")),
            }
        }
        if !tidings.records.is_empty() {
            self.tell(tidings).await;
        }
        if failures.is_empty() {
            return Ok(forgotten);
        }
        let failures = failures.join("; ");
        tracing::warn!(failures);
        Err(CommandError::Failed(failures))
    }

    /// Takes up probations of an earlier run. Call after [`Responder::restore`]: what is in force goes first.
    pub async fn watch_again(&mut self, decisions: Vec<Decision>, now: Timestamp) {
        let mut tidings = Tidings::default();
        for decision in decisions {
            let target = decision.target;
            let due = decision.terms.watch_until.is_some_and(|until| until > now);
            let free = !self.held.contains_key(&target) && !self.owed.contains_key(&target);
            let guarded = self.protected.iter().any(|p| p.contains(&target) || target.contains(p));
            let newest = self
                .watched
                .by_target
                .get(&target)
                .is_none_or(|other| other.ended_at <= decision.ended_at);
            if self.enforcer.watches() && due && free && !guarded && newest && canonical(target) == target {
                let entry = watch_entry(&decision, self.clock);
                match self.put_and_read(target, &entry) {
                    Ok(()) => {
                        self.unwatch(&target, &mut tidings);
                        self.watched.put(decision);
                        continue;
                    }
                    Err(error) => tracing::warn!(target_net = %target, %error, "a probation is not taken up again"),
                }
            }
            let mut over = decision;
            over.terms.watch_until = None;
            tidings.decision(&over);
        }
        self.tell(tidings).await;
    }

    /// The decision whose probation this is, if it still is.
    pub fn former(&self, id: DecisionId) -> Option<&Decision> {
        self.watched.by_target.get(self.watched.names.get(&id)?)
    }

    /// Number of sources on probation.
    pub fn watches(&self) -> usize {
        self.watched.by_target.len()
    }

    /// Targets on probation, in their order.
    #[cfg(test)]
    pub(crate) fn watched_targets(&self) -> Vec<IpNet> {
        self.watched.by_target.keys().copied().collect()
    }

    /// What the kernel must hold: decisions in force and probations.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (IpNet, BlockEntry)> {
        let held = self
            .held
            .iter()
            .map(|(target, held)| (*target, entry_of(&held.decision, self.clock)));
        let watched = self
            .watched
            .iter()
            .map(|(target, decision)| (*target, watch_entry(decision, self.clock)));
        held.chain(watched)
    }
}
