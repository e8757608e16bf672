//! How busy an hour of the week is, for everybody of one role together.

use crate::types::Timestamp;

/// Hours of a week.
const HOURS: usize = 168;
/// Nanoseconds of an hour.
const HOUR_NS: i64 = 3_600_000_000_000;
/// Midnight of 1970-01-01 was a Thursday's: hours since Monday's.
const THURSDAY: i64 = 72;
/// Weight of a new week.
const ALPHA: f32 = 0.25;
/// Windows an hour must have had to count.
const LEAST: u32 = 20;
/// The farthest an hour is from the week's mean, natural logarithm: a factor of 4.5.
const FARTHEST: f32 = 1.5;

/// The hour-of-week profile of `N` quantities, each as ln(1 + value).
///
/// An hour's mean over all windows of the role is learned once a week, by at most a bounded step, so that nobody can make
/// the night look busy within a few weeks. UTC. Hours not seen yet are like the mean.
#[derive(Clone, Debug)]
pub(super) struct Season<const N: usize> {
    hours: Box<[Option<[f32; N]>; HOURS]>,
    mean: [f32; N],
    /// The hour that runs, since 1970; sums and windows in it.
    running: i64,
    sum: [f32; N],
    windows: u32,
    step: f32,
}

impl<const N: usize> Season<N> {
    /// A week of which nothing is known. `step`: the most an hour may move from one week to the next.
    pub(super) fn new(step: f32) -> Self {
        Self {
            hours: Box::new([None; HOURS]),
            mean: [0.0; N],
            running: 0,
            sum: [0.0; N],
            windows: 0,
            step,
        }
    }

    pub(super) const fn memory_bound() -> usize {
        HOURS * size_of::<Option<[f32; N]>>()
    }

    /// What belongs to the hour, to be taken off a value.
    pub(super) fn at(&self, when: Timestamp) -> [f32; N] {
        let mut shape = [0.0; N];
        if let Some(hour) = &self.hours[of_week(when.0.div_euclid(HOUR_NS))] {
            for i in 0..N {
                shape[i] = (hour[i] - self.mean[i]).clamp(-FARTHEST, FARTHEST);
            }
        }
        shape
    }

    /// Takes in a window. What comes later than its hour teaches nothing.
    pub(super) fn learn(&mut self, when: Timestamp, values: &[f32; N]) {
        let hour = when.0.div_euclid(HOUR_NS);
        if hour > self.running {
            self.close();
            self.running = hour;
        }
        if hour + 1 < self.running {
            // The clock was ahead, and is not any more: what was counted meanwhile has no hour.
            (self.sum, self.windows, self.running) = ([0.0; N], 0, hour);
        }
        if hour < self.running {
            return;
        }
        for (sum, value) in self.sum.iter_mut().zip(values) {
            *sum += value;
        }
        self.windows = self.windows.saturating_add(1);
    }

    fn close(&mut self) {
        if self.windows >= LEAST {
            let windows = self.windows as f32;
            let slot = &mut self.hours[of_week(self.running)];
            if let Some(known) = slot {
                for (known, sum) in known.iter_mut().zip(self.sum) {
                    *known += (ALPHA * (sum / windows - *known)).clamp(-self.step, self.step);
                }
            } else {
                *slot = Some(self.sum.map(|sum| sum / windows));
            }
            let known = self.hours.iter().flatten();
            let count = known.clone().count().max(1) as f32;
            self.mean = [0.0; N];
            for hour in known {
                for (mean, value) in self.mean.iter_mut().zip(hour) {
                    *mean += value / count;
                }
            }
        }
        (self.sum, self.windows) = ([0.0; N], 0);
    }
}

/// The hour of the week of an hour since 1970.
fn of_week(hour: i64) -> usize {
    (hour + THURSDAY).rem_euclid(HOURS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn week(season: &mut Season<1>, number: i64, value: impl Fn(i64) -> f32) {
        for hour in 0..168 {
            for window in 0..60 {
                let at = Timestamp((number * 168 + hour) * HOUR_NS + window * HOUR_NS / 60);
                season.learn(at, &[value(hour)]);
            }
        }
    }

    fn busy(hour: i64) -> f32 {
        if (8..18).contains(&(hour % 24)) { 4.0 } else { 2.0 }
    }

    #[test]
    fn a_clock_that_was_ahead_and_is_set_back_ends_no_learning() {
        let mut season = Season::<1>::new(0.07);
        season.learn(Timestamp(5000 * HOUR_NS), &[9.0]);
        week(&mut season, 0, busy);
        week(&mut season, 1, busy);
        let noon = season.at(Timestamp((2 * 168 + 12) * HOUR_NS))[0];
        assert!((noon - 1.17).abs() < 0.02, "{noon}");
    }

    #[test]
    fn an_hour_of_the_week_is_known_after_one() {
        let mut season = Season::<1>::new(0.07);
        assert!(season.at(Timestamp(0))[0].abs() < f32::EPSILON, "nothing is known yet");
        week(&mut season, 0, busy);
        week(&mut season, 1, busy);
        let at = |hour: i64| season.at(Timestamp((2 * 168 + hour) * HOUR_NS))[0];
        assert!(
            (at(12) - 1.17).abs() < 0.02 && (at(3) + 0.83).abs() < 0.02,
            "{} {}",
            at(12),
            at(3)
        );
        assert_eq!(of_week(0), 72, "a Thursday");
        assert_eq!(of_week(-72), 0, "a Monday before 1970");
    }

    #[test]
    fn a_week_moves_an_hour_by_a_step_at_most() {
        let mut season = Season::<1>::new(0.07);
        week(&mut season, 0, busy);
        week(&mut season, 1, busy);
        let before = season.at(Timestamp(3 * HOUR_NS))[0];
        let poisoned = |hour: i64| if hour % 24 == 3 { 5.0 } else { busy(hour) };
        week(&mut season, 2, poisoned);
        week(&mut season, 3, poisoned);
        season.learn(Timestamp(4 * 168 * HOUR_NS), &[2.0]);
        let after = season.at(Timestamp(3 * HOUR_NS))[0];
        assert!(after > before && after - before <= 0.141, "{before} to {after}");
    }

    #[test]
    fn an_hour_with_few_windows_teaches_nothing() {
        let mut season = Season::<1>::new(0.07);
        for hour in 0..168 {
            season.learn(Timestamp(hour * HOUR_NS), &[hour as f32]);
        }
        assert!(season.at(Timestamp(5 * HOUR_NS))[0].abs() < f32::EPSILON);
    }
}
