//! What a quantity usually is: level, spread, and a threshold that nobody can push.

/// Weight of a new window once as many were seen.
const ALPHA: f32 = 0.02;
/// A window pulls by at most so many spreads: one burst teaches little.
const WINSOR: f32 = 3.0;
/// Least spread believed in, natural logarithm: a very regular source is not odd at its first hiccup.
const LEAST_SPREAD: f32 = 0.35;
/// Mean absolute deviation to standard deviation, where the deviations are normal.
const NORMAL: f32 = 1.2533;

/// A quantity of one source, as ln(1 + value) without its season.
///
/// Traffic is heavy-tailed, and its logarithm is not. Level and spread are exponentially weighted, each new value cut off
/// at three spreads (winsorised; Huber, 1964), the spread from absolute deviations. The threshold is what they say until
/// [`Level::settle`]; from then on it follows them at a bounded pace, up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Level {
    mean: f32,
    deviation: f32,
    /// In full precision: it moves by less than a millionth at a time.
    settled: Option<f64>,
}

impl Level {
    /// Takes in the value of one more window; `seen` windows came before.
    pub(super) fn learn(&mut self, value: f32, seen: u32) {
        if !value.is_finite() {
            return;
        }
        if seen == 0 {
            self.mean = value;
            return;
        }
        let weight = ALPHA.max(1.0 / (seen as f32 + 1.0));
        let most = WINSOR * self.spread();
        let difference = (value - self.mean).clamp(-most, most);
        self.mean += weight * difference;
        self.deviation += weight * (difference.abs() - self.deviation);
    }

    /// One standard deviation.
    pub(super) fn spread(&self) -> f32 {
        (NORMAL * self.deviation).max(LEAST_SPREAD)
    }

    /// The usual value.
    pub(super) fn mean(&self) -> f32 {
        self.mean
    }

    /// What was learned: `z` standard deviations above the usual value, and no less than `rise` above it (not its logarithm).
    fn wanted(&self, z: f32, rise: f64) -> f64 {
        let risen = (f64::from(self.mean).exp_m1() + rise).max(0.0).ln_1p();
        f64::from(self.mean + z * self.spread()).max(risen)
    }

    /// The value from which on a window is odd.
    pub(super) fn threshold(&self, z: f32, rise: f64) -> f32 {
        self.settled.unwrap_or_else(|| self.wanted(z, rise)) as f32
    }

    /// Ends free learning: from now on the threshold moves slowly.
    pub(super) fn settle(&mut self, z: f32, rise: f64) {
        let wanted = self.wanted(z, rise);
        self.settled.get_or_insert(wanted);
    }

    /// Lets a settled threshold follow what was learned by at most `pace`.
    pub(super) fn follow(&mut self, z: f32, rise: f64, pace: f64) {
        let wanted = self.wanted(z, rise);
        if let Some(threshold) = &mut self.settled {
            *threshold += (wanted - *threshold).clamp(-pace, pace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Z: f32 = 6.0;
    /// Windows of ten seconds in a day.
    const DAY: u32 = 8640;
    const DRIFT: f64 = 0.01;
    /// Packets.
    const RISE: f64 = 100.0;

    /// Traffic that looks random, the same in every run: ln of about 40 packets, give or take.
    fn noise(n: u32) -> f32 {
        let bits = n
            .wrapping_add(11)
            .wrapping_mul(0x9e37_79b1)
            .rotate_left(13)
            .wrapping_mul(0x85eb_ca6b)
            >> 8;
        3.7 + 0.8 * (bits as f32 / (1 << 24) as f32 - 0.5)
    }

    fn learned(days: u32) -> Level {
        let mut level = Level::default();
        for n in 0..days * DAY {
            level.learn(noise(n), n);
        }
        level.settle(Z, RISE);
        level
    }

    #[test]
    fn level_and_spread_are_those_of_the_traffic() {
        let level = learned(1);
        assert!((level.mean() - 3.7).abs() < 0.1, "{}", level.mean());
        assert!((level.spread() - LEAST_SPREAD).abs() < 0.01, "{}", level.spread());
        assert!((level.threshold(Z, RISE) - (level.mean() + Z * level.spread())).abs() < 1e-5);
    }

    #[test]
    fn two_weeks_of_poisoning_move_the_threshold_by_fifteen_percent_at_most() {
        for percent in [1_u32, 3, 5, 50] {
            let mut level = learned(2);
            let before = level.threshold(Z, RISE);
            let rise = (1.0 + percent as f32 / 100.0).ln() / DAY as f32;
            for n in 0..14 * DAY {
                level.learn(noise(n) + rise * n as f32, 2 * DAY + n);
                level.follow(Z, RISE, DRIFT / f64::from(DAY));
            }
            let factor = (level.threshold(Z, RISE) - before).exp();
            assert!(factor <= 1.151, "{percent} % a day: threshold times {factor}");
            assert!(factor >= 1.0, "{percent} % a day: {factor}");
            let free = level.mean() + Z * level.spread();
            assert!(
                percent < 3 || free > level.threshold(Z, RISE),
                "without the bound it would have moved further"
            );
        }
    }

    #[test]
    fn bursts_hardly_teach_and_nonsense_does_not() {
        let mut level = learned(1);
        let before = level;
        level.learn(1000.0, DAY);
        assert!(level.mean() - before.mean() <= ALPHA * WINSOR * before.spread() + 1e-6);
        let kept = level;
        level.learn(f32::NAN, DAY);
        level.learn(f32::INFINITY, DAY);
        assert_eq!(level, kept);
    }
}
