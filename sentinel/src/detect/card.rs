//! The model that judges, for people.

use super::Detectors;
use super::supervised::{LEVELS, Supervised};
use crate::features::FEATURES;
use crate::model::record::{Description, Origin};
use crate::types::{CardFeature, CardLevel, CardOrigin, CardSchema, CardTraining, ModelCard, hex};

/// What every model of ours is.
const KIND: &str = "random forest, with a support vector machine as second opinion";

impl Detectors {
    /// What there is to say of the model that judges; `None` where none does.
    pub fn model_card(&self) -> Option<ModelCard> {
        self.supervised.as_ref().map(card)
    }
}

fn card(supervised: &Supervised) -> ModelCard {
    let (model, scorer) = (supervised.model(), supervised.scorer());
    let record = model.record();
    let (trees, support_vectors) = scorer.size();
    let here = record.description.site.is_some();
    let level = |(name, level): (&&'static str, &crate::model::conformal::Threshold)| CardLevel {
        name,
        alpha: level.alpha,
        threshold: level.score,
        benign: level.benign,
        missing: level.missing,
        calibrated: here && level.score.is_some(),
    };
    ModelCard {
        name: if here { "site" } else { "as trained" },
        version: record.schema.version,
        sha256: hex(model.sha256()),
        kind: KIND,
        variant: scorer.variant().as_str(),
        trees,
        support_vectors,
        families: scorer.families().map(str::to_owned).collect(),
        calibrated: supervised.calibrated(),
        site: record.description.site.map(|sum| hex(&sum)),
        levels: LEVELS.iter().zip(scorer.levels()).map(level).collect(),
        schema: CardSchema {
            version: record.schema.version,
            digest: hex(&record.schema.digest),
            features: FEATURES
                .iter()
                .map(|feature| CardFeature {
                    name: feature.name,
                    unit: feature.unit,
                    meaning: feature.meaning,
                })
                .collect(),
        },
        training: training(&record.description),
        metrics: record.description.metrics.iter().cloned().collect(),
    }
}

fn training(description: &Description) -> CardTraining {
    CardTraining {
        digest: hex(&description.training),
        rows: description.rows,
        seed: description.seed,
        origins: description.origins.iter().map(origin).collect(),
        parameters: description.parameters.iter().cloned().collect(),
    }
}

fn origin(origin: &Origin) -> CardOrigin {
    CardOrigin {
        name: origin.name.clone(),
        source: origin.source.clone(),
        licence: origin.licence.clone(),
        rows: origin.rows.iter().cloned().collect(),
    }
}
