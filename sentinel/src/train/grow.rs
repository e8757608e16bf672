//! A balanced forest, and what each row is worth to the trees that did not see it.
//!
//! Bagging (Breiman, "Random forests", 2001) with a bootstrap that draws half of each tree's rows from either class
//! (Chen, Liaw and Breiman, "Using random forest to learn imbalanced data", 2004), each tree with a subset of the
//! features. Units, not rows, are in the bag or out of it: a row's out-of-bag score comes from trees that never saw
//! its session.

use super::cart;
use super::error::TrainError;
use super::rng::Rng;
use super::tree::{self, Shape};
use super::units::Units;
use crate::features::WIDTH;
use crate::files::Meter;
use crate::model::{Forest, ForestRecord, NodeRecord, Scaled};
use rayon::prelude::*;

/// Rows that are drawn from together.
#[derive(Clone, Debug)]
pub(super) struct Stratum {
    pub(super) rows: Vec<u32>,
    pub(super) weight: f64,
}

/// What a forest is grown from.
pub(super) struct Ground<'a> {
    pub(super) x: &'a [Scaled],
    pub(super) units: &'a Units,
    pub(super) allowed: [bool; WIDTH],
    pub(super) seed: u64,
    /// Told of every tree.
    pub(super) meter: &'a Meter,
    /// Sets the streams of chance of one forest apart from another's.
    pub(super) name: String,
}

/// Trees and rows of a forest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) trees: usize,
    pub(super) rows: usize,
    pub(super) feature_share: f64,
    pub(super) node_features: usize,
    pub(super) in_bag: f64,
    pub(super) shape: Shape,
}

/// A forest and which units each tree saw.
pub(super) struct Grown {
    pub(super) record: ForestRecord,
    seen: Vec<Vec<bool>>,
}

/// Grows a forest that tells `positive` strata from `negative` ones.
pub(super) fn grow(
    ground: &Ground<'_>,
    size: Size,
    labels: &[bool],
    positive: &[Stratum],
    negative: &[Stratum],
) -> Result<Grown, TrainError> {
    let trees: Vec<(Vec<NodeRecord>, Vec<bool>)> = (0..size.trees)
        .into_par_iter()
        .map(|number| {
            let mut rng = Rng::new(ground.seed, &ground.name, number as u64);
            let seen = bag(&mut rng, ground.units, size.in_bag);
            let mut picks = Vec::with_capacity(size.rows);
            for strata in [positive, negative] {
                draw(&mut rng, strata, &seen, &ground.units.of, size.rows / 2, &mut picks);
            }
            let features = subset(&mut rng, &ground.allowed, size.feature_share);
            let tree = match size.node_features {
                0 => tree::grow(ground.x, labels, &picks, &features, size.shape)?,
                count => cart::grow(ground.x, labels, picks, &features, count, size.shape, &mut rng),
            };
            ground.meter.add(1);
            Ok((tree, seen))
        })
        .collect::<Result<_, TrainError>>()?;
    let (trees, seen) = trees.into_iter().unzip();
    Ok(Grown {
        record: ForestRecord { trees },
        seen,
    })
}

impl Grown {
    /// Each row's mean answer over the trees that did not see its unit; none where all did.
    pub(super) fn out_of_bag(&self, ground: &Ground<'_>, forest: &Forest) -> Vec<Option<f64>> {
        let answer = |row: usize| {
            let unit = ground.units.of[row] as usize;
            let unseen = (0..forest.trees()).filter(|&tree| !self.seen[tree][unit]);
            let (sum, count) = unseen.fold((0.0, 0usize), |(sum, count), tree| {
                (sum + forest.score_of_tree(tree, &ground.x[row]), count + 1)
            });
            (count > 0).then(|| sum / count as f64)
        };
        (0..ground.x.len()).into_par_iter().map(answer).collect()
    }
}

/// Which units are seen: of every origin the same share, at least one.
pub(super) fn bag(rng: &mut Rng, units: &Units, share: f64) -> Vec<bool> {
    let mut seen = vec![false; units.count];
    for of_origin in &units.by_origin {
        let mut shuffled = of_origin.clone();
        rng.shuffle(&mut shuffled);
        // An origin of one unit is out of the bag as often as any other unit.
        let expected = shuffled.len() as f64 * share;
        let whole = expected.floor() as usize + usize::from(rng.unit() < expected.fract());
        for &unit in &shuffled[..whole.min(shuffled.len())] {
            seen[unit as usize] = true;
        }
    }
    seen
}

/// Draws `count` rows with replacement, from each stratum by its weight, among units that are seen.
fn draw(rng: &mut Rng, strata: &[Stratum], seen: &[bool], units: &[u32], count: usize, picks: &mut Vec<u32>) {
    let visible: Vec<(Vec<u32>, f64)> = strata
        .iter()
        .map(|stratum| {
            let rows = stratum
                .rows
                .iter()
                .copied()
                .filter(|&row| seen[units[row as usize] as usize]);
            (rows.collect::<Vec<_>>(), stratum.weight)
        })
        .filter(|(rows, _)| !rows.is_empty())
        .collect();
    let total: f64 = visible.iter().map(|(_, weight)| weight).sum();
    for (rows, weight) in &visible {
        let share = (weight / total * count as f64).round() as usize;
        picks.extend((0..share.max(1)).map(|_| rows[rng.below(rows.len())]));
    }
}

/// Distinct features that may be read, drawn without replacement, in the schema's order.
fn subset(rng: &mut Rng, allowed: &[bool; WIDTH], share: f64) -> Vec<u16> {
    let mut features: Vec<u16> = (0..WIDTH as u16).filter(|&f| allowed[usize::from(f)]).collect();
    let keep = ((features.len() as f64 * share).ceil() as usize).clamp(1, features.len());
    rng.shuffle(&mut features);
    features.truncate(keep);
    features.sort_unstable();
    features
}
