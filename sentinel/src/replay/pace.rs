//! The time of a capture: how it passes, and what stamps that run backwards mean.

use crate::types::Ktime;
use std::time::Duration;

/// How often time passes between packets.
pub(super) const STEP: Duration = Duration::from_millis(50);
/// Steps taken through a gap at most; after these nothing is due any more but what the next packet brings.
pub(super) const STEPS: u32 = 64;
/// How much earlier than its predecessor a packet may be stamped and still count as merely out of order.
const REORDERED: Duration = Duration::from_secs(1);

/// What a packet's stamp says of the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// It is the first.
    First,
    /// No earlier than its predecessor's.
    InOrder,
    /// A little earlier: it counts at its predecessor's time.
    Reordered,
    /// Much earlier: captures put together, or a clock that was set. From here on intervals count, not stamps.
    Stepped,
}

/// Time that never runs backwards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    now: Option<Ktime>,
    /// What is added to the capture's stamps since its clock was last seen to jump backwards.
    shift: Duration,
    stepped: Ktime,
}

impl Pace {
    /// The time of the latest packet.
    pub(super) fn now(&self) -> Option<Ktime> {
        self.now
    }

    /// The time a packet stamped `at` counts at.
    pub(super) fn stamp(&mut self, at: Ktime) -> (Ktime, Stamp) {
        let Some(before) = self.now else {
            (self.now, self.stepped) = (Some(at), at);
            return (at, Stamp::First);
        };
        if at >= before {
            self.shift = Duration::ZERO;
        }
        let mut at = at.after(self.shift);
        let mut stamp = Stamp::InOrder;
        if at < before {
            let back = before.since(at);
            if back <= REORDERED {
                return (before, Stamp::Reordered);
            }
            self.shift += back;
            (at, stamp) = (before, Stamp::Stepped);
        }
        self.now = Some(at);
        (at, stamp)
    }

    /// The next step on the way to `to`; `taken` counts those since the latest packet, from zero.
    pub(super) fn step(&mut self, to: Ktime, taken: &mut u32) -> Option<Ktime> {
        let next = self.stepped.after(STEP);
        if next > to {
            return None;
        }
        self.stepped = if *taken < STEPS { next } else { to };
        *taken += 1;
        Some(self.stepped)
    }
}
