//! Flows of one source to one service.

use super::distinct::LONGEST;
use super::owner::{LONG, MINUTE, Owner, SLOTS};
use super::piece::{SECOND, Steps};
use super::trail::Trail;
use super::vector::{ratio, spread};
use sentinel_common::flow::Half;

/// Flows of a pair that are known one by one: twelve gaps between their beginnings.
const RECENT: usize = 13;

/// A flow of a pair.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    id: u32,
    /// Since the pair's first, steps, from 1; 0 for a free place.
    start: u32,
    packets: u32,
    bytes: u32,
    payload: u32,
}

/// What is kept of a pair.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    recent: [Member; RECENT],
    /// Where the next goes.
    next: u8,
    minute: Trail<u32, SLOTS>,
    long: Trail<u32, SLOTS>,
}

/// What is told of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PairAround {
    pub(super) flows_60: u32,
    pub(super) flows_300: u32,
    pub(super) spread_bytes: f64,
    pub(super) packets: f64,
    pub(super) payload: f64,
    pub(super) spread_gaps: f64,
}

impl Default for PairAround {
    fn default() -> Self {
        Self {
            flows_60: 0,
            flows_300: 0,
            spread_bytes: 0.0,
            packets: 0.0,
            payload: 0.0,
            spread_gaps: -1.0,
        }
    }
}

impl Owner<Pair> {
    /// Flow `id` began at `at`.
    pub(super) fn began(&mut self, id: u32, at: Steps) {
        let slots = [self.slot(at, MINUTE), self.slot(at, LONG)];
        let start = self.slot(at, 1).saturating_add(1);
        let pair = &mut self.its;
        for (trail, slot) in [&mut pair.minute, &mut pair.long].into_iter().zip(slots) {
            if let Some(flows) = trail.at(slot) {
                *flows = flows.saturating_add(1);
            }
        }
        pair.recent[usize::from(pair.next)] = Member {
            id,
            start,
            ..Member::default()
        };
        pair.next = (pair.next + 1) % RECENT as u8;
    }

    /// Flow `id` did this; `ahead` where it was the source that sent.
    pub(super) fn sent(&mut self, id: u32, ahead: bool, counts: &Half) {
        let cut = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        if let Some(member) = self.its.recent.iter_mut().find(|m| m.start > 0 && m.id == id) {
            member.packets = member.packets.saturating_add(cut(counts.packets));
            member.bytes = member.bytes.saturating_add(cut(counts.bytes));
            if ahead {
                member.payload = member.payload.saturating_add(cut(counts.payload_bytes));
            }
        }
    }

    /// What is told as of `at`.
    pub(super) fn around(&self, at: Steps) -> PairAround {
        let now = self.slot(at, 1).saturating_add(1);
        // From the oldest to the latest.
        let places = (0..RECENT).map(|n| (usize::from(self.its.next) + n) % RECENT);
        let members = places.map(|place| &self.its.recent[place]).filter(|m| m.start > 0);
        let within = |span: Steps| {
            let since = now.saturating_sub(span as u32);
            members.clone().filter(move |m| m.start > since && m.start <= now)
        };
        let minute = within(60 * SECOND);
        let flows = minute.clone().count() as f64;
        let sum = |of: fn(&Member) -> u32| minute.clone().map(|m| f64::from(of(m))).sum::<f64>();
        let long = within(Steps::from(LONGEST) * SECOND);
        let gaps = long
            .clone()
            .zip(long.clone().skip(1))
            .map(|(a, b)| f64::from(b.start.abs_diff(a.start)));
        PairAround {
            flows_60: total(self.its.minute.last(self.slot(at, MINUTE), 10)),
            flows_300: total(self.its.long.last(self.slot(at, LONG), 10)),
            spread_bytes: spread(minute.clone().map(|m| f64::from(m.bytes))),
            packets: ratio(sum(|m| m.packets), flows),
            payload: ratio(sum(|m| m.payload), flows),
            spread_gaps: if long.clone().count() < 4 { -1.0 } else { spread(gaps) },
        }
    }
}

fn total<'a>(counts: impl Iterator<Item = &'a u32>) -> u32 {
    counts.fold(0, |sum, n| sum.saturating_add(*n))
}
