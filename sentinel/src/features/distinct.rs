//! How many different ones there were lately: exact for a few, estimated for many, bounded for all.

use crate::flow::Bounded;
use sentinel_common::addr::Addr;
use sentinel_common::hash::SplitMix64;

/// Values known one by one.
const EXACT: usize = 8;
/// Buckets of a sketch. It is full, and says 3194, at about 4000 distinct values.
const BUCKETS: usize = 512;
/// Longest time looked back, s.
pub(super) const LONGEST: u32 = 300;

/// Whose values a sketch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// Destination ports of a source.
    Ports(Addr),
    /// Destinations of a source.
    Hosts(Addr),
    /// Sources of a destination.
    Sources(Addr),
    /// Sources of a service: address, port, protocol.
    Clients(Addr, u16, u8),
}

/// A timestamp vector: when a value of each bucket was last seen, s from 1; 0 for never. The number of buckets seen
/// since any instant gives the number of distinct values since then by linear counting (Whang, Vander-Zanden and Taylor,
/// ACM TODS 15(2), 1990; with time stamps: Kim and O'Hallaron, GLOBECOM 2003).
type Vector = Box<[u32; BUCKETS]>;

/// All sketches there are. The least recently added to makes room, and its owner goes on with the few it knows.
#[derive(Debug)]
pub(super) struct Sketches(Bounded<Whose, Vector>);

impl Sketches {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Bounded::new(capacity))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(super) const fn memory_bound(capacity: usize) -> usize {
        Bounded::<Whose, Vector>::memory_bound(capacity) + capacity * (size_of::<[u32; BUCKETS]>() + 16)
    }
}

/// Distinct values of one owner over the last [`LONGEST`] seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Distinct {
    /// Value and time last seen, s from 1; 0 for a free place.
    few: [(u32, u32); EXACT],
    /// There were more, and a sketch was made.
    many: bool,
}

impl Distinct {
    /// Notes a value at `second` of its owner's time.
    pub(super) fn add(&mut self, value: u32, second: u32, whose: Whose, sketches: &mut Sketches) {
        let stamp = second.saturating_add(1);
        let stale = stamp.saturating_sub(LONGEST);
        let known = self.few.iter().position(|(v, at)| *at > 0 && *v == value);
        let place = known.or_else(|| self.few.iter().position(|(_, at)| *at <= stale));
        match place {
            Some(place) => {
                let before = if known.is_some() { self.few[place].1 } else { 0 };
                self.few[place] = (value, stamp.max(before));
            }
            // Whoever was begun anew has nothing to do with a sketch it may have left.
            None if !self.many => {
                self.many = true;
                sketches.0.insert(whose, self.sketch());
            }
            None => {}
        }
        if self.many {
            let vector = sketches.0.touch_or(whose, || self.sketch());
            let at = &mut vector[bucket(value)];
            *at = stamp.max(*at);
        }
    }

    /// A sketch of the few.
    fn sketch(&self) -> Vector {
        let mut vector = Box::new([0; BUCKETS]);
        for (value, stamp) in &self.few {
            let at = &mut vector[bucket(*value)];
            *at = (*stamp).max(*at);
        }
        vector
    }

    /// How many distinct values were seen in the `span` seconds up to `second`, or since.
    pub(super) fn count(&self, second: u32, span: u32, whose: Whose, sketches: &Sketches) -> u32 {
        let since = second.saturating_add(2).saturating_sub(span).max(1);
        let known = || self.few.iter().filter(|(_, at)| *at >= since).count() as u32;
        if !self.many {
            return known();
        }
        let Some(vector) = sketches.0.peek(&whose) else {
            return known();
        };
        let free = vector.iter().filter(|at| **at < since).count().max(1);
        let buckets = BUCKETS as f64;
        (-buckets * (free as f64 / buckets).ln()).round() as u32
    }
}

/// The bucket of a value.
fn bucket(value: u32) -> usize {
    (mix(u64::from(value)) >> 32) as usize % BUCKETS
}

/// A value for an address. The same on every machine: a table of features must come out the same everywhere.
pub(super) fn host(address: &Addr) -> u32 {
    let [high, low] = address.halves();
    (mix(u64::from_be(high) ^ mix(u64::from_be(low))) >> 32) as u32
}

/// A word's bits mixed: the first number that follows it.
const fn mix(word: u64) -> u64 {
    SplitMix64(word).draw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const ME: Whose = Whose::Ports(Addr([0; 16]));

    proptest! {
        #[test]
        fn a_few_are_counted_exactly(
            events in prop::collection::vec((0u32..8, 0u32..60), 1..80),
            span in 1u32..=LONGEST,
        ) {
            let (mut distinct, mut sketches) = (Distinct::default(), Sketches::new(1));
            let (mut second, mut last) = (0, HashMap::new());
            for (value, later) in events {
                second += later;
                distinct.add(value, second, ME, &mut sketches);
                last.insert(value, second);
            }
            let expected = last.values().filter(|at| **at + span > second).count();
            prop_assert_eq!(distinct.count(second, span, ME, &sketches) as usize, expected);
            prop_assert_eq!(sketches.len(), 0);
        }
    }

    #[test]
    fn many_are_estimated_within_a_tenth_up_to_two_thousand() {
        for n in [9u32, 20, 100, 500, 1000, 2000] {
            let (mut distinct, mut sketches) = (Distinct::default(), Sketches::new(1));
            for value in 0..n {
                distinct.add(value, 5, ME, &mut sketches);
            }
            let estimate = f64::from(distinct.count(5, 10, ME, &sketches));
            assert!((estimate / f64::from(n) - 1.0).abs() < 0.1, "{estimate} for {n}");
            assert_eq!(distinct.count(400, 10, ME, &sketches), 0, "all are long past");
        }
    }

    #[test]
    fn a_full_sketch_says_the_most_it_can() {
        let (mut distinct, mut sketches) = (Distinct::default(), Sketches::new(1));
        for value in 0..65_536 {
            distinct.add(value, 0, ME, &mut sketches);
        }
        assert_eq!(distinct.count(0, 10, ME, &sketches), 3194);
    }

    #[test]
    fn whoever_is_begun_anew_does_not_inherit_its_old_sketch() {
        let mut sketches = Sketches::new(1);
        let mut before = Distinct::default();
        for value in 0..400 {
            before.add(value, 1, ME, &mut sketches);
        }
        let mut anew = Distinct::default();
        for value in 1000..1040 {
            anew.add(value, 0, ME, &mut sketches);
        }
        let estimate = anew.count(0, 10, ME, &sketches);
        assert!((38..=42).contains(&estimate), "{estimate} of 40");
    }

    #[test]
    fn whoever_loses_its_sketch_goes_on_with_what_it_knows() {
        let mut sketches = Sketches::new(1);
        let mut all = [Distinct::default(); 2];
        let whose = |n: u8| Whose::Hosts(Addr([n; 16]));
        for (n, distinct) in all.iter_mut().enumerate() {
            for value in 0..100 {
                distinct.add(value, 0, whose(n as u8), &mut sketches);
            }
        }
        assert_eq!((sketches.len(), sketches.evicted()), (1, 1));
        assert_eq!(all[0].count(0, 10, whose(0), &sketches), EXACT as u32);
        assert!(all[1].count(0, 10, whose(1), &sketches) > 90);
    }
}
