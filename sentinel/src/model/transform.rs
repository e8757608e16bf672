//! From a vector in its units to what trees and kernels compare.

use crate::features::{FEATURES, Vector, WIDTH};

/// A vector after [`scale`]: sign(x)·ln(1 + |x|), times in µs.
pub type Scaled = [f32; WIDTH];

/// No feature is larger; beyond it a float in µs loses its meaning.
pub const MAX_VALUE: f64 = 1e15;

/// What a feature's values are multiplied with before anything else.
const FACTORS: [f64; WIDTH] = {
    let mut factors = [1.0; WIDTH];
    let mut at = 0;
    while at < WIDTH {
        if matches!(FEATURES[at].unit.as_bytes(), b"s") {
            factors[at] = 1e6;
        }
        at += 1;
    }
    factors
};

/// One value of the feature at `at`, transformed; what is no number counts as 0, what is beyond [`MAX_VALUE`] as that. Times are taken in µs, since trees of `linfa` tell values apart only
/// from 1e-5 on.
pub fn scale_one(at: usize, value: f64) -> f32 {
    let value = if value.is_nan() {
        0.0
    } else {
        value.clamp(-MAX_VALUE, MAX_VALUE)
    };
    // Most of them are 0, whose logarithm need not be worked out.
    if value == 0.0 {
        return 0.0;
    }
    (value.signum() * (value * FACTORS[at]).abs().ln_1p()) as f32
}

/// A whole vector.
pub fn scale(vector: &Vector) -> Scaled {
    std::array::from_fn(|at| scale_one(at, vector.0[at]))
}

/// The value in its unit that [`scale_one`] takes there.
pub fn unscale_one(at: usize, scaled: f32) -> f64 {
    let scaled = f64::from(scaled);
    let value = scaled.signum() * scaled.abs().exp_m1();
    value / FACTORS[at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::schema::index_of;

    #[test]
    fn times_count_in_microseconds_and_signs_stay() {
        let duration = index_of("f_dur").unwrap();
        let gaps = index_of("t300_p_cvi").unwrap();
        assert!((f64::from(scale_one(duration, 1.0)) - 1_000_001f64.ln()).abs() < 1e-5);
        assert!((f64::from(scale_one(gaps, -1.0)) + 2f64.ln()).abs() < 1e-6);
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            assert!(scale_one(duration, odd).is_finite());
        }
        for (at, value) in [(duration, 12.5), (gaps, -1.0), (2, 1234.0), (2, 0.0)] {
            let back = unscale_one(at, scale_one(at, value));
            assert!(
                (back - value).abs() <= 1e-5 * (1.0 + value.abs()),
                "{at}: {value} came back as {back}"
            );
        }
    }
}
