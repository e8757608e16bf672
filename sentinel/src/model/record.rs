//! What the artefact holds.

use super::calibration::Isotonic;
use super::conformal::Threshold;
use super::error::Flaw;
use super::forest::ForestRecord;
use super::reference::Quantiles;
use super::svm::SvmRecord;
use crate::features::{FEATURES, VERSION, Vector, WIDTH};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 over some bytes.
pub type Sum = [u8; 32];

/// The features a model was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Of the schema.
    pub version: u32,
    /// SHA-256 over names, units and needs of all features, in order.
    pub digest: Sum,
    /// How many there are.
    pub width: u32,
}

impl Schema {
    /// Of this program.
    pub fn ours() -> Self {
        let mut hash = Sha256::new();
        for feature in &FEATURES {
            hash.update(format!(
                "{}\t{}\t{}\n",
                feature.name, feature.unit, feature.needs_egress
            ));
        }
        Self {
            version: VERSION,
            digest: hash.finalize().into(),
            width: WIDTH as u32,
        }
    }
}

/// Where training rows came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// As the tables name it.
    pub name: String,
    /// Where it is published; empty if nobody said.
    pub source: String,
    /// Under which licence; empty if nobody said.
    pub licence: String,
    /// Rows by family, `benign` among them, by name.
    pub rows: Vec<(String, u64)>,
}

/// What is known of a model besides how it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// SHA-256 over all training rows, in order.
    pub training: Sum,
    /// Training rows.
    pub rows: u64,
    /// Seed of everything random in training.
    pub seed: u64,
    /// Where they came from.
    pub origins: Vec<Origin>,
    /// Settings of the training, by name.
    pub parameters: Vec<(String, String)>,
    /// Figures on rows that no part of the model had seen, by name.
    pub metrics: Vec<(String, f64)>,
    /// SHA-256 over the benign rows of the site that set the thresholds; none as trained.
    pub site: Option<Sum>,
}

/// Benign flows that percentiles and drift are told by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Of each feature, in the schema's order.
    pub features: Vec<Quantiles>,
    /// Of the score.
    pub score: Quantiles,
}

impl Reference {
    /// Of benign flows and their scores. None without any.
    pub fn of<'a>(
        vectors: &(impl Iterator<Item = &'a Vector> + Clone),
        scores: impl IntoIterator<Item = f64>,
    ) -> Option<Self> {
        let features = (0..WIDTH).map(|at| Quantiles::of(vectors.clone().map(|vector| vector.0[at])));
        Some(Self {
            features: features.collect::<Option<_>>()?,
            score: Quantiles::of(scores.into_iter())?,
        })
    }
}

/// The forest that tells a family from all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// Of attacks.
    pub name: String,
    /// Its answer is the family's.
    pub forest: ForestRecord,
}

/// One of the two models in the artefact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantRecord {
    /// Attack or not.
    pub forest: ForestRecord,
    /// The forest's answer as a probability.
    pub forest_calibration: Isotonic,
    /// The second opinion.
    pub svm: SvmRecord,
    /// Its share of the score.
    pub svm_weight: f64,
    /// It is asked only from this answer of the forest on.
    pub gate: f64,
    /// The score as a probability.
    pub calibration: Isotonic,
    /// Suspicious and flag.
    pub levels: [Threshold; 2],
    /// Families told apart.
    pub families: Vec<FamilyRecord>,
    /// What was usual.
    pub reference: Reference,
    /// What is taken off the log-odds of a score before it is held against a level, by what the flow is like: one number for each
    /// family, and a last one for none of them ([`super::scorer::UNKNOWN`]). Empty where a site's own flows set the levels.
    pub discounts: Vec<f64>,
}

/// A whole model as the artefact holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Made for these features.
    pub schema: Schema,
    /// What is known of it.
    pub description: Description,
    /// For hosts that see both directions.
    pub both: VariantRecord,
    /// For hosts that see only what comes in.
    pub ingress: VariantRecord,
}

impl Reference {
    pub(super) fn check(&self) -> Result<(), Flaw> {
        if self.features.len() != WIDTH {
            return Err(Flaw::Part("the reference has not one distribution for each feature"));
        }
        self.features.iter().chain([&self.score]).try_for_each(Quantiles::check)
    }
}

impl Description {
    pub(super) fn check(&self) -> Result<(), Flaw> {
        if self.metrics.iter().all(|(_, value)| value.is_finite()) {
            Ok(())
        } else {
            Err(Flaw::NotFinite("a figure of the description"))
        }
    }
}
