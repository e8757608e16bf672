//! Rows that no part of a model had seen, and what is fitted to them.

use super::curves::platt;
use super::error::TrainError;
use super::evaluate::{Judged, quantile_above};
use super::grow::{Ground, Grown};
use super::table::Table;
use crate::features::WIDTH;
use crate::model::calibration::Isotonic;
use crate::model::{Forest, Scaled, Svm, SvmRecord, UNKNOWN, discounted, loudest};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Shares of the second opinion that are tried.
const WEIGHTS: [f64; 4] = [0.05, 0.1, 0.2, 0.3];
/// Benign flows above the gate, for which the machine is asked.
pub(super) const ABOVE_GATE: f64 = 0.1;

/// Held-out rows and the forest's answers to them.
pub(super) struct Parts<'a> {
    pub(super) table: &'a Table,
    pub(super) x: &'a [Scaled],
    pub(super) allowed: &'a [bool; WIDTH],
    pub(super) held: &'a [usize],
    pub(super) labels: &'a [bool],
    pub(super) forest: Vec<f64>,
}

impl Parts<'_> {
    pub(super) fn pairs(&self, scores: &[f64]) -> Vec<(f64, bool)> {
        scores
            .iter()
            .zip(self.held)
            .map(|(&score, &row)| (score, self.labels[row]))
            .collect()
    }

    /// Calibrates the machine, finds its share and the gate, and scores the held-out rows.
    pub(super) fn combine(
        &self,
        mut record: SvmRecord,
        fixed: f64,
    ) -> Result<(SvmRecord, f64, f64, Vec<f64>), TrainError> {
        let machine = Svm::build(&record, self.allowed)?;
        let margins: Vec<f64> = self.held.par_iter().map(|&row| machine.margin(&self.x[row])).collect();
        record.platt = platt(&self.pairs(&margins));
        let benign = self
            .pairs(&self.forest)
            .into_iter()
            .filter(|row| !row.1)
            .map(|row| row.0)
            .collect();
        let gate = quantile_above(benign, ABOVE_GATE);
        let scores = |weight: f64| -> Vec<f64> {
            let score = |(&forest, &margin): (&f64, &f64)| {
                let second = if forest >= gate {
                    record.platt.apply(margin)
                } else {
                    0.0
                };
                (1.0 - weight) * forest + weight * second
            };
            self.forest.iter().zip(&margins).map(score).collect()
        };
        let worth = |scores: &[f64]| self.worth(scores);
        let mut best = (f64::MIN, WEIGHTS[0], Vec::new());
        let weights = if fixed > 0.0 { &[fixed][..] } else { &WEIGHTS[..] };
        for &weight in weights {
            let scores = scores(weight);
            let worth = worth(&scores);
            if worth > best.0 + 1e-6 {
                best = (worth, weight, scores);
            }
        }
        Ok((record, best.1, gate, best.2))
    }

    /// Mean recall over origins' labels at thresholds of 1 % and 0.1 %: what a share is chosen by.
    fn worth(&self, scores: &[f64]) -> f64 {
        let benign: Vec<f64> = self
            .pairs(scores)
            .into_iter()
            .filter(|row| !row.1)
            .map(|row| row.0)
            .collect();
        let cuts = [0.01, 0.001].map(|alpha| quantile_above(benign.clone(), alpha));
        let mut found: BTreeMap<(&str, &str), (f64, f64)> = BTreeMap::new();
        for (&score, &row) in scores.iter().zip(self.held) {
            if self.labels[row] {
                let label = found
                    .entry((self.table.origin(row), self.table.label(row)))
                    .or_default();
                label.0 += cuts.iter().filter(|cut| score > **cut).count() as f64 / cuts.len() as f64;
                label.1 += 1.0;
            }
        }
        found.values().map(|(found, all)| found / all).sum::<f64>() / found.len().max(1) as f64
    }

    /// What each held-out row is called by forests that did not see it.
    pub(super) fn name_families<'b>(
        &self,
        families: &'b [(String, Grown)],
        ground: &impl Fn(&str) -> Ground<'b>,
    ) -> Result<Vec<&'b str>, TrainError> {
        let answers = |(name, grown): &'b (String, Grown)| {
            Ok(grown.out_of_bag(&ground(name), &Forest::build(&grown.record, self.allowed)?))
        };
        let answers: Vec<Vec<Option<f64>>> = families.iter().map(answers).collect::<Result<_, TrainError>>()?;
        let name = |&row: &usize| {
            let of_row = answers
                .iter()
                .enumerate()
                .filter_map(|(number, of)| Some((number, of[row]?)));
            loudest(of_row).0.map_or(UNKNOWN, |number| families[number].0.as_str())
        };
        Ok(self.held.iter().map(name).collect())
    }

    /// What levels are held against, by the discounts of names (none: the score itself); `gate` as in [`Parts::combine`].
    pub(super) fn held(
        &self,
        scores: &[f64],
        gate: f64,
        named: &[&str],
        discount: Option<impl Fn(&str) -> f64>,
    ) -> Vec<f64> {
        let Some(discount) = discount else {
            return scores.to_vec();
        };
        let held = |((&score, &forest), &named): ((&f64, &f64), &&str)| {
            let named = if forest >= gate { named } else { UNKNOWN };
            discounted(score, discount(named))
        };
        scores.iter().zip(&self.forest).zip(named).map(held).collect()
    }

    /// The held-out rows, each held by its score.
    pub(super) fn judged<'b>(&'b self, scores: &[f64], calibration: &Isotonic, named: &[&'b str]) -> Vec<Judged<'b>> {
        let judged = |((&row, &score), &named): ((&usize, &f64), &&'b str)| {
            let of = &self.table.rows[row];
            Judged {
                label: self.table.label(row),
                origin: self.table.origin(row),
                source: of.source,
                t0: of.t0,
                attack: of.attack,
                score,
                held: score,
                probability: calibration.apply(score),
                named,
            }
        };
        self.held.iter().zip(scores).zip(named).map(judged).collect()
    }
}
