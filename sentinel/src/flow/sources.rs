//! What every initiator did lately.

use super::{Bounded, Ring};
use crate::types::Ktime;
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 8;
/// Length of a slot: eight of them make 64 s.
const SLOT_NS: u64 = 8_000_000_000;
/// How soon after its TCP connection a UDP flow to the same service must begin to count as belonging to it.
const COMPANION: Duration = Duration::from_secs(30);

/// Sums over an initiator's last 56 to 64 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceWindow {
    /// Flows opened.
    pub flows: u32,
    /// Flows in which both sides talked.
    pub talked: u32,
    /// TCP handshakes completed.
    pub completed: u32,
}

/// What is kept per initiator.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    seen: Ktime,
    flows: Ring<SLOTS>,
    talked: Ring<SLOTS>,
    completed: Ring<SLOTS>,
    connected_to: Addr,
    connected_port: u16,
    connected_at: Ktime,
}

/// What changed with a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub(super) opened: bool,
    pub(super) talked: bool,
    pub(super) completed: bool,
}

/// Windows per initiator; the least recently seen makes room.
#[derive(Debug)]
pub(super) struct Sources {
    states: Bounded<Addr, State>,
}

impl Sources {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            states: Bounded::new(capacity),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.states.evicted()
    }

    /// Notes what `source` did towards `target`.
    pub(super) fn note(&mut self, source: Addr, target: (Addr, u16), now: Ktime, change: Change) -> SourceWindow {
        let state = self.states.touch_or(source, State::default);
        state.seen = now;
        if change.completed {
            (state.connected_to, state.connected_port) = target;
            state.connected_at = now;
        }
        SourceWindow {
            flows: state.flows.add(now, SLOT_NS, u32::from(change.opened)),
            talked: state.talked.add(now, SLOT_NS, u32::from(change.talked)),
            completed: state.completed.add(now, SLOT_NS, u32::from(change.completed)),
        }
    }

    /// Whether `source` completed its latest TCP handshake with just this service, a moment ago.
    pub(super) fn companion(&self, source: &Addr, target: (Addr, u16), now: Ktime) -> bool {
        self.states.peek(source).is_some_and(|s| {
            s.connected_at.0 != 0
                && (s.connected_to, s.connected_port) == target
                && now.since(s.connected_at) <= COMPANION
        })
    }

    /// Forgets whoever was last seen before `horizon`.
    pub(super) fn forget(&mut self, horizon: Ktime) {
        while self.states.oldest().is_some_and(|(_, s)| s.seen < horizon) {
            self.states.pop_oldest();
        }
    }

    pub(super) const fn memory_bound(capacity: usize) -> usize {
        Bounded::<Addr, State>::memory_bound(capacity)
    }
}
