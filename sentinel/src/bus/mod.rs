//! The live lane: events to whoever listens, and never a wait for them.
//!
//! In: [`Event`]s, after they became durable. Out: numbered [`Live`] events to any number of listeners, the latest
//! of them again to one that comes back.
//! Invariant: publishing never blocks; a listener that lags loses the oldest events and is told how many.
//! Deliberately elsewhere: durability (`store`).

use crate::types::{Event, Live};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Events a slow listener may be behind before it loses the oldest.
const LANE: usize = 4096;

/// Latest events kept for a listener that comes back after a moment.
const KEPT: usize = 1024;

/// The publishing end; cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus {
    sender: broadcast::Sender<Live>,
    recent: Arc<Mutex<Recent>>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Number of the latest event; 0 before the first.
    last: u64,
    kept: VecDeque<Live>,
}

/// What a listener gets that comes back.
#[derive(Debug)]
pub struct Resumed {
    /// Number of the latest event so far; 0 before the first.
    pub last: u64,
    /// What it missed and is gone.
    pub missed: u64,
    /// What it missed and is still kept, oldest first.
    pub earlier: Vec<Live>,
    /// What is published from now on; nothing falls between.
    pub live: broadcast::Receiver<Live>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(LANE).0,
            recent: Arc::default(),
        }
    }
}

impl Bus {
    /// Publishes to whoever listens now, in the order of the numbers.
    pub fn publish(&self, event: Event) {
        let mut recent = self.recent();
        recent.last += 1;
        let live = Live {
            seq: recent.last,
            event,
        };
        if recent.kept.len() == KEPT {
            recent.kept.pop_front();
        }
        recent.kept.push_back(live.clone());
        // An error means that nobody listens, which is no loss.
        let _ = self.sender.send(live);
    }

    /// A new listener; it sees what is published from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Live> {
        self.sender.subscribe()
    }

    /// A listener that has seen everything up to number `seen`.
    pub fn resume(&self, seen: u64) -> Resumed {
        let recent = self.recent();
        let oldest = recent.kept.front().map_or(recent.last + 1, |live| live.seq);
        Resumed {
            last: recent.last,
            missed: oldest.saturating_sub(seen.saturating_add(1)),
            earlier: recent.kept.iter().filter(|live| live.seq > seen).cloned().collect(),
            live: self.sender.subscribe(),
        }
    }

    /// Held for a push and a send, neither of which waits.
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Mint, Timestamp, testing::alert};

    #[test]
    fn whoever_comes_back_gets_what_is_kept_and_is_told_what_is_not() {
        let bus = Bus::default();
        let publish = |n: usize| {
            for _ in 0..n {
                bus.publish(Event::Alert(Arc::new(alert(&mut Mint::Counted(0), Timestamp(1)))));
            }
        };
        let nothing = bus.resume(0);
        assert_eq!((nothing.missed, nothing.earlier.len(), nothing.last), (0, 0, 0));
        publish(10);
        let mut back = bus.resume(7);
        let seen: Vec<u64> = back.earlier.iter().map(|live| live.seq).collect();
        assert_eq!((back.missed, seen), (0, vec![8, 9, 10]));
        publish(1);
        assert_eq!(back.live.try_recv().unwrap().seq, 11, "nothing falls between");
        publish(KEPT);
        let back = bus.resume(7);
        assert_eq!((back.missed, back.earlier.len()), (4, KEPT));
        assert_eq!(back.earlier[0].seq, 12);
        let future = bus.resume(u64::MAX);
        assert_eq!((future.missed, future.earlier.len()), (0, 0));
    }
}
