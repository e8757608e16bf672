//! How long an oddity that was told of is not told of again: an hour, then two, up to a day.

use crate::types::Ktime;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);
/// After the first time; doubled each time, up to a day.
const SILENCE: Duration = Duration::from_hours(1);
const DOUBLINGS: u8 = 5;

/// What was told of one source, and when it may be told again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    until: Ktime,
    doublings: u8,
}

impl Silence {
    /// Whether it lasts.
    pub(super) fn holds(&self, at: Ktime) -> bool {
        at < self.until
    }

    /// Whether it may be told now; if so, silence begins. A quiet day makes it short again.
    pub(super) fn broken(&mut self, at: Ktime) -> bool {
        if self.holds(at) {
            return false;
        }
        if at.since(self.until) >= DAY {
            self.doublings = 0;
        }
        self.until = at.after((SILENCE * (1 << self.doublings)).min(DAY));
        self.doublings = (self.doublings + 1).min(DOUBLINGS);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_doubles_up_to_a_day_and_a_quiet_day_makes_it_short_again() {
        let mut silence = Silence::default();
        let mut now = Ktime(1);
        let mut lasted = Vec::new();
        assert!(silence.broken(now));
        for _ in 0..7 {
            let began = now;
            while !silence.broken(now) {
                now = now.after(Duration::from_mins(30));
            }
            lasted.push(now.since(began).as_secs() / 3600);
        }
        assert_eq!(lasted, [1, 2, 4, 8, 16, 24, 24]);
        now = now.after(3 * DAY);
        assert!(silence.broken(now));
        assert!(!silence.broken(now.after(Duration::from_mins(59))));
        assert!(silence.broken(now.after(SILENCE)));
    }
}
