//! Whether traffic is still what the thresholds were set by.
//!
//! Population stability index (Siddiqi, "Credit risk scorecards", 2006): Σ (aᵢ − eᵢ)·ln(aᵢ/eᵢ) over the reference's
//! groups. By custom, above 0.1 something moved and above 0.2 it is another population.

use super::record::Reference;
use super::scorer::{Level, Verdict};
use crate::features::{FEATURES, Vector, WIDTH};
use serde::Serialize;

/// From here on drift is told.
pub const ALARM: f64 = 0.2;
/// Fewer flows say nothing: their index would be noise above [`ALARM`].
pub const NEEDED: u64 = 1000;
/// Empty groups count as this share, so that the index stays finite.
const FLOOR: f64 = 1e-4;
/// A level that is reached by so many times its promise tells of drift too.
const RATE: f64 = 3.0;

/// How far one number moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// The feature, or `score`.
    pub name: &'static str,
    /// Population stability index.
    pub psi: f64,
}

/// What is said of drift.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriftReport {
    /// Flows counted.
    pub flows: u64,
    /// Fewer flows than this say nothing.
    pub needed: u64,
    /// Every feature the reference knows and the score, most moved first.
    pub moved: Vec<Moved>,
    /// Share of flows that reached suspicious and flag.
    pub reached: [f64; 2],
    /// A number moved by more than [`ALARM`], or a level is reached by three times its promise.
    pub alarm: bool,
    /// What to do about it, or that there is nothing to do.
    pub advice: String,
}

/// Counts of flows against a reference. Its size does not depend on their number.
#[derive(Clone, Debug)]
pub struct Drift {
    reference: Reference,
    alphas: [f64; 2],
    flows: u64,
    features: Vec<Vec<u64>>,
    score: Vec<u64>,
    reached: [u64; 2],
}

impl Drift {
    pub(super) fn new(reference: &Reference, alphas: [f64; 2]) -> Self {
        let counts = |q: &super::reference::Quantiles| vec![0; q.shares.len()];
        Self {
            reference: reference.clone(),
            alphas,
            flows: 0,
            features: reference.features.iter().map(counts).collect(),
            score: counts(&reference.score),
            reached: [0; 2],
        }
    }

    /// Counts a flow. For the psi of features leave out flagged ones of sources already dealt with.
    pub fn observe(&mut self, vector: &Vector, verdict: &Verdict) {
        self.flows += 1;
        for at in 0..WIDTH {
            let group = self.reference.features[at].group(vector.0[at]);
            self.features[at][group] += 1;
        }
        self.score[self.reference.score.group(verdict.score)] += 1;
        self.reached[0] += u64::from(verdict.level >= Level::Suspicious);
        self.reached[1] += u64::from(verdict.level >= Level::Flag);
    }

    /// What the flows counted say.
    pub fn report(&self) -> DriftReport {
        let total = self.flows.max(1) as f64;
        let psi = |expected: &[f64], counts: &[u64]| {
            let term = |(e, c): (&f64, &u64)| {
                let (e, a) = (e.max(FLOOR), (*c as f64 / total).max(FLOOR));
                (a - e) * (a / e).ln()
            };
            expected.iter().zip(counts).map(term).sum::<f64>()
        };
        let mut moved: Vec<Moved> = (0..WIDTH)
            .map(|at| Moved {
                name: FEATURES[at].name,
                psi: psi(&self.reference.features[at].shares, &self.features[at]),
            })
            .collect();
        moved.push(Moved {
            name: "score",
            psi: psi(&self.reference.score.shares, &self.score),
        });
        moved.sort_by(|a, b| b.psi.total_cmp(&a.psi));
        let reached = self.reached.map(|count| count as f64 / total);
        let too_often = (0..2).any(|level| reached[level] > RATE * self.alphas[level]);
        let enough = self.flows >= NEEDED;
        let alarm = enough && (moved[0].psi > ALARM || too_often);
        let advice = if !enough {
            format!(
                "{} more flows are needed before this says anything.",
                NEEDED - self.flows
            )
        } else if alarm {
            "This is not the traffic the thresholds were set by: calibrate with current benign flows, and train \
             again if alerts stay wrong."
                .into()
        } else {
            "Nothing to do.".into()
        };
        DriftReport {
            flows: self.flows,
            needed: NEEDED,
            moved,
            reached,
            alarm,
            advice,
        }
    }
}
