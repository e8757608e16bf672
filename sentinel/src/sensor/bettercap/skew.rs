//! How far the clock of Bettercap's machine is behind ours.
//!
//! What Bettercap tells live is a second old at most; its history, at the beginning of a connection, may be of any age. So
//! once history is over, the youngest of what came is as old as the clocks are apart.

use crate::types::Timestamp;
use std::time::Duration;

/// So long after a connection began nothing that comes is history.
const HISTORY: Duration = Duration::from_secs(30);
/// How long the youngest counts.
const MEMORY: Duration = Duration::from_mins(1);
/// Less than this may be how long Bettercap took.
const LEAST: Duration = Duration::from_secs(5);

/// What is known of the clocks.
#[derive(Debug, Default)]
pub(super) struct Skew {
    connected: Option<Timestamp>,
    /// Nothing of this connection is history any more.
    live: bool,
    /// Age of the youngest event since history was over, ns.
    youngest: Option<i64>,
    youngest_at: Option<Timestamp>,
    behind_ns: i64,
}

impl Skew {
    /// A connection begins.
    pub(super) fn connected(&mut self, now: Timestamp) {
        (self.connected, self.live, self.youngest) = (Some(now), false, None);
    }

    /// Whether nothing that comes now is history.
    pub(super) fn history_over(&mut self, now: impl Fn() -> Timestamp) -> bool {
        let over = |connected: Timestamp| now().0.saturating_sub(connected.0) >= HISTORY.as_nanos() as i64;
        self.live = self.live || self.connected.is_some_and(over);
        self.live
    }

    /// An event stamped `stamp_ns` came `now`; returns by how much the clocks are apart where that is news.
    pub(super) fn heard(&mut self, stamp_ns: i64, now: impl Fn() -> Timestamp) -> Option<Duration> {
        if !self.history_over(&now) {
            return None;
        }
        let now = now();
        let age = now.0.saturating_sub(stamp_ns);
        // What was youngest is forgotten after a while, so that a clock that is set back is noticed.
        let fresh = self
            .youngest_at
            .is_some_and(|at| now.0.saturating_sub(at.0) < MEMORY.as_nanos() as i64);
        let youngest = self
            .youngest
            .filter(|_| fresh)
            .map_or(age, |youngest| youngest.min(age));
        if self.youngest != Some(youngest) || !fresh {
            (self.youngest, self.youngest_at) = (Some(youngest), Some(now));
        }
        let behind = if youngest >= LEAST.as_nanos() as i64 {
            youngest
        } else {
            0
        };
        let news = behind.abs_diff(self.behind_ns) >= LEAST.as_nanos() as u64;
        self.behind_ns = behind;
        (news && behind > 0).then(|| Duration::from_nanos(behind.unsigned_abs()))
    }

    /// A time of Bettercap's by our clock, ns since 1970.
    pub(super) fn ours(&self, at_ns: i64) -> i64 {
        at_ns.saturating_add(self.behind_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn history_says_nothing_of_the_clock_and_what_is_live_does() {
        let mut skew = Skew::default();
        assert_eq!(skew.heard(0, || Timestamp(SECOND)), None);
        skew.connected(Timestamp(1000 * SECOND));
        assert_eq!(skew.heard(0, || Timestamp(1001 * SECOND)), None);
        assert_eq!(skew.ours(7), 7, "an old event is history");
        // An hour behind: told once, and corrected from then on.
        let live = |second: i64| ((second - 3600) * SECOND, Timestamp(second * SECOND));
        let (stamp, now) = live(1040);
        assert_eq!(skew.heard(stamp, || now), Some(Duration::from_hours(1)));
        let (stamp, now) = live(1041);
        assert_eq!((skew.heard(stamp, || now), skew.ours(stamp)), (None, now.0));
        // The clock is set: the next event is as old as it should be.
        assert_eq!(skew.heard(1042 * SECOND, || Timestamp(1042 * SECOND)), None);
        assert_eq!(skew.ours(7), 7);
    }
}
