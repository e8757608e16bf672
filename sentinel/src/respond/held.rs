//! What is in force right now, and what it has met.

use crate::types::{Action, ActionStatus, Clock, Decision, DecisionId, Hits, Ktime, OTHERWISE, Rate};
use ipnet::IpNet;
use sentinel_common::entry::{ACTION_WATCH, BlockEntry, FLAG_EACH, FLAG_EGRESS, FLAG_OPENINGS, FLAG_SHADOW, NEVER_NS};
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
    /// How it came into force, for its outcome.
    pub(super) how: &'static str,
    /// What is done instead of what it says, as it was told last.
    pub(super) instead: Option<String>,
    /// Whether its outcome was told.
    pub(super) told: bool,
}

/// An entry that is to be removed, and how its action ends once it is.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) action: Action,
    /// The decision as it ended; `None` where an earlier run ended it.
    pub(super) decision: Option<Decision>,
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
pub(crate) fn entry_of(decision: &Decision, clock: Clock) -> BlockEntry {
    let terms = &decision.terms;
    let rate = terms.rate.filter(|_| decision.action.profile().rated);
    let mut flags = 0;
    for (flag, set) in [
        (FLAG_SHADOW, decision.simulated),
        (FLAG_EGRESS, terms.egress),
        (FLAG_EACH, rate.is_some_and(|rate| rate.each)),
        (FLAG_OPENINGS, rate.is_some_and(|rate| rate.openings)),
    ] {
        flags |= if set { flag } else { 0 };
    }
    BlockEntry {
        expires_ns: decision.expires_at.map_or(NEVER_NS, |at| clock.boot(at).0),
        decision: *decision.id.0.as_bytes(),
        // What asks for nothing is never put.
        action: decision.action.profile().entry.unwrap_or(ACTION_WATCH),
        flags,
        prefix_len: decision.target.prefix_len(),
        burst_ms: rate.map_or(0, |rate| rate.burst_ms),
        packet_ns: rate.map_or(0, Rate::packet_ns),
        byte_ns_q8: rate.map_or(0, Rate::byte_ns_q8),
        watch_until_ns: terms.watch_until.map_or(0, |at| clock.boot(at).0),
        reapply_ns: terms.reapply_ms.saturating_mul(1_000_000),
        ..BlockEntry::default()
    }
}

/// What was done, for people: `by` says how and by whom, `instead` what was done in its place and why.
pub(super) fn outcome(decision: &Decision, by: &str, instead: Option<String>) -> String {
    let profile = decision.action.profile();
    let done = if decision.simulated {
        format!("simulated: counted, {},", profile.spared)
    } else if instead.is_none() || profile.rated {
        (profile.done)(&decision.terms)
    } else {
        "enforced".to_owned()
    };
    let provisional = match (decision.until_if_confirmed, decision.expires_at) {
        (Some(_), Some(end)) => format!("; provisional: over at {end} unless it is confirmed"),
        _ => String::new(),
    };
    match instead {
        None => format!("{done} {by}, read back{provisional}"),
        Some(instead) => format!("{done} {by}, read back{OTHERWISE}{instead}{provisional}"),
    }
}
