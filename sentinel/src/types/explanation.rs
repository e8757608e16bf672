//! Why a model's score is what it is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A model's score, taken apart. `base` and all shares sum to `score` within 1e-9.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// SHA-256 of the model, hexadecimal.
    pub model: String,
    /// What the model said, in [0, 1].
    pub score: f64,
    /// What it had to exceed.
    pub threshold: f64,
    /// The score as the probability of an attack among flows like those of the training.
    pub probability: f64,
    /// The score before anything is known of the flow.
    pub base: f64,
    /// How the shares were found: `shapley` (exact Shapley values), or `path` (along the trees' paths) where more was to be
    /// told at once than there was time for.
    pub method: String,
    /// What each feature adds, and the second opinion, the largest first.
    pub shares: Vec<Share>,
    /// The flow's vector whole, in the order of the features' schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vector: Vec<f64>,
    /// One sentence: score, threshold, family.
    pub summary: String,
    /// The smallest change found that would have given a softer verdict, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterfactual: Option<String>,
}

/// What one feature adds to a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    /// Name of the feature; `svm_margin` for the second opinion.
    pub name: String,
    /// The flow's value.
    pub value: f64,
    /// Unit of the value; empty for shares, ratios and flags.
    pub unit: String,
    /// Added to the score; negative where it speaks for a benign flow.
    pub share: f64,
    /// The same in a sentence.
    pub sentence: String,
}

impl Explanation {
    /// Base and shares, summed: the score.
    pub fn sum(&self) -> f64 {
        self.base + self.shares.iter().map(|share| share.share).sum::<f64>()
    }
}
