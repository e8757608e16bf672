//! How much came lately, in two stretches of time: the one that runs, and the one before.

use super::Tally;
use crate::types::Ktime;
use std::time::Duration;

/// A rate is that of the last one to two of these.
const STRETCH: u64 = 4_000_000_000;
/// A flow that just began is given this long, so that a first packet makes no rate of its own.
const LEAST: Duration = Duration::from_secs(1);

/// Sums of the stretch before and of the one that runs. Seven digits are enough for a rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    stretch: u32,
    packets: [f32; 2],
    bytes: [f32; 2],
}

impl Pace {
    /// Counts what came.
    pub(super) fn add(&mut self, now: Ktime, came: &Tally) {
        self.turn(now);
        self.packets[1] += came.packets as f32;
        self.bytes[1] += came.bytes as f32;
    }

    fn turn(&mut self, now: Ktime) {
        let stretch = (now.0 / STRETCH) as u32;
        if stretch <= self.stretch {
            return;
        }
        let next = stretch == self.stretch + 1;
        for sums in [&mut self.packets, &mut self.bytes] {
            *sums = [if next { sums[1] } else { 0.0 }, 0.0];
        }
        self.stretch = stretch;
    }

    /// Packets and L3 bytes a second of what began at `first`.
    pub(super) fn per_second(mut self, now: Ktime, first: Ktime) -> (f64, f64) {
        self.turn(now);
        let window = Duration::from_nanos(STRETCH + now.0 % STRETCH);
        let over = window.min(now.since(first)).max(LEAST).as_secs_f64();
        let rate = |sums: [f32; 2]| (f64::from(sums[0]) + f64::from(sums[1])) / over;
        (rate(self.packets), rate(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(packets: u64, bytes: u64) -> Tally {
        Tally {
            packets,
            bytes,
            ..Tally::default()
        }
    }

    #[test]
    fn a_steady_flow_has_its_rate_and_a_quiet_one_none() {
        let at = |tenths: u64| Ktime(3_600_000_000_000 + tenths * 100_000_000);
        let mut pace = Pace::default();
        for tenth in 0..300 {
            pace.add(at(tenth), &came(10, 15_000));
        }
        let (packets, bytes) = pace.per_second(at(300), at(0));
        assert!(
            (packets - 100.0).abs() < 3.0 && (bytes - 150_000.0).abs() < 4_500.0,
            "{packets} {bytes}"
        );
        assert_eq!(pace.per_second(at(300 + 90), at(0)), (0.0, 0.0), "two stretches later");
        // What is late changes nothing of the order of stretches.
        pace.add(at(0), &came(1, 1));
        assert!(pace.per_second(at(300), at(0)).0 > 90.0);
    }

    #[test]
    fn a_young_flow_is_told_by_its_age_and_a_single_packet_is_no_flood() {
        let begun = Ktime(100_000_000_000);
        let mut pace = Pace::default();
        pace.add(begun, &came(1, 60));
        assert_eq!(pace.per_second(begun, begun), (1.0, 60.0));
        pace.add(begun.after(Duration::from_secs(2)), &came(199, 60));
        assert_eq!(
            pace.per_second(begun.after(Duration::from_secs(2)), begun),
            (100.0, 60.0)
        );
    }
}
