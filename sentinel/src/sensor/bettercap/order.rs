//! Events in the order of their packets: Bettercap hands each to a listener on its own, and they overtake each other.

use super::event::Event;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How long an event waits for one that was captured before it.
pub(super) const HOLD: Duration = Duration::from_millis(50);

/// Events that wait: the latest packet last.
#[derive(Debug, Default)]
pub(super) struct Order {
    waiting: VecDeque<(i64, Instant, Event)>,
}

impl Order {
    /// Takes in an event that came at `now`, of a packet captured at `at_ns`.
    pub(super) fn put(&mut self, at_ns: i64, event: Event, now: Instant) {
        let behind = self.waiting.iter().rev().take_while(|(at, ..)| *at > at_ns).count();
        self.waiting.insert(self.waiting.len() - behind, (at_ns, now, event));
    }

    /// The next event that nothing can overtake any more, at `now`; with more than `most` waiting, the next in any case.
    pub(super) fn take(&mut self, now: Instant, most: usize) -> Option<(i64, Event)> {
        let (_, came, _) = self.waiting.front()?;
        if self.waiting.len() <= most && now.saturating_duration_since(*came) < HOLD {
            return None;
        }
        self.waiting.pop_front().map(|(at, _, event)| (at, event))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_overtakes_is_put_back_and_nobody_waits_for_long() {
        let mut order = Order::default();
        let start = Instant::now();
        for at in [3, 1, 2, 5, 4] {
            order.put(at, Event::Other, start);
        }
        assert_eq!(order.take(start, 100), None);
        let due = start + HOLD;
        let taken: Vec<_> = std::iter::from_fn(|| order.take(due, 100)).map(|(at, _)| at).collect();
        assert_eq!(taken, [1, 2, 3, 4, 5]);
        for at in 0..10 {
            order.put(at, Event::Other, start);
        }
        let taken = std::iter::from_fn(|| order.take(start, 7)).count();
        assert_eq!((taken, order.is_empty()), (3, false), "no more than so many wait");
    }
}
