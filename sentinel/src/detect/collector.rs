//! The site's own benign flows, gathered for learn mode.

use crate::features::{FeatureRecord, Vector};
use crate::flow::Bounded;
use crate::types::Ktime;
use sentinel_common::addr::Addr;
use sentinel_common::hash::SplitMix64;
use std::net::IpAddr;
use std::time::Duration;

/// For how long after an accusation.
const SUSPECT: Duration = Duration::from_hours(1);
/// Sources remembered as suspects; the one least recently suspected makes room.
const SUSPECTS: usize = 16_384;

/// Who was accused lately. Their flows are not held against what the thresholds promised.
#[derive(Debug)]
pub(super) struct Suspects {
    since: Bounded<Addr, Ktime>,
}

impl Suspects {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self {
            since: Bounded::new(SUSPECTS),
        }
    }

    /// Suspects a source from `at` on.
    pub(super) fn add(&mut self, source: IpAddr, at: Ktime) {
        let source = Addr::from(source);
        self.since.remove(&source);
        self.since.insert(source, at);
    }

    /// Whether a source is suspected at `at`.
    pub(super) fn holds(&self, source: &Addr, at: Ktime) -> bool {
        self.since.peek(source).is_some_and(|since| at.since(*since) < SUSPECT)
    }

    /// Lets go of those whose time is over.
    pub(super) fn forget(&mut self, now: Ktime) {
        while self
            .since
            .oldest()
            .is_some_and(|(_, since)| now.since(*since) >= SUSPECT)
        {
            self.since.pop_oldest();
        }
    }

    /// How many there are, and how many had to make room.
    pub(super) fn load(&self) -> (usize, u64) {
        (self.since.len(), self.since.evicted())
    }

    pub(super) const fn memory_bound() -> usize {
        Bounded::<Addr, Ktime>::memory_bound(SUSPECTS)
    }
}

/// A record that was kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: Ktime,
    source: Addr,
    vector: Vector,
}

/// Benign flow records, a sample of bounded size in which each had the same chance to be (Vitter, "Random sampling with a
/// reservoir", 1985, algorithm R). Who is accused meanwhile is left out with all it did before and does after.
#[derive(Debug)]
pub struct Collector {
    since: Ktime,
    seen: u64,
    left_out: u64,
    drawn: u64,
    kept: Vec<Kept>,
    accused: Bounded<Addr, ()>,
    room: usize,
    /// The same records give the same sample.
    random: SplitMix64,
}

impl Collector {
    /// Records kept: 12 MiB of them, three times as many as the rarest level needs.
    pub const ROOM: usize = 1 << 15;

    /// Nothing yet, from `now` on.
    pub(super) fn new(now: Ktime, room: usize) -> Self {
        Self {
            since: now,
            seen: 0,
            left_out: 0,
            drawn: 0,
            kept: Vec::with_capacity(room),
            accused: Bounded::new(SUSPECTS),
            room,
            random: SplitMix64(0),
        }
    }

    /// Since when.
    pub const fn since(&self) -> Ktime {
        self.since
    }

    /// Records seen; those of them in hand; and those left out, of what was taken before its source was accused as far as
    /// it is still in hand.
    pub fn counts(&self) -> (u64, u64, u64) {
        let benign = self.benign().count() as u64;
        (self.seen, benign, self.left_out + self.kept.len() as u64 - benign)
    }

    /// The kept records' vectors, in the order of time.
    pub fn vectors(&self) -> Vec<Vector> {
        let mut kept: Vec<&Kept> = self.benign().collect();
        kept.sort_by_key(|kept| kept.at);
        kept.into_iter().map(|kept| kept.vector).collect()
    }

    fn benign(&self) -> impl Iterator<Item = &Kept> {
        self.kept
            .iter()
            .filter(|kept| self.accused.peek(&kept.source).is_none())
    }

