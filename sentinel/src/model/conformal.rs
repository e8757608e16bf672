//! Thresholds that hold a promised rate of false alarms.
//!
//! Split conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Lei et al.,
//! "Distribution-free predictive inference for regression", 2018): if the next benign flow is drawn like the n benign
//! flows counted, it exceeds their ⌈(n + 1)(1 − α)⌉-th smallest score with a probability of at most α.

use super::error::Flaw;
use serde::{Deserialize, Serialize};

/// Shares of benign flows that may reach *suspicious* and *flag*.
pub const ALPHAS: [f64; 2] = [0.01, 0.001];

/// What a level is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Share of benign flows that may exceed it.
    pub alpha: f64,
    /// What is held against it and exceeds it reaches the level: a score, less the discount of its kind. None: there were too few benign flows to say, and the level is never reached.
    pub score: Option<f64>,
    /// Benign flows it was set by.
    pub benign: u64,
    /// How many more are needed for it.
    pub missing: u64,
}

/// Benign flows that a level needs: 10/α, so that ten of them are expected beyond it.
pub fn needed(alpha: f64) -> u64 {
    (10.0 / alpha - 1e-6).ceil() as u64
}

/// Sets a level by the scores of benign flows; refuses it (no score, `missing` says how many more are needed) with
/// fewer than [`needed`].
///
/// # Errors
/// α outside of (0, 0.5], or a score that is no number.
pub fn threshold(scores: &[f64], alpha: f64) -> Result<Threshold, Flaw> {
    if !(alpha > 0.0 && alpha <= 0.5) {
        return Err(Flaw::Part("a level's share of false alarms (alpha) is not in (0, 0.5]"));
    }
    if !scores.iter().all(|score| score.is_finite()) {
        return Err(Flaw::NotFinite("a benign score"));
    }
    let benign = scores.len() as u64;
    let missing = needed(alpha).saturating_sub(benign);
    let score = (missing == 0).then(|| {
        let mut sorted = scores.to_vec();
        sorted.sort_by(f64::total_cmp);
        // ⌈(n + 1)(1 − α)⌉ = n + 1 − ⌊(n + 1)α⌋, without the rounding of 1 − α.
        let beyond = ((benign + 1) as f64 * alpha + 1e-9).floor() as usize;
        sorted[sorted.len() - beyond]
    });
    Ok(Threshold {
        alpha,
        score,
        benign,
        missing,
    })
}

impl Threshold {
    /// Whether a score reaches the level.
    pub fn is_exceeded(&self, score: f64) -> bool {
        self.score.is_some_and(|threshold| score > threshold)
    }

    pub(super) fn check(&self) -> Result<(), Flaw> {
        if !(self.alpha > 0.0 && self.alpha <= 0.5) {
            return Err(Flaw::Part("a level's share of false alarms (alpha) is not in (0, 0.5]"));
        }
        if self.score.is_some_and(|score| !score.is_finite()) {
            return Err(Flaw::NotFinite("a level's threshold"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_score_the_formula_names() {
        let scores: Vec<f64> = (1..=999).rev().map(f64::from).collect();
        // ⌈1000 · 0.99⌉ = 990; ⌈1000 · 0.9⌉ = 900.
        assert_eq!(threshold(&scores, 0.01).unwrap().score, None);
        assert_eq!(threshold(&scores, 0.1).unwrap().score, Some(900.0));
        let scores: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(threshold(&scores, 0.01).unwrap().score, Some(991.0));
    }

    #[test]
    fn too_few_benign_flows_are_refused_by_number() {
        let few = threshold(&[0.5; 999], 0.001).unwrap();
        assert_eq!((few.score, few.benign, few.missing), (None, 999, 9001));
        assert!(!few.is_exceeded(1.0));
        assert_eq!(threshold(&[0.5; 1000], 0.01).unwrap().missing, 0);
        assert!(threshold(&[0.5; 1000], 0.0).is_err());
        assert!(threshold(&[0.5; 1000], f64::NAN).is_err());
        assert!(threshold(&[f64::NAN; 1000], 0.01).is_err());
    }

    proptest! {
        #[test]
        fn no_more_than_alpha_of_those_counted_exceed_it(
            scores in prop::collection::vec(0f64..1.0, 100..600), alpha in 0.02f64..0.5
        ) {
            let level = threshold(&scores, alpha).unwrap();
            if level.score.is_some() {
                let beyond = scores.iter().filter(|s| level.is_exceeded(**s)).count();
                prop_assert!(beyond as f64 <= alpha * (scores.len() + 1) as f64);
            } else {
                prop_assert!((scores.len() as f64) < 10.0 / alpha);
            }
        }
    }
}
