//! A model made to know a site, by the site's own benign flows.

use super::adapt::adapt;
use super::error::TrainError;
use super::evaluate::quantile_above;
use super::held::ABOVE_GATE;
use super::table::Table;
use crate::features::Vector;
use crate::model::conformal::{ALPHAS, threshold};
use crate::model::record::{Record, Reference, Sum, VariantRecord};
use crate::model::{Flaw, Model, Scaled, Scorer, Variant, scale};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Weight of a site's flows in the leaves that served best on a network that the model had not seen.
pub const SHARE: f64 = 10.0;
/// The most that is taken.
const MOST: f64 = 100.0;
/// Pieces of the site's time: each is judged by a forest that the others adapted.
const PIECES: usize = 5;

/// What calibration did.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// With the site's thresholds, percentiles and score quantiles, and without discounts; the probabilities stay those of the
    /// training.
    pub record: Record,
    /// Benign rows it was done with.
    pub benign: usize,
    /// Rows labelled as attacks, left out.
    pub left_out: usize,
}

/// Sets both variants' levels by the benign rows of a table, and counts these into the forest's leaves with `share` of the
/// weight of the benign training rows (0: the forest stays). Levels are set by scores of forests that had not counted the
/// row in: five pieces of the site's time, each judged by a forest adapted with the other four.
///
/// # Errors
/// No benign rows, α or the share out of range. A level with fewer than 10/α rows is no error: its threshold is none, and
/// how many are missing stands beside it.
pub fn calibrate(model: &Model, table: &Table, alphas: [f64; 2], share: f64) -> Result<Calibrated, TrainError> {
    let benign = table.filtered(|row| !table.rows[row].attack);
    let count = benign.rows.len();
    let site = Site {
        vectors: &benign.vectors,
        pieces: &pieces(&benign),
        digest: benign.digest(),
    };
    Ok(Calibrated {
        record: for_site(model, &site, alphas, share)?,
        benign: count,
        left_out: table.rows.len() - count,
    })
}

/// The same by a site's benign flows in the order of time, as learn mode has them: *suspicious* and *flag* for one in a
/// hundred and one in a thousand.
///
/// # Errors
/// As [`calibrate`].
pub fn learnt(model: &Model, benign: &[Vector]) -> Result<Model, TrainError> {
    let mut hash = Sha256::new();
    for value in benign.iter().flat_map(|vector| vector.0) {
        hash.update(value.to_le_bytes());
    }
    let site = Site {
        vectors: benign,
        pieces: &(0..benign.len())
            .map(|at| at * PIECES / benign.len())
            .collect::<Vec<_>>(),
        digest: hash.finalize().into(),
    };
    Ok(Model::new(for_site(model, &site, ALPHAS, SHARE)?)?)
}

/// A site's benign flows.
struct Site<'a> {
    vectors: &'a [Vector],
    /// In which piece of time each was.
    pieces: &'a [usize],
    digest: Sum,
}

fn for_site(model: &Model, site: &Site<'_>, alphas: [f64; 2], share: f64) -> Result<Record, TrainError> {
    if alphas[0] <= alphas[1] {
        return Err(TrainError::Setting(format!(
            "the levels {} and {} are not in order; name the larger share (suspicious) first, as 0.01,0.001",
            alphas[0], alphas[1]
        )));
    }
    if !(0.0..=MOST).contains(&share) {
        return Err(TrainError::Setting(format!(
            "the weight {share} of the site's flows is not in 0…{MOST}"
        )));
    }
    if site.vectors.is_empty() {
        return Err(TrainError::no_benign());
    }
    let x: Vec<Scaled> = site.vectors.par_iter().map(scale).collect();
    let mut record = model.record().clone();
    for variant in Variant::ALL {
        let part: &mut VariantRecord = match variant {
            Variant::Both => &mut record.both,
            Variant::Ingress => &mut record.ingress,
        };
        // What a kind is worth was of networks that nothing is known of.
        part.discounts = Vec::new();
        let scores = scores(variant, part, &x, site.pieces, share)?;
        part.levels = [threshold(&scores, alphas[0])?, threshold(&scores, alphas[1])?];
        part.reference = Reference::of(&site.vectors.iter(), scores).ok_or_else(TrainError::no_benign)?;
        part.forest = adapt(&part.forest, &x.iter().collect::<Vec<_>>(), share);
    }
    record.description.site = Some(site.digest);
    Ok(record)
}

/// In which piece of time each row is: pieces of equal size, by start.
fn pieces(table: &Table) -> Vec<usize> {
    let mut order: Vec<usize> = (0..table.rows.len()).collect();
    order.sort_by(|a, b| table.rows[*a].t0.total_cmp(&table.rows[*b].t0).then(a.cmp(b)));
    let mut out = vec![0; order.len()];
    for (rank, row) in order.iter().enumerate() {
        out[*row] = rank * PIECES / order.len();
    }
    out
}

/// Each row's score by a forest that had not counted it in; sets the gate by the same.
fn scores(
    variant: Variant,
    part: &mut VariantRecord,
    x: &[Scaled],
    piece: &[usize],
    share: f64,
) -> Result<Vec<f64>, Flaw> {
    let mut scorers = Vec::with_capacity(PIECES);
    for held in 0..PIECES {
        let others: Vec<&Scaled> = x
            .iter()
            .zip(piece)
            .filter(|(_, at)| **at != held)
            .map(|(x, _)| x)
            .collect();
        let forest = adapt(&part.forest, &others, share);
        scorers.push(Scorer::build(variant, &VariantRecord { forest, ..part.clone() })?);
    }
    let forest = (0..x.len())
        .map(|row| scorers[piece[row]].verdict_of(&x[row]).forest)
        .collect();
    part.gate = quantile_above(forest, ABOVE_GATE);
    for scorer in &mut scorers {
        scorer.set_gate(part.gate);
    }
    Ok((0..x.len())
        .into_par_iter()
        .map(|row| scorers[piece[row]].verdict_of(&x[row]).score)
        .collect())
}
