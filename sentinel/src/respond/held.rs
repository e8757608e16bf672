//! What is in force right now, and what it has met.

use crate::types::{Action, ActionStatus, Clock, Decision, DecisionId, Hits, Ktime};
use ipnet::IpNet;
use sentinel_common::entry::{ACTION_DROP, BlockEntry, FLAG_SHADOW, NEVER_NS};
use std::collections::HashMap;

/// The counters of a kernel entry.
pub(super) fn hits_of(entry: &BlockEntry, clock: Clock) -> Hits {
    let at = |ns: u64| (ns > 0).then(|| clock.wall(Ktime(ns)));
    Hits {
        packets: entry.hits,
        bytes: entry.hit_bytes,
        would_packets: entry.would_hits,
        would_bytes: entry.would_bytes,
        first_hit: at(entry.first_hit_ns),
        last_hit: at(entry.last_hit_ns),
    }
}

/// Hits by decision, published once a second.
pub type HitTable = HashMap<DecisionId, Hits>;

/// What changed in the table of hits.
#[derive(Debug, Default)]
pub struct HitNews {
    /// Counters as just read.
    pub seen: Vec<(DecisionId, Hits)>,
    /// Decisions no longer in force.
    pub gone: Vec<DecisionId>,
}

impl HitNews {
    /// Brings a table up to date.
    pub fn tell(self, table: &mut HitTable) {
        for id in self.gone {
            table.remove(&id);
        }
        table.extend(self.seen);
    }
}

/// A decision in force.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) decision: Decision,
    pub(super) action: Action,
}

/// An entry that is to be removed, and how its action ends once it is.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) action: Action,
    pub(super) ended: ActionStatus,
    pub(super) settled: String,
}

/// An entry whose first dropped packet is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) target: IpNet,
    pub(super) decision: DecisionId,
    pub(super) evidence_at: Ktime,
    /// When it was first looked for.
    pub(super) since: Option<Ktime>,
}

/// The kernel entry a decision stands for.
pub(super) fn entry_of(decision: &Decision, clock: Clock) -> BlockEntry {
    BlockEntry {
        expires_ns: decision.expires_at.map_or(NEVER_NS, |at| clock.boot(at).0),
        decision: *decision.id.0.as_bytes(),
        action: ACTION_DROP,
        flags: if decision.simulated { FLAG_SHADOW } else { 0 },
        prefix_len: decision.target.prefix_len(),
        ..BlockEntry::default()
    }
}
