//! Cross-validation over networks: each origin judged by a model that never saw it.

use super::calibrate::{SHARE, calibrate};
use super::error::TrainError;
use super::evaluate::{Evaluation, Judged, judge, quantile_above};
use super::fit::{Licences, train_metered};
use super::settings::Settings;
use super::table::Table;
use crate::files::Meter;
use crate::model::{Model, Variant};

/// Fewer flows of an origin set no threshold of its own.
const NEEDED: usize = 100;
/// Fewer benign flows, or attacks, of an origin are not cut by time.
const CUT: usize = 1000;
/// The earlier part of an origin's time; the later part is judged.
const EARLIER: f64 = 0.6;
/// Seconds between the two, so that no window holds flows of both.
const GAP: f64 = 60.0;

/// One origin, left out.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Fold {
    /// Its name.
    pub origin: String,
    /// Its benign flows.
    pub benign: usize,
    /// Its attacks.
    pub attacks: usize,
    /// Share of its benign flows that reach `suspicious` as trained.
    pub fpr: Option<f64>,
    /// Share of its attacks that do.
    pub recall: Option<f64>,
    /// The same where its own benign flows set the threshold: at 1 % and at 0.1 %.
    pub own: [Option<f64>; 2],
}

/// The later part of an origin's time, judged at the levels suspicious and flag.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Later {
    /// Its name.
    pub origin: String,
    /// Benign flows of the earlier part.
    pub known: usize,
    /// Benign flows and attacks of the later part.
    pub judged: [usize; 2],
    /// By a model that never saw the origin, calibrated by the benign flows of its earlier part: learn mode.
    pub learned: Evaluation,
    /// By a model that was trained with the earlier part, attacks among it, and calibrated by its benign flows.
    pub trained: Evaluation,
}

/// All origins, each judged by a model without it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CrossValidation {
    /// Trees of each of these models.
    pub trees: usize,
    /// One an origin.
    pub folds: Vec<Fold>,
    /// Origins with benign flows and attacks enough to be cut by time.
    pub later: Vec<Later>,
    /// Over all rows.
    pub figures: Evaluation,
}

/// Leaves each origin out in turn. The meter is told of every tree of every model.
///
/// # Errors
/// What training without one of them meets; a single origin.
pub fn cross_validate(
    table: &Table,
    settings: &Settings,
    seed: u64,
    meter: &Meter,
) -> Result<CrossValidation, TrainError> {
    if table.origins.len() < 2 {
        return Err(TrainError::Setting(
            "the tables hold one origin; cross-validation over networks needs two at least".into(),
        ));
    }
    let mut models = Vec::new();
    for origin in 0..table.origins.len() {
        let is_left_out = |row: usize| usize::from(table.rows[row].origin) == origin;
        let left = table.filtered(|row| !is_left_out(row));
        let out = table.filtered(is_left_out);
        let trained = train_metered(&left, settings, seed, &Licences::new(), meter)?;
        models.push((Model::new(trained.record)?, out));
    }
    let mut later = Vec::new();
    for (origin, (model, out)) in models.iter().enumerate() {
        later.extend(cut_by_time(table, origin as u16, model, out, settings, (seed, meter))?);
    }
    let mut folds = Vec::new();
    let mut all: Vec<Judged<'_>> = Vec::new();
    for ((model, out), name) in models.iter().zip(&table.origins) {
        let scorer = model.scorer(Variant::Both);
        let judged = judge(scorer, out);
        folds.push(fold(name, &judged, scorer.levels()[0].score));
        all.extend(judged);
    }
    Ok(CrossValidation {
        trees: settings.trees,
        folds,
        later,
        figures: Evaluation::of(&all, [None, None])?,
    })
}

fn fold(origin: &str, judged: &[Judged<'_>], suspicious: Option<f64>) -> Fold {
    let side = |attack: bool, of: fn(&Judged<'_>) -> f64| -> Vec<f64> {
        let side = judged.iter().filter(|row| row.attack == attack);
        side.map(of).collect()
    };
    let sides = |of| (side(false, of), side(true, of));
    // As trained, and as once the network has set the levels.
    let (benign, attacks) = sides(|row| row.held);
    let (own_benign, own_attacks) = sides(|row| row.score);
    let above = |scores: &[f64], threshold: Option<f64>| {
        let threshold = threshold?;
        let found = scores.iter().filter(|score| **score > threshold).count();
        (!scores.is_empty()).then(|| found as f64 / scores.len() as f64)
    };
    let own = |alpha: f64| (own_benign.len() >= NEEDED).then(|| quantile_above(own_benign.clone(), alpha));
    Fold {
        origin: origin.to_owned(),
        benign: benign.len(),
        attacks: attacks.len(),
        fpr: above(&benign, suspicious),
        recall: above(&attacks, suspicious),
        own: [above(&own_attacks, own(0.01)), above(&own_attacks, own(0.001))],
    }
}

fn cut_by_time(
    table: &Table,
    origin: u16,
    unseen: &Model,
    rows: &Table,
    settings: &Settings,
    (seed, meter): (u64, &Meter),
) -> Result<Option<Later>, TrainError> {
    let span = rows.rows.iter().fold((f64::MAX, f64::MIN), |span, row| {
        (span.0.min(row.t0), span.1.max(row.t0))
    });
    let cut = span.0 + EARLIER * (span.1 - span.0);
    let later = rows.filtered(|row| rows.rows[row].t0 >= cut + GAP);
    let attacks = later.rows.iter().filter(|row| row.attack).count();
    let earlier = rows.filtered(|row| rows.rows[row].t0 < cut && !rows.rows[row].attack);
    if attacks < CUT || later.rows.len() - attacks < CUT || earlier.rows.len() < CUT {
        return Ok(None);
    }
    let judged = |model: &Model| {
        let scorer = model.scorer(Variant::Both);
        Evaluation::of(&judge(scorer, &later), scorer.levels().map(|level| level.score))
    };
    let calibrated = |model: &Model| {
        let calibrated = calibrate(model, &earlier, settings.alphas, SHARE)?;
        Ok::<_, TrainError>(Model::new(calibrated.record)?)
    };
    let learned = calibrated(unseen)?;
    let known = table.filtered(|row| table.rows[row].origin != origin || table.rows[row].t0 < cut);
    let trained = Model::new(train_metered(&known, settings, seed, &Licences::new(), meter)?.record)?;
    let trained = calibrated(&trained)?;
    Ok(Some(Later {
        origin: table.origins[usize::from(origin)].clone(),
        known: earlier.rows.len(),
        judged: [later.rows.len() - attacks, attacks],
        learned: judged(&learned)?,
        trained: judged(&trained)?,
    }))
}
