//! What there is to say of the model that judges.

use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A model as people ask about it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ModelCard {
    /// `site`: with this network's own thresholds; `as trained`: with those of elsewhere.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// Of the feature schema it was made for.
    pub version: u32,
    /// SHA-256 over its bytes, hexadecimal.
    pub sha256: String,
    /// What it is made of.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// Which of its two variants judges: `both` directions, or `ingress` alone.
    #[schema(value_type = String)]
    pub variant: &'static str,
    /// Trees, without those that tell families apart.
    pub trees: usize,
    /// Support vectors.
    pub support_vectors: usize,
    /// Families it tells apart.
    pub families: Vec<String>,
    /// Flows of this network set the threshold that flags. While they did not, the model says nothing.
    pub calibrated: bool,
    /// SHA-256 over this network's benign flows that set the thresholds.
    pub site: Option<String>,
    /// Suspicious and flag.
    pub levels: Vec<CardLevel>,
    /// The numbers it sees of a flow.
    pub schema: CardSchema,
    /// What it was made from.
    pub training: CardTraining,
    /// Figures on rows that no part of the model had seen.
    pub metrics: BTreeMap<String, f64>,
}

/// A level of the model's score.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CardLevel {
    /// `suspicious` or `flag`.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// Share of benign flows that may reach it.
    pub alpha: f64,
    /// Scores above it reach the level; none where it is never reached.
    pub threshold: Option<f64>,
    /// Benign flows it was set by.
    pub benign: u64,
    /// How many more are needed for it.
    pub missing: u64,
    /// These were flows of this network.
    pub calibrated: bool,
}

/// The numbers a model sees.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CardSchema {
    /// Raised with every change.
    pub version: u32,
    /// SHA-256 over names, units and needs, hexadecimal.
    pub digest: String,
    /// In order.
    pub features: Vec<CardFeature>,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CardFeature {
    /// Its name.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// Empty for shares, ratios and flags.
    #[schema(value_type = String)]
    pub unit: &'static str,
    /// What it is.
    #[schema(value_type = String)]
    pub meaning: &'static str,
}

/// What a model was made from.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CardTraining {
    /// SHA-256 over all rows, in order, hexadecimal.
    pub digest: String,
    /// Rows.
    pub rows: u64,
    /// Of everything random in training.
    pub seed: u64,
    /// Where the rows came from.
    pub origins: Vec<CardOrigin>,
    /// Settings of the training.
    pub parameters: BTreeMap<String, String>,
}

/// Where training rows came from.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CardOrigin {
    /// As the tables name it.
    pub name: String,
    /// Where it is published; empty if nobody said.
    pub source: String,
    /// Empty if nobody said.
    pub licence: String,
    /// By family, `benign` among them.
    pub rows: BTreeMap<String, u64>,
}
