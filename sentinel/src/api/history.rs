//! The last two minutes of traffic, so that a page just opened has something to show.

use super::{Api, dto::SampleDto};
use crate::types::{Stats, Timestamp};
use sentinel_common::stat::Counter;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How far back it reaches.
const WINDOW: Duration = Duration::from_mins(2);

/// Samples kept, however often counters are refreshed.
const SAMPLES: usize = 600;

/// Totals over time, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<SampleDto>>);

impl History {
    /// Takes a snapshot and forgets what left the window.
    pub(super) fn take(&self, stats: &Stats) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stats.interfaces.is_empty() || samples.back().is_some_and(|last| last.at >= stats.at) {
            return;
        }
        samples.push_back(sample(stats));
        let oldest = Timestamp(stats.at.0.saturating_sub(WINDOW.as_nanos() as i64));
        while samples.len() > SAMPLES || samples.front().is_some_and(|first| first.at < oldest) {
            samples.pop_front();
        }
    }

    pub(super) fn all(&self) -> Vec<SampleDto> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

fn sample(stats: &Stats) -> SampleDto {
    use Counter::{
        DropHidden, DropHiddenBytes, DropV4, DropV4Bytes, DropV6, DropV6Bytes, PassOther, PassOtherBytes, PassV4,
        PassV4Bytes, PassV6, PassV6Bytes, WouldDrop,
    };
    let sum = |counters: &[Counter]| counters.iter().map(|c| stats.total(*c)).sum();
    SampleDto {
        at: stats.at,
        passed: sum(&[PassV4, PassV6, PassOther]),
        dropped: sum(&[DropV4, DropV6, DropHidden]),
        would_drop: sum(&[WouldDrop]),
        bytes: sum(&[
            PassV4Bytes,
            PassV6Bytes,
            PassOtherBytes,
            DropV4Bytes,
            DropV6Bytes,
            DropHiddenBytes,
        ]),
    }
}

impl Api {
    /// Follows the counters for as long as they are refreshed.
    pub(super) async fn remember(&self) {
        let mut stats = self.state.stats.clone();
        while stats.changed().await.is_ok() {
            let latest = stats.borrow_and_update().clone();
            self.history.take(&latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::InterfaceStats;

    #[test]
    fn keeps_two_minutes_and_no_more_than_its_bound() {
        let history = History::default();
        let at = |millis: i64| Stats {
            at: Timestamp(millis * 1_000_000),
            interfaces: vec![InterfaceStats {
                name: "eth0".into(),
                xdp_mode: "native",
                egress: false,
                fallback: None,
                trouble: None,
                counters: [1; sentinel_common::stat::COUNTERS],
            }],
            ..Stats::default()
        };
        for second in 1..=300 {
            history.take(&at(second * 1000));
            history.take(&at(second * 1000));
        }
        let kept = history.all();
        assert_eq!((kept.len(), kept[0].at), (121, at(180_000).at));
        assert_eq!(
            (kept[0].passed, kept[0].dropped, kept[0].would_drop, kept[0].bytes),
            (3, 3, 1, 6)
        );
        for millis in 0..2_000 {
            history.take(&at(301_000 + millis));
        }
        assert_eq!(history.all().len(), SAMPLES);
    }
}
