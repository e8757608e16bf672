//! The site's own benign flows, gathered for learn mode.
//!
//! What is gathered can be asked for as it grows ([`Gain`]) and taken in again, so that whoever keeps it may go on after a
//! restart as if there had been none.

use crate::features::{FeatureRecord, Vector};
use crate::flow::Bounded;
use crate::model::MAX_VALUE;
use crate::types::{Ktime, Timestamp};
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

    /// All of them, least lately first.
    pub(super) fn sources(&self) -> impl Iterator<Item = Addr> {
        self.since.iter().map(|(source, _)| *source)
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// The how-manieth it was of those that might have been kept, from 1: the order of time.
    pub number: u64,
    /// Who opened the flow.
    pub source: Addr,
    /// What is learnt of it.
    pub vector: Vector,
}

/// What a collection gained since it was last asked, or all of it: what it takes to go on after a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gain {
    /// Records seen so far.
    pub seen: u64,
    /// Of these left out as they came.
    pub left_out: u64,
    /// Of these that might have been kept.
    pub drawn: u64,
    /// Where the generator of the sample stands.
    pub random: u64,
    /// Sources accused, least lately first.
    pub accused: Vec<Addr>,
    /// Records by their places, in the order of these.
    pub kept: Vec<(u32, Kept)>,
}

/// A gain that cannot follow what was taken in before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its numbers contradict each other")]
pub struct Contradiction;

/// Benign flow records, a sample of bounded size in which each had the same chance to be (Vitter, "Random sampling with a
/// reservoir", 1985, algorithm R). Who is accused meanwhile is left out with all it did before and does after.
#[derive(Debug)]
pub struct Collector {
    since: Timestamp,
    seen: u64,
    left_out: u64,
    drawn: u64,
    kept: Vec<Kept>,
    accused: Bounded<Addr, ()>,
    room: usize,
    /// The same records give the same sample.
    random: SplitMix64,
    /// A bit for each place that has another record than when it was last asked.
    changed: Vec<u64>,
    /// Who was accused since.
    news: Bounded<Addr, ()>,
}

impl Collector {
    /// Records kept: 12 MiB of them, three times as many as the rarest level needs.
    pub const ROOM: usize = 1 << 15;
    /// Accused sources remembered.
    pub const ACCUSED: usize = SUSPECTS;

    /// Nothing yet, from `since` on; `room` records at most.
    pub fn new(since: Timestamp, room: usize) -> Self {
        Self {
            since,
            seen: 0,
            left_out: 0,
            drawn: 0,
            kept: Vec::with_capacity(room),
            accused: Bounded::new(SUSPECTS),
            room,
            random: SplitMix64(0),
            changed: vec![0; room.div_ceil(64)],
            news: Bounded::new(SUSPECTS),
        }
    }

