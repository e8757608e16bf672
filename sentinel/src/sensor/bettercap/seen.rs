//! Which events were heard already: Bettercap sends all it still remembers to whoever connects.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Events remembered; a connection that lasted for more of them has the oldest told by their time alone.
const KEPT: usize = 131_072;

/// The events that were heard.
///
/// Bettercap's history is in the order of time, the oldest first, and holds what was heard since the connection before.
/// So an event at the beginning of a connection that is older than all that is remembered was heard and forgotten. Once one
/// is newer, only what is remembered counts: Bettercap's clock may be set back.
#[derive(Debug)]
pub(super) struct Seen {
    hasher: RandomState,
    known: HashSet<u64>,
    /// Hash and time of each, the oldest first.
    order: VecDeque<(u64, i64)>,
    capacity: usize,
    /// The latest time among those forgotten.
    forgotten: i64,
    catching_up: bool,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self::of(KEPT)
    }

    fn of(capacity: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            known: HashSet::with_capacity(capacity),
            order: VecDeque::with_capacity(capacity),
            capacity,
            forgotten: i64::MIN,
            catching_up: false,
        }
    }

    /// A connection begins: history comes first.
    pub(super) fn connected(&mut self) {
        self.catching_up = true;
    }

    /// History is over, whatever its times say: Bettercap's clock may have been set back.
    pub(super) fn caught_up(&mut self) {
        self.catching_up = false;
    }

    /// Whether an event of that identity and time (ns since 1970) is new; it is known from now on.
    pub(super) fn is_new(&mut self, identity: &[u8], at_ns: i64) -> bool {
        if self.catching_up {
            if at_ns <= self.forgotten {
                return false;
            }
            self.catching_up = false;
        }
        let hash = self.hasher.hash_one(identity);
        if !self.known.insert(hash) {
            return false;
        }
        if self.order.len() >= self.capacity
            && let Some((oldest, at)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.forgotten = self.forgotten.max(at);
        }
        self.order.push_back((hash, at_ns));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(seen: &mut Seen, events: std::ops::Range<i64>) -> usize {
        events.filter(|at| seen.is_new(&at.to_le_bytes(), *at)).count()
    }

    #[test]
    fn a_history_that_is_told_again_is_new_once() {
        let mut seen = Seen::of(100);
        seen.connected();
        assert_eq!(hear(&mut seen, 0..50), 50);
        seen.connected();
        assert_eq!(hear(&mut seen, 0..80), 30, "what came in between is new");
        assert_eq!(hear(&mut seen, 40..90), 10, "and again within a connection");
    }

    #[test]
    fn what_was_forgotten_is_known_by_its_time_and_memory_is_bounded() {
        let mut seen = Seen::of(100);
        seen.connected();
        assert_eq!(hear(&mut seen, 0..1000), 1000);
        assert_eq!((seen.known.len(), seen.order.len()), (100, 100));
        seen.connected();
        assert_eq!(hear(&mut seen, 0..1010), 10);
        // The clock of Bettercap's machine was set back: what comes is new all the same.
        assert_eq!(hear(&mut seen, -20..-10), 10);
    }
}
