//! The support vector machine, fitted by `linfa-svm`.

use super::error::TrainError;
use super::grow::Stratum;
use super::rng::Rng;
use crate::features::WIDTH;
use crate::model::calibration::Platt;
use crate::model::{Scaled, SupportVector, SvmRecord};
use linfa::prelude::*;
use linfa_svm::Svm;
use ndarray::{Array1, Array2};

/// The kernel matrix is dense: rows squared times eight bytes.
pub(super) const MAX_ROWS: usize = 10_000;

/// How it is fitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Of the kernel, by feature: γ = this / features.
    pub(super) gamma: f64,
    /// Cost of a row on the wrong side.
    pub(super) cost: f64,
}

/// Draws rows without replacement by the strata's weights, among those seen.
pub(super) fn sample(rng: &mut Rng, strata: &[Stratum], seen: impl Fn(u32) -> bool, count: usize) -> Vec<u32> {
    let mut visible: Vec<(Vec<u32>, f64)> = strata
        .iter()
        .map(|s| {
            (
                s.rows.iter().copied().filter(|&row| seen(row)).collect::<Vec<_>>(),
                s.weight,
            )
        })
        .filter(|(rows, _)| !rows.is_empty())
        .collect();
    let total: f64 = visible.iter().map(|(_, weight)| weight).sum();
    let mut out = Vec::new();
    for (rows, weight) in &mut visible {
        rng.shuffle(rows);
        let share = (*weight / total * count as f64).round() as usize;
        out.extend_from_slice(&rows[..share.clamp(1, rows.len())]);
    }
    out
}

/// Fits a machine over the rows; its Platt curve is left level, for rows it has not seen to set.
pub(super) fn fit(
    x: &[Scaled],
    positive: &[bool],
    rows: &[u32],
    labels: &[&str],
    allowed: &[bool; WIDTH],
    machine: Machine,
) -> Result<SvmRecord, TrainError> {
    let used: Vec<u16> = (0..WIDTH as u16).filter(|&f| allowed[usize::from(f)]).collect();
    let column = |f: u16| rows.iter().map(move |&row| f64::from(x[row as usize][usize::from(f)]));
    let count = rows.len() as f64;
    let mean: Vec<f32> = used.iter().map(|&f| (column(f).sum::<f64>() / count) as f32).collect();
    let inverse: Vec<f32> = used
        .iter()
        .zip(&mean)
        .map(|(&f, &mean)| {
            let variance = column(f).map(|v| (v - f64::from(mean)).powi(2)).sum::<f64>() / count;
            // A feature that never varied tells nothing of distance.
            if variance > 1e-12 {
                (1.0 / variance.sqrt()) as f32
            } else {
                0.0
            }
        })
        .collect();
    let standard = |row: u32, at: usize| (x[row as usize][usize::from(used[at])] - mean[at]) * inverse[at];
    let records = Array2::from_shape_fn((rows.len(), used.len()), |(row, at)| f64::from(standard(rows[row], at)));
    let targets: Array1<bool> = rows.iter().map(|&row| positive[row as usize]).collect();
    let gamma = machine.gamma / used.len() as f64;
    let fitted = Svm::<f64, bool>::params()
        .gaussian_kernel(1.0 / gamma)
        .pos_neg_weights(machine.cost, machine.cost)
        .eps(1e-3)
        .fit(&Dataset::new(records, targets))
        .map_err(|error| TrainError::Library(error.to_string()))?;
    let mut families: Vec<&str> = rows.iter().map(|&row| labels[row as usize]).collect();
    families.sort_unstable();
    families.dedup();
    let vectors: Vec<SupportVector> = rows
        .iter()
        .zip(&fitted.alpha)
        .filter(|(_, alpha)| alpha.abs() > 1e-9)
        .map(|(&row, &weight)| SupportVector {
            weight,
            family: families.binary_search(&labels[row as usize]).unwrap_or(0) as u16,
            at: (0..used.len()).map(|at| standard(row, at)).collect(),
        })
        .collect();
    Ok(SvmRecord {
        features: used,
        mean,
        inverse_deviation: inverse,
        gamma,
        rho: fitted.rho,
        families: families.into_iter().map(str::to_owned).collect(),
        vectors,
        platt: Platt {
            slope: 1.0,
            offset: 0.0,
        },
    })
}
