//! Why a flow got its score: shares that sum to it, and sentences with the numbers.

use super::scorer::{Level, Scorer, Verdict};
use super::svm::Neighbour;
use super::transform::scale;
use crate::features::{FEATURES, Vector, WIDTH};
use serde::Serialize;

/// Neighbours named for the second opinion.
const NEIGHBOURS: usize = 3;

/// How features' shares are computed. Both sum to the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Along the paths through the trees: a few µs, for every flagged flow.
    Path,
    /// Exact Shapley values: one to two ms, for alerts.
    TreeShap,
}

/// What one feature adds to the score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contribution {
    /// As the schema names it.
    pub feature: &'static str,
    /// The flow's value, in its unit.
    pub value: f64,
    /// Unit of the value; empty for shares, ratios and flags.
    pub unit: &'static str,
    /// Percentage of the reference's benign flows with less.
    pub above: f64,
    /// Percentage of the reference's benign flows with more.
    pub below: f64,
    /// Added to the score; negative where it speaks for a benign flow.
    pub share: f64,
    /// The same in words.
    pub sentence: String,
}

/// The support vector machine's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecondOpinion {
    /// Added to the score.
    pub share: f64,
    /// Signed distance from the border; none where it was not asked.
    pub margin: Option<f64>,
    /// Flows of the training that it finds most alike.
    pub neighbours: Vec<Neighbour>,
    /// The same in words.
    pub sentence: String,
}

/// A score taken apart: `base` and all shares sum to it within 1e-9.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What is explained.
    pub score: f64,
    /// How.
    pub method: Method,
    /// The score before anything is known of the flow.
    pub base: f64,
    /// Every feature with a share, the largest first.
    pub contributions: Vec<Contribution>,
    /// The second opinion.
    pub second: SecondOpinion,
    /// Score, levels and family in a sentence.
    pub summary: String,
}

impl Explanation {
    /// Base and shares, summed: the score.
    pub fn sum(&self) -> f64 {
        self.base + self.contributions.iter().map(|c| c.share).sum::<f64>() + self.second.share
    }
}

/// A number as people read it: three digits that mean something, no exponent in the usual range.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e12 {
        return format!("{value:.0}");
    }
    match size {
        s if s >= 100.0 => format!("{value:.0}"),
        s if s >= 10.0 => format!("{value:.1}"),
        s if s >= 0.1 => format!("{value:.2}"),
        s if s >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// A value with its unit.
pub fn with_unit(at: usize, value: f64) -> String {
    let text = number(value);
    match FEATURES[at].unit {
        "" => text,
        unit => format!("{text} {unit}"),
    }
}

fn standing(above: f64, below: f64) -> String {
    if above >= 90.0 {
        format!("above {above:.0} % of benign flows")
    } else if below >= 90.0 {
        format!("below {below:.0} % of benign flows")
    } else {
        "not unusual".into()
    }
}

impl Scorer {
    /// Each feature's share of the score, in the schema's order: what an explanation sorts and words. Without
    /// allocation, for every flagged flow.
    pub fn path_shares(&self, vector: &Vector) -> [f64; WIDTH] {
        let mut shares = self.forest.path_contributions(&scale(vector));
        for share in &mut shares {
            *share *= 1.0 - self.svm_weight;
        }
        shares
    }

    /// Takes the verdict on this vector apart.
    pub fn explain(&self, vector: &Vector, method: Method) -> Explanation {
        let x = scale(vector);
        let verdict = self.verdict_of(&x);
        let weight = 1.0 - self.svm_weight;
        let shares = match method {
            Method::Path => self.forest.path_contributions(&x),
            Method::TreeShap => self.forest.shapley_values(&x),
        };
        let mut contributions: Vec<Contribution> = (0..WIDTH)
            .filter(|&at| shares[at] != 0.0)
            .map(|at| self.contribution(at, vector.0[at], weight * shares[at]))
            .collect();
        // The sort is stable: equal shares stay in the schema's order.
        contributions.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()));
        let neighbours = match verdict.margin {
            Some(_) => self.svm.neighbours(&x, NEIGHBOURS),
            None => Vec::new(),
        };
        Explanation {
            score: verdict.score,
            method,
            base: weight * self.forest.base(),
            contributions,
            second: self.second(&verdict, neighbours),
            summary: self.summary(vector, &verdict),
        }
    }

    fn contribution(&self, at: usize, value: f64, share: f64) -> Contribution {
        let (less, at_most) = self.reference.features[at].percentile(value);
        let (above, below) = (less, 100.0 - at_most);
        let feature = &FEATURES[at];
        let effect = if share > 0.0 { "adds" } else { "takes" };
        let sentence = format!(
            "{} is {} ({}; {}): {effect} {:.3}",
            feature.name,
            with_unit(at, value),
            feature.meaning,
            standing(above, below),
            share.abs()
        );
        Contribution {
            feature: feature.name,
            value,
            unit: feature.unit,
            above,
            below,
            share,
            sentence,
        }
    }

    fn second(&self, verdict: &Verdict, neighbours: Vec<Neighbour>) -> SecondOpinion {
        let Some(margin) = verdict.margin else {
            return SecondOpinion {
                share: 0.0,
                margin: None,
                neighbours,
                sentence: "The support vector machine was not asked: the forest finds nothing near an attack".into(),
            };
        };
        let share = self.svm_weight * self.svm.probability(margin);
        let side = if margin > 0.0 { "attacks'" } else { "benign" };
        let near: Vec<_> = neighbours
            .iter()
            .map(|n| format!("{} at {}", n.family, number(n.distance)))
            .collect();
        let sentence = format!(
            "The support vector machine sees it on the {side} side of its border (margin {margin:+.2}; nearest in \
             training: {}): adds {share:.3}",
            near.join(", ")
        );
        SecondOpinion {
            share,
            margin: Some(margin),
            neighbours,
            sentence,
        }
    }

    fn summary(&self, vector: &Vector, verdict: &Verdict) -> String {
        let score = format!("score {:.3} (probability {:.2})", verdict.score, verdict.probability);
        let limit = self.threshold_of(vector, verdict.level).unwrap_or(1.0);
        let rate = |level: usize| number(self.levels()[level].alpha * 100.0);
        match verdict.level {
            Level::Benign => format!("Benign: {score} reaches no level"),
            reached => {
                let (name, level) = match reached {
                    Level::Flag => ("flag", 1),
                    _ => ("suspicious", 0),
                };
                let (family, _) = self.family(vector);
                format!(
                    "Looks like {family}: {score} exceeds {:.3}, the threshold of {name} that {} % of benign flows may \
                     exceed",
                    limit,
                    rate(level)
                )
            }
        }
    }
}
