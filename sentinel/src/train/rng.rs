//! Chance from a seed.

use sentinel_common::hash::SplitMix64;

/// No crate's generator, so that a seed means the same under every version of every crate.
#[derive(Clone, Debug)]
pub(super) struct Rng(SplitMix64);

impl Rng {
    /// A stream of its own for each name and number under one seed.
    pub(super) fn new(seed: u64, name: &str, number: u64) -> Self {
        let mut rng = Self(SplitMix64(seed));
        for byte in name.bytes() {
            rng.0 = SplitMix64(rng.next() ^ u64::from(byte));
        }
        rng.0 = SplitMix64(rng.next() ^ number);
        rng.next();
        rng
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// Below `n`, which is not zero.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// In [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fisher–Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        // First outputs for seed 1234567, from the reference implementation.
        let mut rng = Rng(SplitMix64(1_234_567));
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn streams_differ_and_stay_in_bounds() {
        let mut a = Rng::new(1, "tree", 0);
        let mut b = Rng::new(1, "tree", 1);
        assert_ne!(a.next(), b.next());
        let mut seen = [0; 5];
        for _ in 0..5000 {
            seen[a.below(5)] += 1;
            assert!((0.0..1.0).contains(&a.unit()));
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        a.shuffle(&mut items);
        let mut sorted = items;
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
