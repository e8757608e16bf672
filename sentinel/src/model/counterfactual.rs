//! The smallest change that would have given a softer verdict.
//!
//! After Wachter, Mittelstadt and Russell ("Counterfactual explanations without opening the black box", 2018), over
//! values that benign flows had: first one feature alone, then greedily a few.

use super::explain::with_unit;
use super::scorer::{Scorer, Variant};
use super::transform::{Scaled, scale, scale_one};
use crate::features::schema::Group;
use crate::features::{FEATURES, Vector, WIDTH};
use serde::Serialize;

/// More features than this are no explanation.
const MOST: usize = 4;
/// Every so many of the reference's quantiles is tried.
const STRIDE: usize = 4;

/// One feature, moved towards what is usual.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// As the schema names it.
    pub feature: &'static str,
    /// The flow's value.
    pub from: f64,
    /// A value that benign flows had.
    pub to: f64,
    /// Unit of both.
    pub unit: &'static str,
}

/// A flow that differs in little and would have been judged more softly. Everything else is held as it was, also where
/// it could not be (the mean length without the length): it says what the model looked at, not what to send.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counterfactual {
    /// What changes.
    pub changes: Vec<Change>,
    /// The score it would have.
    pub score: f64,
    /// The same in words.
    pub sentence: String,
}

impl Scorer {
    /// A smallest change found that takes what levels are held against to `threshold` or below. None if four features do not
    /// suffice.
    pub fn counterfactual(&self, vector: &Vector, threshold: f64) -> Option<Counterfactual> {
        let candidates = self.candidates(vector);
        let mut x = scale(vector);
        let mut taken: Vec<(usize, f64)> = Vec::new();
        while taken.len() < MOST {
            if let Some((at, to)) = self.cheapest(&candidates, &x, &taken, threshold) {
                taken.push((at, to));
                x[at] = scale_one(at, to);
                self.soften(vector, &candidates, &mut taken, &mut x, threshold);
                return Some(self.counterfactual_of(vector, &taken, &x));
            }
            let (at, to) = self.steepest(&candidates, &x, &taken)?;
            taken.push((at, to));
            x[at] = scale_one(at, to);
        }
        None
    }

    /// For each feature the values between the flow's and the middle of benign flows, nearest to the flow's first.
    fn candidates(&self, vector: &Vector) -> [Vec<f64>; WIDTH] {
        std::array::from_fn(|at| {
            // A flow is not made benign by being another protocol.
            if FEATURES[at].group == Group::Protocol || (FEATURES[at].needs_egress && self.variant == Variant::Ingress)
            {
                return Vec::new();
            }
            let quantiles = &self.reference.features[at];
            let (value, middle) = (vector.0[at], quantiles.median());
            let between = |to: &f64| (value < *to && *to <= middle) || (middle <= *to && *to < value);
            let mut values: Vec<f64> = quantiles
                .points
                .iter()
                .step_by(STRIDE)
                .copied()
                .chain([middle])
                .filter(between)
                .collect();
            values.sort_by(|a, b| (a - value).abs().total_cmp(&(b - value).abs()));
            values.dedup();
            values
        })
    }

    /// How far a feature moves, in tenths to nine tenths of benign flows, on the scale that trees see.
    fn cost(&self, at: usize, x: &Scaled, to: f64) -> f64 {
        let points = &self.reference.features[at].points;
        let spread = scale_one(at, points[90]) - scale_one(at, points[10]);
        f64::from((scale_one(at, to) - x[at]).abs() / spread.max(0.1))
    }

    /// The cheapest single change that suffices.
    fn cheapest(
        &self,
        candidates: &[Vec<f64>; WIDTH],
        x: &Scaled,
        taken: &[(usize, f64)],
        threshold: f64,
    ) -> Option<(usize, f64)> {
        let mut best: Option<(f64, usize, f64)> = None;
        for (at, values) in candidates.iter().enumerate() {
            if taken.iter().any(|(used, _)| *used == at) {
                continue;
            }
            for &to in values {
                let cost = self.cost(at, x, to);
                if best.is_some_and(|(least, ..)| cost >= least) {
                    break;
                }
                if self.held_with(x, at, to) <= threshold {
                    best = Some((cost, at, to));
                    break;
                }
            }
        }
        best.map(|(_, at, to)| (at, to))
    }

    /// The single change that lowers what levels are held against most.
    fn steepest(&self, candidates: &[Vec<f64>; WIDTH], x: &Scaled, taken: &[(usize, f64)]) -> Option<(usize, f64)> {
        let mut best: Option<(f64, usize, f64)> = None;
        for (at, values) in candidates.iter().enumerate() {
            if taken.iter().any(|(used, _)| *used == at) {
                continue;
            }
            for &to in values {
                let held = self.held_with(x, at, to);
                if best.is_none_or(|(least, ..)| held < least) {
                    best = Some((held, at, to));
                }
            }
        }
        let now = self.held_of(x);
        best.filter(|(held, ..)| *held < now).map(|(_, at, to)| (at, to))
    }

    /// Takes back what was not needed: each change as far as the threshold allows.
    fn soften(
        &self,
        vector: &Vector,
        candidates: &[Vec<f64>; WIDTH],
        taken: &mut Vec<(usize, f64)>,
        x: &mut Scaled,
        threshold: f64,
    ) {
        for (at, value) in taken.iter_mut() {
            let at = *at;
            let enough = std::iter::once(vector.0[at])
                .chain(candidates[at].iter().copied())
                .find(|&to| self.held_with(x, at, to) <= threshold);
            if let Some(to) = enough {
                *value = to;
                x[at] = scale_one(at, to);
            }
        }
        taken.retain(|&(at, to)| to.total_cmp(&vector.0[at]).is_ne());
    }

    fn held_with(&self, x: &Scaled, at: usize, to: f64) -> f64 {
        let mut x = *x;
        x[at] = scale_one(at, to);
        self.held_of(&x)
    }

    fn counterfactual_of(&self, vector: &Vector, taken: &[(usize, f64)], x: &Scaled) -> Counterfactual {
        let changes: Vec<Change> = taken
            .iter()
            .map(|&(at, to)| Change {
                feature: FEATURES[at].name,
                from: vector.0[at],
                to,
                unit: FEATURES[at].unit,
            })
            .collect();
        let score = self.verdict_of(x).score;
        let words: Vec<_> = taken
            .iter()
            .map(|&(at, to)| {
                let from = with_unit(at, vector.0[at]);
                format!("{} at {} instead of {from}", FEATURES[at].name, with_unit(at, to))
            })
            .collect();
        let sentence = format!(
            "With {}, and all else as it was, the score would be {score:.3}{}",
            words.join(" and "),
            self.like(x)
                .map(|kind| format!(", of a flow like {kind}"))
                .unwrap_or_default()
        );
        Counterfactual {
            changes,
            score,
            sentence,
        }
    }
}
