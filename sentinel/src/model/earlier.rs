//! Models as earlier formats have them.

use super::calibration::Isotonic;
use super::conformal::Threshold;
use super::forest::ForestRecord;
use super::record::{Description, FamilyRecord, Record, Reference, Schema, VariantRecord};
use super::svm::SvmRecord;
use serde::Deserialize;

/// The first format, whose levels are held against the score itself.
#[derive(Deserialize)]
pub(super) struct First {
    schema: Schema,
    description: Description,
    both: FirstVariant,
    ingress: FirstVariant,
}

#[derive(Deserialize)]
struct FirstVariant {
    forest: ForestRecord,
    forest_calibration: Isotonic,
    svm: SvmRecord,
    svm_weight: f64,
    gate: f64,
    calibration: Isotonic,
    levels: [Threshold; 2],
    families: Vec<FamilyRecord>,
    reference: Reference,
}

impl From<First> for Record {
    fn from(first: First) -> Self {
        Self {
            schema: first.schema,
            description: first.description,
            both: first.both.into(),
            ingress: first.ingress.into(),
        }
    }
}

impl From<FirstVariant> for VariantRecord {
    fn from(first: FirstVariant) -> Self {
        Self {
            forest: first.forest,
            forest_calibration: first.forest_calibration,
            svm: first.svm,
            svm_weight: first.svm_weight,
            gate: first.gate,
            calibration: first.calibration,
            levels: first.levels,
            families: first.families,
            reference: first.reference,
            discounts: Vec::new(),
        }
    }
}
