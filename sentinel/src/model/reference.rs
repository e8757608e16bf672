//! What was usual: quantiles of benign flows.

use super::error::Flaw;
use serde::{Deserialize, Serialize};

/// Quantiles kept: every hundredth.
const POINTS: usize = 101;
/// Groups that drift is counted in.
const GROUPS: usize = 10;

/// The distribution of one number over benign flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// From the smallest to the largest value, every hundredth.
    pub points: Vec<f64>,
    /// Upper ends (inclusive) of the groups for drift but the last, distinct, at most nine.
    pub edges: Vec<f64>,
    /// Share of benign flows in each group.
    pub shares: Vec<f64>,
}

impl Quantiles {
    /// Of some values, all finite. None without any.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: usize, of: usize| sorted[(share * last + of / 2) / of];
        let points = (0..POINTS).map(|i| at(i, POINTS - 1)).collect();
        let mut edges: Vec<f64> = (1..GROUPS).map(|i| at(i, GROUPS)).collect();
        edges.dedup();
        edges.retain(|edge| *edge < sorted[last]);
        let mut shares = Vec::with_capacity(edges.len() + 1);
        let mut before = 0;
        for edge in &edges {
            let below = sorted.partition_point(|value| value <= edge);
            shares.push((below - before) as f64 / sorted.len() as f64);
            before = below;
        }
        shares.push((sorted.len() - before) as f64 / sorted.len() as f64);
        Some(Self { points, edges, shares })
    }

    pub(super) fn check(&self) -> Result<(), Flaw> {
        let all = || self.points.iter().chain(&self.edges).chain(&self.shares);
        if !all().all(|value| value.is_finite()) {
            return Err(Flaw::NotFinite("a quantile of the reference"));
        }
        let sums = (self.shares.iter().sum::<f64>() - 1.0).abs() < 1e-6;
        if self.points.len() != POINTS
            || self.edges.len() >= GROUPS
            || self.shares.len() != self.edges.len() + 1
            || !self.points.windows(2).all(|p| p[0] <= p[1])
            || !self.edges.windows(2).all(|p| p[0] < p[1])
            || !self.shares.iter().all(|share| (0.0..=1.0).contains(share))
            || !sums
        {
            return Err(Flaw::Part("the reference's quantiles do not fit together"));
        }
        Ok(())
    }

    /// Percentage of benign flows with less, and with as much at most: from 0 to 100.
    pub fn percentile(&self, value: f64) -> (f64, f64) {
        let share = |points: usize| (points as f64 / (POINTS - 1) as f64).min(1.0) * 100.0;
        let below = self.points.partition_point(|point| *point < value);
        let at_most = self.points.partition_point(|point| *point <= value);
        (share(below), share(at_most))
    }

    /// The middle value.
    pub fn median(&self) -> f64 {
        self.points[POINTS / 2]
    }

    /// In which group a value counts.
    pub fn group(&self, value: f64) -> usize {
        self.edges.partition_point(|edge| *edge < value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_ramp() {
        let q = Quantiles::of((0..1000).map(f64::from)).unwrap();
        q.check().unwrap();
        assert!((q.median() - 500.0).abs() <= 1.0);
        assert_eq!((q.edges.len(), q.shares.len()), (9, 10));
        let (below, at_most) = q.percentile(900.0);
        assert!((below - 90.0).abs() <= 1.0 && (at_most - 90.0).abs() <= 1.0);
        assert_eq!(q.percentile(-1.0), (0.0, 0.0));
        assert_eq!(q.percentile(5000.0), (100.0, 100.0));
        assert_eq!((q.group(-5.0), q.group(1e9)), (0, 9));
    }

    #[test]
    fn a_number_that_hardly_varies_has_few_groups() {
        let q = Quantiles::of([0.0; 95].into_iter().chain([7.0; 5])).unwrap();
        q.check().unwrap();
        assert_eq!(
            (q.edges.as_slice(), q.shares.as_slice()),
            ([0.0].as_slice(), [0.95, 0.05].as_slice())
        );
        let constant = Quantiles::of([3.0; 4].into_iter()).unwrap();
        constant.check().unwrap();
        assert_eq!(
            (constant.edges.len(), constant.group(3.0), constant.group(9.0)),
            (0, 0, 0)
        );
        assert!(Quantiles::of(std::iter::empty()).is_none());
    }

    #[test]
    fn references_that_do_not_fit_are_refused() {
        let broken: [fn(&mut Quantiles); 5] = [
            |q| q.points[5] = f64::NAN,
            |q| q.points.truncate(5),
            |q| q.shares[0] = 0.9,
            |q| q.edges[0] = 1e9,
            |q| q.edges.clear(),
        ];
        for breaks in broken {
            let mut q = Quantiles::of((0..1000).map(f64::from)).unwrap();
            breaks(&mut q);
            assert!(q.check().is_err());
        }
    }
}
