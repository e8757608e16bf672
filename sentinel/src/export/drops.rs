//! From the kernel's hit counters to what was dropped since it was last told.

use crate::types::{DecisionId, Hits, Timestamp};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often one decision is told of at most.
const EVERY: Duration = Duration::from_secs(10);
/// Decisions told of at one look; the others' packets are in their next line.
const AT_ONCE: usize = 256;

#[derive(Clone, Copy)]
struct Told {
    packets: u64,
    bytes: u64,
    at: Instant,
}

/// What was told of each decision that is in the kernel.
pub(super) struct Drops {
    told: HashMap<DecisionId, Told>,
    started: Timestamp,
}

/// What one decision has met since its last line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    pub(super) decision: DecisionId,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) hits: Hits,
}

impl Drops {
    /// `started`: what was counted before is an earlier run's, which told of it.
    pub(super) fn new(started: Timestamp) -> Self {
        Self {
            told: HashMap::new(),
            started,
        }
    }

    /// What is to be told now, in the order of the decisions. Would-be hits are no drops.
    pub(super) fn news(&mut self, table: &HashMap<DecisionId, Hits>, now: Instant) -> Vec<News> {
        self.told.retain(|id, _| table.contains_key(id));
        let mut ids: Vec<DecisionId> = table.keys().copied().collect();
        ids.sort_unstable();
        let mut news = Vec::new();
        for decision in ids {
            let hits = table[&decision];
            if hits.packets == 0 || news.len() == AT_ONCE {
                continue;
            }
            let told = self.told.get(&decision).copied();
            if told.is_none() && hits.first_hit.is_some_and(|first| first < self.started) {
                self.note(decision, &hits, now);
                continue;
            }
            if told.is_some_and(|told| told.packets == hits.packets || now.duration_since(told.at) < EVERY) {
                continue;
            }
            // Counters that went back began anew.
            let before = told.filter(|told| told.packets <= hits.packets && told.bytes <= hits.bytes);
            let (packets, bytes) = before.map_or((0, 0), |told| (told.packets, told.bytes));
            self.note(decision, &hits, now);
            news.push(News {
                decision,
                packets: hits.packets - packets,
                bytes: hits.bytes - bytes,
                hits,
            });
        }
        news
    }

    fn note(&mut self, decision: DecisionId, hits: &Hits, at: Instant) {
        let told = Told {
            packets: hits.packets,
            bytes: hits.bytes,
            at,
        };
        self.told.insert(decision, told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(packets: u64, first: i64) -> Hits {
        Hits {
            packets,
            bytes: packets * 60,
            first_hit: Some(Timestamp(first)),
            last_hit: Some(Timestamp(first + 1)),
            ..Hits::default()
        }
    }

    #[test]
    fn each_packet_is_told_of_once_and_only_what_this_run_counted() {
        let id = |n: u128| DecisionId(uuid::Uuid::from_u128(n));
        let mut drops = Drops::new(Timestamp(100));
        let begun = Instant::now();
        let mut look = |seconds, table: &[(u128, Hits)]| -> Vec<(u128, u64, u64)> {
            let table = table.iter().map(|(n, hits)| (id(*n), *hits)).collect();
            let news = drops.news(&table, begun + Duration::from_secs(seconds));
            news.into_iter()
                .map(|news| (news.decision.0.as_u128(), news.packets, news.bytes))
                .collect()
        };
        let would = Hits {
            would_packets: 9,
            ..Hits::default()
        };
        assert_eq!(
            look(
                0,
                &[(2, hits(5, 200)), (1, hits(1, 200)), (3, hits(70, 50)), (4, would)]
            ),
            [(1, 1, 60), (2, 5, 300)]
        );
        assert_eq!(look(1, &[(1, hits(4, 200)), (3, hits(71, 50))]), [], "not each second");
        assert_eq!(
            look(10, &[(1, hits(9, 200)), (3, hits(71, 50))]),
            [(1, 8, 480), (3, 1, 60)],
            "with what came in between; of what an earlier run counted only what is new"
        );
        assert_eq!(look(20, &[(1, hits(9, 200))]), [], "nothing came");
        assert_eq!(
            look(30, &[(1, hits(2, 900))]),
            [(1, 2, 120)],
            "counters that began anew"
        );
        let many: Vec<_> = (10..400).map(|n| (n, hits(1, 200))).collect();
        assert_eq!(look(40, &many).len(), AT_ONCE);
        assert_eq!(look(41, &many).len(), 390 - AT_ONCE, "the others next time");
    }
}
