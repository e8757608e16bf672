//! Who came back after a decision had run out, and how often.

use crate::types::Timestamp;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Targets remembered; whose last decision ended first makes room.
pub const OFFENDERS: usize = 65_536;

/// Decisions that ran out, by target: how many, and when the last one did. Bounded.
#[derive(Debug, Default)]
pub(super) struct Offenders {
    past: BTreeMap<IpNet, (u32, Timestamp)>,
    order: BTreeSet<(Timestamp, IpNet)>,
}

impl Offenders {
    /// Notes that a decision ran out, or `times` of them, the last one at `ended`.
    pub(super) fn note(&mut self, target: IpNet, times: u32, ended: Timestamp, memory: Duration) {
        let before = self.times(&target, ended, memory);
        self.forget(&target);
        if self.past.len() >= OFFENDERS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.past.remove(&oldest);
        }
        self.past.insert(target, (before.saturating_add(times), ended));
        self.order.insert((ended, target));
    }

    /// How many, as long as they are remembered.
    pub(super) fn times(&self, target: &IpNet, now: Timestamp, memory: Duration) -> u32 {
        self.past
            .get(target)
            .filter(|(_, last)| last.after(memory) > now)
            .map_or(0, |(times, _)| *times)
    }

    /// Begins anew with a target.
    pub(super) fn forget(&mut self, target: &IpNet) {
        if let Some((_, last)) = self.past.remove(target) {
            self.order.remove(&(last, *target));
        }
    }
}

/// So many times as long as the first time, no longer than `most`.
pub(super) fn lengthened(length: Duration, factor: f64, times: u32, most: Duration) -> Duration {
    let scale = factor.powi(i32::try_from(times).unwrap_or(i32::MAX));
    let seconds = length.as_secs_f64() * scale;
    if seconds.is_finite() && seconds < most.as_secs_f64() {
        Duration::from_secs_f64(seconds)
    } else {
        most.max(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(n: u32) -> IpNet {
        IpNet::from(std::net::IpAddr::from(n.to_be_bytes()))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn each_time_counts_until_it_is_long_ago() {
        let (mut all, day) = (Offenders::default(), Duration::from_hours(24));
        all.note(net(1), 1, at(0), day);
        all.note(net(1), 1, at(100), day);
        assert_eq!(all.times(&net(1), at(200), day), 2);
        assert_eq!(all.times(&net(1), at(100 + 86_400), day), 0);
        all.note(net(1), 1, at(200_000), day);
        assert_eq!(all.times(&net(1), at(200_001), day), 1);
        all.forget(&net(1));
        assert_eq!(all.times(&net(1), at(200_001), day), 0);
    }

    #[test]
    fn memory_is_bounded_and_who_ended_first_makes_room() {
        let (mut all, day) = (Offenders::default(), Duration::from_hours(24));
        for n in 0..OFFENDERS as u32 + 10 {
            all.note(net(n), 1, at(i64::from(n) / 1000), day);
        }
        assert_eq!((all.past.len(), all.order.len()), (OFFENDERS, OFFENDERS));
        assert_eq!(all.times(&net(0), at(70), day), 0);
        assert_eq!(all.times(&net(20), at(70), day), 1);
    }

    #[test]
    fn lengths_double_and_stop_at_the_most() {
        let (hour, most) = (Duration::from_hours(1), Duration::from_hours(30));
        let hours = |times| lengthened(hour, 2.0, times, most).as_secs() / 3600;
        assert_eq!([0, 1, 2, 3, 4, 5, 6, u32::MAX].map(hours), [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(lengthened(most * 2, 2.0, 3, most), most * 2);
    }
}
