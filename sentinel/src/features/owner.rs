//! Whoever has windows: a source, a destination, a pair, a service. Each has a time of its own, from its first event.

use super::distinct::LONGEST;
use super::piece::{SECOND, Steps};
use crate::flow::Bounded;
use std::hash::Hash;

/// Slots kept: the ten or five of a window, and as far back as one may end before now.
pub(super) const SLOTS: usize = 12;
/// Length of a slot of the 10 s windows, steps; five make the window.
pub(super) const SHORT: Steps = 2 * SECOND;
/// Of the 60 s windows; ten make the window.
pub(super) const MINUTE: Steps = 6 * SECOND;
/// Of the 300 s windows; ten make the window.
pub(super) const LONG: Steps = 30 * SECOND;
/// Whoever was quiet for so long is begun anew.
const QUIET: Steps = (LONGEST as Steps + 20) * SECOND;
/// Times since an anchor have room for 497 days of steps; after half of that whoever it is is begun anew.
const OLD: Steps = 1 << 31;

/// What is kept of an owner, with a time of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<T> {
    /// Its first event.
    anchor: Steps,
    /// Its latest.
    seen: Steps,
    pub(super) its: T,
}

impl<T: Default> Owner<T> {
    fn new(at: Steps) -> Self {
        Self {
            anchor: at,
            seen: at,
            its: T::default(),
        }
    }

    /// Which slot of `length` an instant lies in, from its first event.
    pub(super) fn slot(&self, at: Steps, length: Steps) -> u32 {
        u32::try_from(at.saturating_sub(self.anchor) / length).unwrap_or(u32::MAX)
    }

    fn over(&self, at: Steps) -> bool {
        at > self.seen.saturating_add(QUIET) || at > self.anchor.saturating_add(OLD)
    }
}

/// The entry, now the most recently touched; begun anew where it was quiet for too long.
pub(super) fn renewed<K: Hash + Eq, T: Default>(map: &mut Bounded<K, Owner<T>>, key: K, at: Steps) -> &mut Owner<T> {
    let entry = map.touch_or(key, || Owner::new(at));
    if entry.over(at) {
        *entry = Owner::new(at);
    }
    entry.seen = entry.seen.max(at);
    entry
}
