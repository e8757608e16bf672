//! Looking at the kernel: is protected what must be, is in force what should be, and what has it met.

use super::held::{Awaited, HitNews, hits_of};
use super::{EnforceError, Enforcer, Responder};
use crate::types::{Decision, DecisionId, Ktime, Protected, canonical};
use ipnet::IpNet;
use sentinel_common::entry::{AllowEntry, NEVER_NS};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

/// First drops awaited at once; past this the oldest is given up.
const AWAITED: usize = 1024;
/// How long a first drop is awaited: a source that stays silent says nothing about our latency.
const PATIENCE: Duration = Duration::from_secs(10);
/// First drops looked for at a time.
const LOOKS: usize = 128;

impl<E: Enforcer> Responder<E> {
    /// Makes the allow maps equal to the protected list: adds everything first, in the list's order, removes after.
    /// Returns how many entries differed.
    ///
    /// # Errors
    /// The first [`EnforceError`]; what could be written is, and nothing is removed unless everything was added that there
    /// is room for.
    pub fn protect(&mut self, protected: &[Protected]) -> Result<u64, EnforceError> {
        let outcome = self.allow(protected);
        self.allow_fault = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    fn allow(&mut self, protected: &[Protected]) -> Result<u64, EnforceError> {
        self.protected = protected.iter().map(|p| canonical(p.target)).collect();
        let listed = self.enforcer.list_allows();
        let holds = |(net, entry): &(IpNet, AllowEntry)| {
            (entry.expires_ns == NEVER_NS && entry.prefix_len == net.prefix_len()).then_some(*net)
        };
        let present: BTreeSet<IpNet> = listed.iter().flatten().filter_map(holds).collect();
        let mut differed = 0;
        let mut fault = None;
        let mut full = Vec::new();
        for net in self.protected.iter().filter(|net| !present.contains(net)) {
            let entry = AllowEntry {
                expires_ns: NEVER_NS,
                prefix_len: net.prefix_len(),
                ..AllowEntry::default()
            };
            differed += 1;
            match self.enforcer.put_allow(*net, &entry) {
                Ok(()) => {}
                Err(EnforceError::Full { .. }) => full.push((*net, entry)),
                Err(error) => drop(fault.get_or_insert(error)),
            }
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let wanted: BTreeSet<IpNet> = self.protected.iter().copied().collect();
        for (net, _) in listed?.into_iter().filter(|(net, _)| !wanted.contains(net)) {
            differed += 1;
            self.enforcer.delete_allow(net)?;
        }
        // There is room now, where there can be.
        for (net, entry) in full {
            self.enforcer.put_allow(net, &entry)?;
        }
        Ok(differed)
    }

    /// Compares the kernel with what should be in force, repairs what differs and returns how many entries did.
    ///
    /// # Errors
    /// The first [`EnforceError`]; what could be repaired is.
    pub fn self_check(&mut self) -> Result<u64, EnforceError> {
        let present: BTreeMap<IpNet, _> = self.enforcer.list_blocks()?.into_iter().collect();
        let mut drift = 0;
        let mut fault = None;
        let wanted: Vec<_> = self
            .wanted()
            .filter(|(target, wanted)| !present.get(target).is_some_and(|entry| entry.same_order(wanted)))
            .collect();
        self.enforcer.put_ahead(&wanted);
        for (target, entry) in wanted {
            drift += 1;
            let repaired = self.put_and_read(target, &entry);
            tracing::warn!(%target, ?repaired, "block map differs from the decision");
            fault = fault.or(repaired.err());
        }
        for target in present.keys() {
            if self.held.contains_key(target) || self.watched.contains(target) || self.owed.contains_key(target) {
                continue;
            }
            drift += 1;
            let repaired = self.remove(*target);
            tracing::warn!(%target, ?repaired, "block map holds an entry without a decision");
            fault = fault.or(repaired.err());
        }
        fault.map_or(Ok(drift), Err)
    }

    pub(super) fn await_drop(&mut self, decision: &Decision, evidence_at: Ktime) {
        if self.awaited.len() >= AWAITED {
            self.awaited.pop_front();
        }
        self.awaited.push_back(Awaited {
            target: decision.target,
            decision: decision.id,
            evidence_at,
            since: None,
        });
    }

    /// Notes first drops for `sentinel_detect_to_drop_seconds`; the kernel stamps them, so looking late costs no
    /// precision. Bounded in time and number. Returns whether any is still awaited.
    pub fn watch_first_drops(&mut self, now: Ktime) -> bool {
        for _ in 0..self.awaited.len().min(LOOKS) {
            let Some(mut awaited) = self.awaited.pop_front() else {
                break;
            };
            let since = *awaited.since.get_or_insert(now);
            let patient = now.since(since) < PATIENCE;
            let again = match self.enforcer.get_block(awaited.target) {
                Ok(Some(entry)) if entry.decision == *awaited.decision.0.as_bytes() => {
                    // nftables counts and keeps no time.
                    if entry.hits > 0 && entry.first_hit_ns > 0 {
                        let took = Ktime(entry.first_hit_ns).since(awaited.evidence_at);
                        self.metrics.detect_to_drop_seconds.observe(took.as_secs_f64());
                    }
                    entry.hits == 0 && patient
                }
                // Taken back, or of another decision by now.
                Ok(_) => false,
                Err(_) => patient,
            };
            if again {
                self.awaited.push_back(awaited);
            }
        }
        !self.awaited.is_empty()
    }

    /// What changed about the hit counters: those of new entries, and of up to `budget` others, in turn, so that the cost
    /// of a call is bounded however many are in force.
    ///
    /// # Errors
    /// [`EnforceError`] when a map cannot be read.
    pub fn hits(&mut self, budget: usize) -> Result<HitNews, EnforceError> {
        let mut news = HitNews {
            gone: std::mem::take(&mut self.gone),
            ..HitNews::default()
        };
        let after = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut targets = std::mem::take(&mut self.fresh);
        let turn: Vec<IpNet> = self
            .held
            .range((after, Bound::Unbounded))
            .map(|(t, _)| *t)
            .take(budget)
            .collect();
        if budget > 0 {
            let whole = turn.len() < budget;
            self.cursor = turn.last().copied().filter(|_| !whole);
        }
        targets.extend(turn);
        for target in targets {
            let Some(held) = self.held.get(&target) else { continue };
            let Some(entry) = self.enforcer.get_block(target)? else {
                continue;
            };
            let decision = DecisionId(uuid::Uuid::from_bytes(entry.decision));
            if decision == held.decision.id {
                news.seen.push((decision, hits_of(&entry, self.clock)));
            }
        }
        Ok(news)
    }
}
