//! What it is worth, on a network that nothing is known of, that a flow is like a kind of attack.
//!
//! Polls are like command and control, and much of what a network has is like no attack that was learnt: there a score says
//! less than where a flow is like a flood, which next to no benign flow is. How much less is the log of a likelihood ratio, the
//! weight of evidence (Good, "Probability and the weighing of evidence", 1950): how often attacks are named so, over how often
//! benign flows are by forests that did not learn their origin. Of all benign flows, whatever the score says: those that score
//! high are too few to count. Attacks are taken for named by each name alike.

use super::error::TrainError;
use super::fit::{grow_families, told_apart};
use super::grow::{Ground, Grown, Size};
use super::settings::Settings;
use super::table::Table;
use crate::model::{Forest, Scaled, Variant, loudest};
use rayon::prelude::*;

/// Parts that origins are divided into; each is named by forests of the others.
const FOLDS: usize = 4;
/// Fewer benign flows of an origin say little of how many are named so.
const NEEDED: usize = 100;
/// What a name is given besides, of all benign flows: those that no training network had.
const LEAST: f64 = 0.003;

/// Trees that [`discounts`] tells of, for all variants.
pub(super) fn trees(table: &Table, settings: &Settings) -> u64 {
    let each = |fold| told_apart(table, &|row| fold_of(table, row) != fold).len();
    (Variant::ALL.len() * settings.family_trees * folds(table).map(each).sum::<usize>()) as u64
}

/// What is taken off the log-odds of a score by what a flow is like: of each of `families`, and of none of them. The least is
/// nothing, so that no name makes a score more than it is. Empty where no two origins have benign flows enough.
pub(super) fn discounts<'a>(
    table: &Table,
    x: &[Scaled],
    size: &Size,
    settings: &Settings,
    families: &[(String, Grown)],
    ground: &impl Fn(&str) -> Ground<'a>,
) -> Result<Vec<f64>, TrainError> {
    let none = families.len();
    let mut origins: Vec<Named> = vec![Named::default(); table.origins.len()];
    for fold in folds(table) {
        let keep = |row: usize| fold_of(table, row) != fold;
        let allowed = ground("").allowed;
        let mut forests = Vec::new();
        for (name, grown) in grow_families(table, settings, size, ground, &format!("kinds/{fold}/"), &keep)? {
            if let Some(number) = families.iter().position(|(family, _)| *family == name) {
                forests.push((number, Forest::build(&grown.record, &allowed)?));
            }
        }
        let rows: Vec<usize> = (0..table.rows.len())
            .filter(|&row| !keep(row) && !table.rows[row].attack)
            .collect();
        let name = |&row: &usize| {
            let answers = forests.iter().map(|(number, forest)| (*number, forest.score(&x[row])));
            loudest(answers).0.unwrap_or(none)
        };
        let names: Vec<usize> = rows.par_iter().map(name).collect();
        for (row, name) in rows.into_iter().zip(names) {
            let origin = &mut origins[usize::from(table.rows[row].origin)];
            origin.benign += 1;
            origin.shares.resize(none + 1, None);
            for number in forests.iter().map(|(number, _)| *number).chain([none]) {
                *origin.shares[number].get_or_insert(0) += usize::from(number == name);
            }
        }
    }
    Ok(evidence(&origins))
}

/// How an origin's benign flows were named.
#[derive(Clone, Default)]
struct Named {
    benign: usize,
    /// By name, the last of which is none; a name is missing where no forest could give it.
    shares: Vec<Option<usize>>,
}

/// The discounts that follow.
fn evidence(origins: &[Named]) -> Vec<f64> {
    let origins: Vec<&Named> = origins.iter().filter(|origin| origin.benign >= NEEDED).collect();
    if origins.len() < 2 {
        return Vec::new();
    }
    let share = |name: usize| {
        let shares = origins.iter().filter_map(|origin| {
            let named = origin.shares[name]?;
            Some(named as f64 / origin.benign as f64)
        });
        let (sum, count) = shares.fold((0.0, 0.0), |(sum, count), share| (sum + share, count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    };
    let weights: Vec<f64> = (0..origins[0].shares.len())
        .map(|name| (share(name) + LEAST).ln())
        .collect();
    let least = weights.iter().copied().fold(f64::MAX, f64::min);
    weights.into_iter().map(|weight| weight - least).collect()
}

/// Those that there are.
fn folds(table: &Table) -> std::ops::Range<usize> {
    let folds = FOLDS.min(table.origins.len());
    0..if folds < 2 { 0 } else { folds }
}

fn fold_of(table: &Table, row: usize) -> usize {
    usize::from(table.rows[row].origin) % FOLDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<const N: usize>(counts: [Option<usize>; N]) -> Named {
        Named {
            benign: counts.iter().flatten().sum(),
            shares: counts.into(),
        }
    }

    #[test]
    fn what_benign_flows_are_often_like_is_discounted_by_how_often() {
        let origins = [
            named([Some(0), Some(100), Some(900)]),
            named([Some(0), Some(300), Some(700)]),
            named([Some(50), Some(0), Some(0)]),
        ];
        let off = evidence(&origins);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        close(off[0], 0.0);
        close(off[1], (0.203_f64 / 0.003).ln());
        close(off[2], (0.803_f64 / 0.003).ln());
        assert!(evidence(&origins[1..]).is_empty());
    }

    /// An origin whose flows no forest could name so says nothing of the name.
    #[test]
    fn a_name_that_could_not_be_given_is_no_name_that_was_not() {
        let off = evidence(&[
            named([Some(0), Some(100), Some(900)]),
            named([Some(0), None, Some(1000)]),
        ]);
        assert!((off[1] - (0.103_f64 / 0.003).ln()).abs() < 1e-12, "{off:?}");
    }
}
