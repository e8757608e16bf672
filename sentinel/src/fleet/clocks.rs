//! Two clocks: words are dated by the wall clock, which all nodes share more or less; this node's decisions by its desk's,
//! which no step of the wall clock moves.

use crate::types::Timestamp;

/// They differ by less while nobody stepped the wall clock.
const SAME: i64 = 2_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// How both stand now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clocks {
    pub(super) wall: Timestamp,
    pub(super) desk: Timestamp,
}

impl Clocks {
    /// Whole seconds, so that an end is told the same each time.
    fn ahead(self) -> i64 {
        let ahead = self.wall.0 - self.desk.0;
        if ahead.abs() < SAME { 0 } else { ahead / SECOND * SECOND }
    }

    /// An instant of the desk's, as others read it.
    pub(super) fn told(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add(self.ahead()))
    }

    /// An instant that others tell, as the desk reads it.
    pub(super) fn heard(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_sub(self.ahead()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_wall_clock_moves_no_end() {
        let at = |second: i64| Timestamp(second * SECOND);
        let stepped = Clocks {
            wall: Timestamp(at(4_600).0 + 7),
            desk: at(1_000),
        };
        assert_eq!(stepped.told(at(1_500)), at(5_100));
        assert_eq!(stepped.heard(at(5_100)), at(1_500));
        let slewed = Clocks {
            wall: at(1_001),
            desk: at(1_000),
        };
        assert_eq!((slewed.told(at(7)), slewed.heard(at(7))), (at(7), at(7)));
    }
}
