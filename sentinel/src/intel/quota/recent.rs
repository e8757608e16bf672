//! The requests of the last two minutes, by the second.

use std::collections::VecDeque;

/// Seconds that are remembered.
pub(super) const KEPT: i64 = 121;

/// One entry a second at most: bounded by [`KEPT`].
#[derive(Debug, Default)]
pub(super) struct Recent {
    seconds: VecDeque<(i64, u64)>,
}

impl Recent {
    /// Counts `n` requests at `second`, and forgets what is too old.
    pub(super) fn add(&mut self, second: i64, n: u64) {
        self.settle(second);
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += n,
            _ => self.seconds.push_back((second, n)),
        }
    }

    /// Takes one back that was just counted.
    pub(super) fn take_back(&mut self) {
        if let Some((_, count)) = self.seconds.back_mut() {
            *count = count.saturating_sub(1);
        }
    }

    /// Forgets what is too old. A clock that was set back makes all that lies ahead of it happen now: never less is
    /// remembered.
    pub(super) fn settle(&mut self, second: i64) {
        let mut ahead = 0;
        while let Some((_, count)) = self.seconds.pop_back_if(|(last, _)| *last > second) {
            ahead += count;
        }
        if ahead > 0 {
            match self.seconds.back_mut() {
                Some((last, count)) if *last == second => *count += ahead,
                _ => self.seconds.push_back((second, ahead)),
            }
        }
        while self
            .seconds
            .pop_front_if(|(first, _)| *first <= second - KEPT)
            .is_some()
        {}
    }

    /// Requests at or after `second`.
    pub(super) fn since(&self, second: i64) -> u64 {
        self.seconds
            .iter()
            .rev()
            .take_while(|(at, _)| *at >= second)
            .map(|(_, n)| n)
            .sum()
    }

    /// Seconds from `now` until fewer than `limit` stand within the last `window`.
    pub(super) fn free_in(&self, now: i64, window: i64, limit: u64) -> i64 {
        let mut newer = 0;
        for (at, n) in self.seconds.iter().rev() {
            newer += n;
            if newer >= limit {
                return (at + window - now).max(0);
            }
        }
        0
    }

    /// The latest second with a request.
    pub(super) fn latest(&self) -> Option<i64> {
        self.seconds.back().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_a_sliding_window_and_stays_small() {
        let mut recent = Recent::default();
        for second in 0..10_000 {
            recent.add(second, 1);
            recent.add(second, 1);
            assert!(recent.seconds.len() <= KEPT as usize);
        }
        assert_eq!(recent.since(9_940), 120);
        assert_eq!(recent.free_in(9_999, 62, 4), 61);
        assert_eq!(recent.free_in(9_999, 62, 400), 0);
        recent.take_back();
        assert_eq!(recent.since(9_999), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing_and_blocks_for_a_minute_only() {
        let mut recent = Recent::default();
        recent.add(5_000, 3);
        recent.add(5_001, 1);
        recent.add(1_400, 1);
        assert_eq!(recent.since(1_400), 5);
        recent.add(1_463, 0);
        assert_eq!(recent.since(1_463 - 61), 0);
    }
}
