//! A sliding sum.

use crate::types::Ktime;

/// A sum over a sliding window, kept in `N` slots: it covers the last `N - 1` slots in full and the running one.
#[derive(Clone, Copy, Debug)]
pub struct Ring<const N: usize> {
    slots: [u32; N],
    /// Number of the running slot since time zero.
    head: u64,
    sum: u32,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self {
            slots: [0; N],
            head: 0,
            sum: 0,
        }
    }
}

impl<const N: usize> Ring<N> {
    /// Adds at `now`; `slot_ns` is the window divided by `N`. What comes late counts in the running slot. Saturates.
    pub fn add(&mut self, now: Ktime, slot_ns: u64, amount: u32) -> u32 {
        self.advance(now, slot_ns);
        let slot = &mut self.slots[(self.head % N as u64) as usize];
        let room = (u32::MAX - self.sum).min(amount);
        *slot += room;
        self.sum += room;
        self.sum
    }

    /// The sum at `now`.
    pub fn sum(&mut self, now: Ktime, slot_ns: u64) -> u32 {
        self.advance(now, slot_ns);
        self.sum
    }

    fn advance(&mut self, now: Ktime, slot_ns: u64) {
        let slot = now.0 / slot_ns.max(1);
        if slot <= self.head {
            return;
        }
        if slot - self.head >= N as u64 {
            self.slots = [0; N];
            self.sum = 0;
        } else {
            for passed in self.head + 1..=slot {
                let old = &mut self.slots[(passed % N as u64) as usize];
                self.sum -= *old;
                *old = 0;
            }
        }
        self.head = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_window_leaves_the_sum() {
        let mut ring = Ring::<4>::default();
        for second in 10..14 {
            ring.add(Ktime(second), 1, 1);
        }
        assert_eq!(ring.sum(Ktime(13), 1), 4);
        assert_eq!(ring.sum(Ktime(14), 1), 3);
        assert_eq!(ring.add(Ktime(12), 1, 1), 4, "late arrivals count now");
        assert_eq!(ring.sum(Ktime(100), 1), 0);
    }
}
