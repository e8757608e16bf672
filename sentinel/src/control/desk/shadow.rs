//! What entries that only count have met, kept over restarts.

use super::{Desk, Enforcer, Shadows};
use crate::types::{Decision, DecisionId, Hits, Tally, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// Tallies written at a time.
const WRITTEN: usize = 4096;
/// Decisions whose last counters are read when they end.
const LAST: usize = 1024;
/// Two first hits closer than this are the same: clocks are put together anew at every start.
const SAME_NS: u64 = 2_000_000_000;

/// What was counted, by decision.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    kept: HashMap<DecisionId, Tally>,
    /// Deeds since the targets were last told.
    pub(super) stale: bool,
}

impl Tallies {
    /// Adds what an entry's counters have moved by; `None` where they have not.
    fn add(&mut self, decision: DecisionId, now: Hits, at: Timestamp) -> Option<Tally> {
        let kept = self.kept.entry(decision).or_insert(Tally {
            decision,
            at,
            hits: Hits::default(),
            seen: Hits::default(),
        });
        let before = if continues(&kept.seen, &now) {
            kept.seen
        } else {
            Hits::default()
        };
        if now.would_packets == before.would_packets && now.packets == before.packets {
            return None;
        }
        let sum = &mut kept.hits;
        sum.packets += now.packets - before.packets;
        sum.bytes += now.bytes.saturating_sub(before.bytes);
        sum.would_packets += now.would_packets - before.would_packets;
        sum.would_bytes += now.would_bytes.saturating_sub(before.would_bytes);
        sum.first_hit = sum.first_hit.or(now.first_hit);
        sum.last_hit = now.last_hit.max(sum.last_hit);
        kept.seen = now;
        kept.at = at;
        Some(kept.clone())
    }
}

/// Whether counters are those of the same entry, further on.
fn continues(seen: &Hits, now: &Hits) -> bool {
    let same = match (seen.first_hit, now.first_hit) {
        (Some(a), Some(b)) => a.0.abs_diff(b.0) <= SAME_NS,
        _ => false,
    };
    same && now.packets >= seen.packets && now.would_packets >= seen.would_packets
}

impl<E: Enforcer> Desk<E> {
    /// Takes up what was counted in earlier runs.
    pub fn tallied_before(&mut self, tallies: Vec<Tally>) {
        self.tallies.kept = tallies.into_iter().map(|tally| (tally.decision, tally)).collect();
        self.tallies.stale = true;
    }

    /// Whether the entry of a decision in force only counts.
    fn only_counts(&self, decision: &Decision) -> bool {
        decision.simulated || self.stopped.is_some()
    }

    /// Keeps what moved, and tells whom the simulated decisions are about.
    pub(super) async fn keep_tallies(&mut self) {
        if std::mem::take(&mut self.tallies.stale) {
            let counting = self.judge.active().filter(|d| self.only_counts(d));
            let shadows = Shadows::new(counting.map(|d| (d.target, d.id)));
            self.deps.shadows.send_replace(Arc::new(shadows));
        }
        let (now, table) = (self.now(), self.deps.hits.borrow().clone());
        let mut moved: Vec<_> = table.iter().filter(|(_, hits)| hits.would_packets > 0).collect();
        moved.sort_unstable_by_key(|(id, _)| **id);
        let tallies: Vec<Tally> = moved
            .into_iter()
            .filter_map(|(id, hits)| self.tallies.add(*id, *hits, now))
            .take(WRITTEN)
            .collect();
        self.responder.note_tallies(tallies).await;
    }

    /// Keeps the last counters of decisions that are about to end.
    pub(super) async fn last_tallies(&mut self, ending: &[Decision]) {
        let now = self.now();
        let mut tallies = Vec::new();
        for decision in ending.iter().take(LAST) {
            if !self.only_counts(decision) {
                continue;
            }
            let counted = self.responder.counted(decision).filter(|hits| hits.would_packets > 0);
            if let Some(hits) = counted {
                tallies.extend(self.tallies.add(decision.id, hits, now));
            }
        }
        for decision in ending {
            self.tallies.kept.remove(&decision.id);
        }
        self.responder.note_tallies(tallies).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(packets: u64, first: i64) -> Hits {
        Hits {
            would_packets: packets,
            would_bytes: packets * 60,
            first_hit: (packets > 0).then_some(Timestamp(first * 1_000_000_000)),
            last_hit: Some(Timestamp((first + 1) * 1_000_000_000)),
            ..Hits::default()
        }
    }

    #[test]
    fn counters_that_begin_anew_are_added_and_those_that_go_on_are_not_counted_twice() {
        let id = DecisionId(uuid::Uuid::from_u128(1));
        let mut tallies = Tallies::default();
        let mut sum = |now: Hits| tallies.add(id, now, Timestamp(9)).map(|t| t.hits.would_packets);
        assert_eq!(sum(hits(0, 0)), None);
        assert_eq!(sum(hits(5, 10)), Some(5));
        assert_eq!(sum(hits(5, 10)), None);
        assert_eq!(sum(hits(7, 10)), Some(7));
        // The agent died, the pinned entry went on: its clock is put together a little differently.
        assert_eq!(sum(hits(9, 11)), Some(9));
        // The agent died, and the entry with it.
        assert_eq!(sum(hits(20, 300)), Some(29));
        assert_eq!(sum(hits(3, 600)), Some(32));
    }
}
