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

    /// Number of the running slot: where what was just added is.
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// Takes back what was added to a slot, as far as it is still there.
    pub fn take(&mut self, slot: u64, amount: u32) {
        if slot <= self.head && self.head - slot < N as u64 {
            let there = &mut self.slots[(slot % N as u64) as usize];
            let taken = amount.min(*there);
            *there -= taken;
            self.sum -= taken;
        }
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
        ring.take(11, 1);
        ring.take(14, 5);
        assert_eq!(ring.sum(Ktime(14), 1), 2, "what was there, and no more");
        ring.take(10, 1);
        ring.take(15, 1);
        assert_eq!(ring.sum(Ktime(14), 1), 2, "neither what is over nor what is to come");
        assert_eq!(ring.sum(Ktime(100), 1), 0);
    }
}
