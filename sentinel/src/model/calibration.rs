//! From scores to probabilities.

use super::error::Flaw;
use serde::{Deserialize, Serialize};

/// Points a calibration may have.
const MAX_POINTS: usize = 4096;

/// A logistic curve (Platt, "Probabilistic outputs for support vector machines", 1999): 1/(1 + e^−(slope·m + offset)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    /// By unit of margin; not negative.
    pub slope: f64,
    /// At margin 0, in log-odds.
    pub offset: f64,
}

impl Platt {
    pub(super) fn is_sound(self) -> bool {
        self.slope.is_finite() && self.slope >= 0.0 && self.offset.is_finite()
    }

    /// Probability at a margin.
    pub fn apply(self, margin: f64) -> f64 {
        1.0 / (1.0 + (-(self.slope * margin + self.offset)).exp())
    }
}

/// A curve that never falls, straight between its points and level outside of them (isotonic regression: Zadrozny and
/// Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    /// Score and probability, by rising score.
    pub points: Vec<(f64, f64)>,
}

impl Isotonic {
    /// # Errors
    /// No points or too many, points out of order, probabilities outside of [0, 1] or falling, numbers that are none.
    pub(super) fn check(&self) -> Result<(), Flaw> {
        if self.points.is_empty() || self.points.len() > MAX_POINTS {
            return Err(Flaw::Part("a calibration has no points, or too many"));
        }
        if !self.points.iter().all(|(x, y)| x.is_finite() && y.is_finite()) {
            return Err(Flaw::NotFinite("a calibration's point"));
        }
        let ordered = self.points.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 <= p[1].1);
        if !ordered || !self.points.iter().all(|(_, y)| (0.0..=1.0).contains(y)) {
            return Err(Flaw::Part("a calibration falls, or leaves [0, 1]"));
        }
        Ok(())
    }

    /// Probability at a score.
    pub fn apply(&self, score: f64) -> f64 {
        let at = self.points.partition_point(|point| point.0 < score);
        if at == 0 {
            return self.points[0].1;
        }
        let Some(&(x1, y1)) = self.points.get(at) else {
            return self.points[at - 1].1;
        };
        let (x0, y0) = self.points[at - 1];
        y0 + (y1 - y0) * ((score - x0) / (x1 - x0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_between_points_and_level_outside() {
        let curve = Isotonic {
            points: vec![(0.2, 0.1), (0.4, 0.1), (0.6, 0.9)],
        };
        for (score, expected) in [(0.0, 0.1), (0.2, 0.1), (0.3, 0.1), (0.5, 0.5), (0.6, 0.9), (2.0, 0.9)] {
            assert!((curve.apply(score) - expected).abs() < 1e-12, "{score}");
        }
    }

    #[test]
    fn curves_that_fall_or_are_none_are_refused() {
        let broken = [
            vec![],
            vec![(0.0, 0.5), (0.0, 0.6)],
            vec![(0.0, 0.5), (1.0, 0.4)],
            vec![(0.0, 1.1)],
            vec![(f64::NAN, 0.5)],
            vec![(0.0, 0.5), (f64::INFINITY, 0.6)],
        ];
        for points in broken {
            assert!(
                Isotonic { points: points.clone() }.check().is_err(),
                "{points:?} was taken"
            );
        }
        assert!(
            !Platt {
                slope: -1.0,
                offset: 0.0
            }
            .is_sound()
        );
        assert!(
            !Platt {
                slope: 1.0,
                offset: f64::NAN
            }
            .is_sound()
        );
    }
}
