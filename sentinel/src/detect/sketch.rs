//! How many distinct things there were lately, in a few words of memory.

use std::hash::{Hash, Hasher};

/// Linear counting (Whang et al., 1990) over a sliding window of `N` slots of `64 * W` bits each.
///
/// The estimate is within a few percent of the truth up to twice as many items as bits, and saturates beyond; exact or
/// one off for a few dozen items. The hash is fixed, so that the same input gives the same numbers: whoever knows it can
/// choose items that fall together and stay unseen, never make others appear.
#[derive(Clone, Debug)]
pub(super) struct Sketch<const N: usize, const W: usize> {
    slots: [[u64; W]; N],
    head: u64,
}

impl<const N: usize, const W: usize> Default for Sketch<N, W> {
    fn default() -> Self {
        Self {
            slots: [[0; W]; N],
            head: 0,
        }
    }
}

impl<const N: usize, const W: usize> Sketch<N, W> {
    const BITS: usize = 64 * W;

    /// Notes an item in slot number `slot` (time divided by the slot's length). What comes late counts in the running
    /// slot. Whether it may be new.
    pub(super) fn add(&mut self, item: &impl Hash, slot: u64) -> bool {
        self.advance(slot);
        let bit = (digest(item) as usize) % Self::BITS;
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        let new = self.slots.iter().all(|s| s[word] & mask == 0);
        self.slots[(self.head % N as u64) as usize][word] |= mask;
        new
    }

    /// Lets the window slide to slot number `slot`.
    pub(super) fn advance(&mut self, slot: u64) {
        if slot <= self.head {
            return;
        }
        if slot - self.head >= N as u64 {
            self.slots = [[0; W]; N];
        } else {
            for passed in self.head + 1..=slot {
                self.slots[(passed % N as u64) as usize] = [0; W];
            }
        }
        self.head = slot;
    }

    /// Distinct items in the window.
    pub(super) fn estimate(&self) -> f64 {
        let set: u32 = (0..W)
            .map(|w| self.slots.iter().fold(0, |all, s| all | s[w]).count_ones())
            .sum();
        let bits = Self::BITS as f64;
        let zeros = (bits - f64::from(set)).max(1.0);
        bits * (bits / zeros).ln()
    }

    /// The same as a whole number.
    pub(super) fn count(&self) -> u32 {
        self.estimate().round() as u32
    }
}

/// A fixed hash of an item.
pub(super) fn digest(item: &impl Hash) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    item.hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a with a final mix.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_within_a_few_percent_and_slide_with_the_window() {
        let mut sketch = Sketch::<4, 8>::default();
        for (upto, slack) in [(10_u32, 1), (60, 4), (200, 12), (800, 64)] {
            let mut sketch = Sketch::<4, 8>::default();
            for item in 0..upto {
                sketch.add(&item, 7);
            }
            assert!(sketch.count().abs_diff(upto) <= slack, "{upto}: {}", sketch.count());
        }
        for slot in 1..=8_u64 {
            for item in 0..10 {
                sketch.add(&(slot, item), slot);
            }
        }
        assert!(
            (38..=42).contains(&sketch.count()),
            "the last four slots: {}",
            sketch.count()
        );
        assert!(!sketch.add(&(8_u64, 3), 5), "known, and what comes late counts now");
        sketch.advance(10);
        assert!((17..=22).contains(&sketch.count()), "the last two: {}", sketch.count());
        sketch.advance(1000);
        assert_eq!(sketch.count(), 0);
    }

    #[test]
    fn a_full_sketch_saturates() {
        let mut sketch = Sketch::<1, 1>::default();
        for item in 0..10_000 {
            sketch.add(&item, 0);
        }
        assert_eq!(sketch.count(), 266, "64 ln 64");
    }
}
