//! The site's own benign flows, gathered for learn mode.

use crate::features::{FeatureRecord, Vector};
use crate::flow::Bounded;
use crate::types::Ktime;
use sentinel_common::addr::Addr;
use std::net::IpAddr;
use std::time::Duration;

/// For how long after an alert a source's flows are not taken for benign.
const SUSPECT: Duration = Duration::from_hours(1);
/// Sources remembered as suspects; the one least recently suspected makes room.
const SUSPECTS: usize = 16_384;

/// Who was spoken of lately. Their flows teach nothing.
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

    /// Suspects a source from `at` on; true where it was not suspected before.
    pub(super) fn add(&mut self, source: IpAddr, at: Ktime) -> bool {
        let source = Addr::from(source);
        let before = self.holds(&source, at);
        self.since.remove(&source);
        self.since.insert(source, at);
        !before
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
    score: f64,
    vector: Vector,
}

/// Benign flow records, a sample of bounded size in which each had the same chance to be (Vitter, "Random sampling with a
/// reservoir", 1985, algorithm R).
#[derive(Debug)]
pub struct Collector {
    since: Ktime,
    seen: u64,
    left_out: u64,
    kept: Vec<Kept>,
    room: usize,
    random: u64,
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
            kept: Vec::with_capacity(room),
            room,
            random: 0,
        }
    }

    /// Since when.
    pub const fn since(&self) -> Ktime {
        self.since
    }

    /// Benign records seen, and records left out.
    pub const fn seen(&self) -> (u64, u64) {
        (self.seen, self.left_out)
    }

    /// What the kept records scored.
    pub fn scores(&self) -> Vec<f64> {
        self.kept.iter().map(|kept| kept.score).collect()
    }

    /// The kept records' vectors, in the order of time.
    pub fn vectors(&self) -> Vec<Vector> {
        let mut kept: Vec<&Kept> = self.kept.iter().collect();
        kept.sort_by_key(|kept| kept.at);
        kept.into_iter().map(|kept| kept.vector).collect()
    }

    /// Takes in a record that scored `score`; one that may not be benign is left out.
    pub(super) fn note(&mut self, record: &FeatureRecord, score: f64, suspects: &Suspects) {
        let source = Addr::from(record.source);
        if record.allowed || suspects.holds(&source, record.at) {
            self.left_out += 1;
            return;
        }
        self.seen += 1;
        let kept = Kept {
            at: record.at,
            source,
            score,
            vector: record.vector,
        };
        if self.kept.len() < self.room {
            self.kept.push(kept);
            return;
        }
        let at = (u128::from(self.draw()) * u128::from(self.seen)) >> 64;
        if let Some(place) = usize::try_from(at).ok().and_then(|at| self.kept.get_mut(at)) {
            *place = kept;
        }
    }

    /// Lets go of what a source did before it was suspected.
    pub(super) fn suspect(&mut self, source: IpAddr) {
        let source = Addr::from(source);
        let before = self.kept.len();
        self.kept.retain(|kept| kept.source != source);
        self.left_out += (before - self.kept.len()) as u64;
    }

    /// The next number of SplitMix64 (Steele et al. 2014): the same records give the same sample.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(super) const fn memory_bound() -> usize {
        Self::ROOM * size_of::<Kept>()
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
    fn what_a_suspect_did_and_does_is_left_out_for_an_hour() {
        let (mut suspects, mut collector) = (Suspects::new(), Collector::new(Ktime(0), 100));
        for source in [1, 2, 1] {
            collector.note(&record(source, 10, 0.0), 0.1, &suspects);
        }
        assert!(suspects.add(IpAddr::from([192, 0, 2, 1]), Ktime(20 * 1_000_000_000)));
        assert!(
            !suspects.add(IpAddr::from([192, 0, 2, 1]), Ktime(21 * 1_000_000_000)),
            "known"
        );
        collector.suspect(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(collector.scores().len(), 1, "of the other source");
        collector.note(&record(1, 30, 0.0), 0.1, &suspects);
        let allowed = FeatureRecord {
            allowed: true,
            ..record(3, 30, 0.0)
        };
        collector.note(&allowed, 0.1, &suspects);
        assert_eq!((collector.scores().len(), collector.seen()), (1, (3, 4)));
        collector.note(&record(1, 21 + 3600, 0.0), 0.1, &suspects);
        assert_eq!(collector.scores().len(), 2, "an hour later");
        suspects.forget(Ktime((21 + 3600) * 1_000_000_000));
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
        let suspects = Suspects::new();
        let mut collector = Collector::new(Ktime(0), ROOM);
        for n in 0..10_000_u32 {
            collector.note(&record(1, 1, n.into()), 0.0, &suspects);
        }
        assert_eq!((collector.vectors().len(), collector.seen().0), (ROOM, 10_000));
        let mut quarters = [0; 4];
        for vector in collector.vectors() {
            quarters[vector.0[0] as usize / 2500] += 1;
        }
        // 50 each by chance, with a standard deviation of 6.
        assert!(quarters.iter().all(|n| (25..=75).contains(n)), "{quarters:?}");
    }
}