    /// Since when.
    pub const fn since(&self) -> Timestamp {
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
        kept.sort_by_key(|kept| kept.number);
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
            number: self.drawn,
            source,
            vector: record.vector,
        };
        if self.kept.len() < self.room {
            self.mark(self.kept.len());
            self.kept.push(kept);
            return;
        }
        let at = (u128::from(self.random.draw()) * u128::from(self.drawn)) >> 64;
        if let Some((at, place)) = usize::try_from(at)
            .ok()
            .and_then(|at| Some((at, self.kept.get_mut(at)?)))
        {
            *place = kept;
            self.mark(at);
        }
    }

    fn mark(&mut self, place: usize) {
        if let Some(word) = self.changed.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// Leaves a source out, with what it did before.
    pub(super) fn accuse(&mut self, source: Addr) {
        self.accused.insert(source, ());
        self.news.insert(source, ());
    }

    /// What came since this was last asked; with `whole` all there is. 12 MiB at most.
    pub(super) fn gain(&mut self, whole: bool) -> Gain {
        let accused = if whole { &self.accused } else { &self.news };
        let changed = |place: &usize| whole || self.changed[place / 64] >> (place % 64) & 1 == 1;
        let places = (0..self.kept.len()).filter(changed);
        let gain = Gain {
            seen: self.seen,
            left_out: self.left_out,
            drawn: self.drawn,
            random: self.random.0,
            accused: accused.iter().map(|(source, ())| *source).collect(),
            kept: places.map(|place| (place as u32, self.kept[place])).collect(),
        };
        self.changed.fill(0);
        self.news = Bounded::new(SUSPECTS);
        gain
    }

    /// Takes in what a collection gained, as it came from another one's [`Collector::gain`].
    ///
    /// # Errors
    /// [`Contradiction`] where it came from none; what was taken in of it stays, and the collector is of no use any more.
    pub fn regain(&mut self, gain: &Gain) -> Result<(), Contradiction> {
        let sound = gain.seen >= self.seen
            && gain.left_out >= self.left_out
            && gain.drawn >= self.drawn
            && gain.left_out.checked_add(gain.drawn) == Some(gain.seen)
            && gain.accused.len() <= SUSPECTS;
        if !sound {
            return Err(Contradiction);
        }
        for (place, kept) in &gain.kept {
            let place = *place as usize;
            let finite = kept.vector.0.iter().all(|value| value.abs() <= MAX_VALUE);
            if !finite || kept.number == 0 || kept.number > gain.drawn || place >= self.room {
                return Err(Contradiction);
            }
            match self.kept.len() {
                len if place < len => self.kept[place] = *kept,
                len if place == len => self.kept.push(*kept),
                _ => return Err(Contradiction),
            }
        }
        if self.kept.len() as u64 != gain.drawn.min(self.room as u64) {
            return Err(Contradiction);
        }
        for source in &gain.accused {
            self.accused.insert(*source, ());
        }
        (self.seen, self.left_out, self.drawn) = (gain.seen, gain.left_out, gain.drawn);
        self.random = SplitMix64(gain.random);
        Ok(())
    }

    /// Accused sources that had to make room: their later flows count again.
    pub(super) fn evicted(&self) -> u64 {
        self.accused.evicted()
    }

    pub(super) const fn memory_bound() -> usize {
        // Once in hand and once on its way to the disk.
        2 * (Self::ROOM * size_of::<(u32, Kept)>() + Bounded::<Addr, ()>::memory_bound(SUSPECTS)) + Self::ROOM / 8
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
        let mut collector = Collector::new(Timestamp(0), 100);
        for source in [1, 2, 1] {
            collector.note(&record(source, 10, 0.0));
        }
        collector.accuse(IpAddr::from([192, 0, 2, 1]).into());
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
        let mut collector = Collector::new(Timestamp(0), ROOM);
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

    #[test]
    fn what_goes_on_after_a_restart_is_what_would_have_been_without_one() {
        const ROOM: usize = 70;
        let mut whole = Collector::new(Timestamp(5), ROOM);
        let mut kept = Collector::new(Timestamp(5), ROOM);
        for round in 0..40_u32 {
            for n in 0..25_u32 {
                let source = (n % 9) as u8;
                whole.note(&record(source, 1, f64::from(round * 25 + n)));
            }
            if round % 8 == 7 {
                whole.accuse(IpAddr::from([192, 0, 2, (round / 8) as u8]).into());
            }
            kept.regain(&whole.gain(false)).unwrap();
            assert_eq!(kept.counts(), whole.counts(), "round {round}");
            assert_eq!(kept.vectors(), whole.vectors(), "round {round}");
        }
        assert_eq!(whole.gain(false).kept, [], "nothing came since");
        let mut once = Collector::new(Timestamp(5), ROOM);
        once.regain(&whole.gain(true)).unwrap();
        for n in 0..500_u32 {
            let record = record((n % 9) as u8, 2, f64::from(n));
            whole.note(&record);
            once.note(&record);
        }
        assert_eq!(once.vectors(), whole.vectors(), "the same sample from there on");
        assert_eq!(once.counts(), whole.counts());
    }

    #[track_caller]
    fn refused(sound: &Gain, change: impl Fn(&mut Gain)) {
        let mut gain = sound.clone();
        change(&mut gain);
        assert_eq!(Collector::new(Timestamp(0), 4).regain(&gain), Err(Contradiction));
    }

    #[test]
    fn a_gain_that_came_from_no_collection_is_refused() {
        let mut collector = Collector::new(Timestamp(0), 4);
        for n in 0..3 {
            collector.note(&record(1, 1, f64::from(n)));
        }
        let sound = collector.gain(true);
        Collector::new(Timestamp(0), 4).regain(&sound).unwrap();
        refused(&sound, |gain| gain.kept[1].1.vector.0[7] = f64::NAN);
        refused(&sound, |gain| gain.kept[1].1.vector.0[7] = f64::INFINITY);
        refused(&sound, |gain| gain.kept[2].0 = 3);
        refused(&sound, |gain| gain.kept[2].0 = u32::MAX);
        refused(&sound, |gain| gain.kept[0].1.number = 4);
        refused(&sound, |gain| gain.kept[0].1.number = 0);
        refused(&sound, |gain| gain.kept.truncate(2));
        refused(&sound, |gain| gain.left_out = u64::MAX);
        refused(&sound, |gain| gain.drawn = 2);
        refused(&sound, |gain| {
            gain.accused = vec![Addr::v4([192, 0, 2, 1]); SUSPECTS + 1];
        });
        let mut ahead = Collector::new(Timestamp(0), 4);
        ahead.note(&record(1, 1, 0.0));
        assert_eq!(ahead.regain(&Gain::default()), Err(Contradiction), "it goes back");
    }
}
