//! Sums over the recent past of one key, in slots counted from its first event.

/// The latest `N` slots of a sequence of them. What comes late goes where it belongs, as long as that is kept.
///
/// Slots are numbered from the first event of whoever owns the trail, not from the epoch: two clocks that differ by a
/// constant, such as a capture's and the kernel's, cut the same traffic at the same packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trail<T, const N: usize> {
    head: u32,
    slots: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for Trail<T, N> {
    fn default() -> Self {
        Self {
            head: 0,
            slots: [T::default(); N],
        }
    }
}

impl<T: Copy + Default, const N: usize> Trail<T, N> {
    /// The slot of that number, to be added to; `None` where it is no longer kept.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut T> {
        if slot > self.head {
            if slot - self.head >= N as u32 {
                self.slots = [T::default(); N];
            } else {
                for passed in self.head + 1..=slot {
                    self.slots[passed as usize % N] = T::default();
                }
            }
            self.head = slot;
        }
        (self.head - slot < N as u32).then(|| &mut self.slots[slot as usize % N])
    }

    /// The `count` slots up to and with number `to`, as far as they are kept.
    pub(super) fn last(&self, to: u32, count: u32) -> impl Iterator<Item = &T> {
        let oldest = self.head.saturating_sub(N as u32 - 1);
        let from = to.saturating_sub(count - 1).max(oldest);
        (from..=to.min(self.head)).map(|slot| &self.slots[slot as usize % N])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of everything that ever happened.
        #[test]
        fn sums_are_those_of_a_list(
            events in prop::collection::vec((0u32..40, 1u32..5), 1..60),
            to in 0u32..45,
            count in 1u32..6,
        ) {
            let mut trail = Trail::<u32, 8>::default();
            let mut list = Vec::new();
            let mut head = 0;
            for (slot, amount) in events {
                let kept = head.max(slot) - slot < 8;
                head = head.max(slot);
                let there = trail.at(slot);
                prop_assert_eq!(there.is_some(), kept);
                if let Some(sum) = there {
                    *sum += amount;
                    list.push((slot, amount));
                }
            }
            let oldest = head.saturating_sub(7).max(to.saturating_sub(count - 1));
            let expected: u32 = list.iter().filter(|(slot, _)| (oldest..=to).contains(slot)).map(|(_, n)| n).sum();
            prop_assert_eq!(trail.last(to, count).sum::<u32>(), expected);
        }
    }
}
