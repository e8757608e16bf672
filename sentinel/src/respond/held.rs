//! What is in force right now, and what it has met.

use crate::types::{Action, ActionKind, ActionStatus, Clock, Decision, DecisionId, Hits, Ktime, Rate};
use ipnet::IpNet;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, BlockEntry, FLAG_EACH, FLAG_EGRESS, FLAG_OPENINGS, FLAG_SHADOW,
    NEVER_NS,
};
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
    let rate = terms.rate.filter(|_| decision.action == ActionKind::RateLimit);
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
        action: match decision.action {
            ActionKind::RateLimit => ACTION_LIMIT,
            ActionKind::RedirectToHoneypot => ACTION_REDIRECT,
            // What asks for nothing has no entry.
            ActionKind::BlockIp | ActionKind::IsolateContainer | ActionKind::LogOnly => ACTION_DROP,
        },
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
    let done = match (decision.simulated, decision.action) {
        (true, ActionKind::RateLimit) => "simulated: counted, not limited,".to_owned(),
        (true, ActionKind::RedirectToHoneypot) => "simulated: counted, not redirected,".to_owned(),
        (true, _) => "simulated: counted, not dropped,".to_owned(),
        (false, ActionKind::RateLimit) => match decision.terms.rate {
            Some(rate) => format!("limits to {rate},"),
            None => "limits".to_owned(),
        },
        (false, ActionKind::RedirectToHoneypot) if instead.is_none() => "redirects to the honeypot,".to_owned(),
        (false, _) if decision.terms.egress && instead.is_none() => "enforced in both directions".to_owned(),
        (false, _) => "enforced".to_owned(),
    };
    match instead {
        None => format!("{done} {by}, read back"),
        Some(instead) => format!("{done} {by}, read back; but {instead}"),
    }
}
