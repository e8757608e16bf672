//! Records that the disk refused, in order, bounded.

use super::Record;
use std::collections::VecDeque;

/// Records kept in memory while the disk refuses.
pub(super) const BACKLOG: usize = 65_536;

/// Alerts, what was found out of them, answers and quota may fill only this much of it: decisions, actions and audit are
/// worth more than one more of them.
const FOR_ALERTS: usize = BACKLOG / 2;

/// Whether there may be very many of it.
fn is_plenty(record: &Record) -> bool {
    matches!(
        record,
        Record::Alert(_)
            | Record::Investigation(_)
            | Record::IntelAnswer(_)
            | Record::IntelQuota(_)
            | Record::IntelTrim { .. }
            | Record::Tally(_)
            | Record::Bystander(_)
    )
}

/// First in, first out. At its bound the newest is refused, so that what was promised to be kept is kept.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    records: VecDeque<Record>,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes a whole commit or none of it; returns whether it did.
    pub(super) fn take(&mut self, records: Vec<Record>) -> bool {
        let bound = if records.iter().all(is_plenty) {
            FOR_ALERTS
        } else {
            BACKLOG
        };
        let fits = self.records.len() + records.len() <= bound;
        if fits {
            self.records.extend(records);
        }
        fits
    }

    /// The oldest `n`.
    pub(super) fn oldest(&self, n: usize) -> impl Iterator<Item = &Record> {
        self.records.iter().take(n)
    }

    /// Forgets the oldest `n`.
    pub(super) fn done(&mut self, n: usize) {
        self.records.drain(..n.min(self.records.len()));
    }
}