    /// Takes in a record; one that may not be benign is left out.
    pub(super) fn note(&mut self, record: &FeatureRecord) {
        self.seen += 1;
        let source = Addr::from(record.source);
        if record.allowed || self.accused.peek(&source).is_some() {
            self.left_out += 1;
            return;
        }
        self.drawn += 1;
        let kept = Kept {
            at: record.at,
            source,
            vector: record.vector,
        };
        if self.kept.len() < self.room {
            self.kept.push(kept);
            return;
        }
        let at = (u128::from(self.random.draw()) * u128::from(self.drawn)) >> 64;
        if let Some(place) = usize::try_from(at).ok().and_then(|at| self.kept.get_mut(at)) {
            *place = kept;
        }
    }

    /// Leaves a source out, with what it did before.
    pub(super) fn accuse(&mut self, source: IpAddr) {
        self.accused.insert(Addr::from(source), ());
    }

    /// Accused sources that had to make room: their later flows count again.
    pub(super) fn evicted(&self) -> u64 {
        self.accused.evicted()
    }

    pub(super) const fn memory_bound() -> usize {
        Self::ROOM * size_of::<Kept>() + Bounded::<Addr, ()>::memory_bound(SUSPECTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Cut, WIDTH};
    use crate::types::Service;

    fn record(source: u8, at: u64, value: f64) -> FeatureRecord {
        FeatureRecord {
            at: Ktime(at * 1_000_000_000),
            source: IpAddr::from([192, 0, 2, source]),
            source_port: 4000,
            target: Service {
                ip: IpAddr::from([10, 0, 0, 1]),
                port: 443,
                proto: 6,
            },
            from_inside: false,
            start: Ktime(at),
            end: Ktime(at),
            cut: Cut::Closed,
            continued: false,
            packets: 5,
            allowed: false,
            vector: Vector([value; WIDTH]),
        }
    }

    #[test]
    fn who_is_accused_is_left_out_with_what_it_did_before() {
        let mut collector = Collector::new(Ktime(0), 100);
        for source in [1, 2, 1] {
            collector.note(&record(source, 10, 0.0));
        }
        collector.accuse(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(collector.counts(), (3, 1, 2), "seen, in hand, left out");
        collector.note(&record(1, 30, 0.0));
        let allowed = FeatureRecord {
            allowed: true,
            ..record(3, 30, 0.0)
        };
        collector.note(&allowed);
        assert_eq!(collector.counts(), (5, 1, 4));
        assert_eq!((collector.vectors().len(), collector.evicted()), (1, 0));
    }

    #[test]
    fn a_suspect_is_one_for_an_hour() {
        let mut suspects = Suspects::new();
        let at = |seconds: u64| Ktime(seconds * 1_000_000_000);
        let source = IpAddr::from([192, 0, 2, 1]);
        suspects.add(source, at(20));
        assert!(suspects.holds(&source.into(), at(3619)) && !suspects.holds(&source.into(), at(3620)));
        suspects.add(source, at(3000));
        assert!(suspects.holds(&source.into(), at(6000)));
        suspects.forget(at(6600));
        assert_eq!(suspects.load(), (0, 0));
    }

    #[test]
    fn suspects_are_bounded_and_counted() {
        let mut suspects = Suspects::new();
        for n in 0..SUSPECTS as u32 + 3 {
            suspects.add(IpAddr::from(n.to_be_bytes()), Ktime(u64::from(n)));
        }
        assert_eq!(suspects.load(), (SUSPECTS, 3));
    }

    #[test]
    fn each_record_has_the_same_chance_to_be_kept() {
        const ROOM: usize = 200;
        let mut collector = Collector::new(Ktime(0), ROOM);
        for n in 0..10_000_u32 {
            collector.note(&record(1, 1, n.into()));
        }
        assert_eq!(collector.counts(), (10_000, ROOM as u64, 0));
        let mut quarters = [0; 4];
        for vector in collector.vectors() {
            quarters[vector.0[0] as usize / 2500] += 1;
        }
        // 50 each by chance, with a standard deviation of 6.
        assert!(quarters.iter().all(|n| (25..=75).contains(n)), "{quarters:?}");
    }
}
