//! A support vector machine with a Gaussian kernel: the second opinion.

use super::calibration::Platt;
use super::error::Flaw;
use super::transform::Scaled;
use crate::features::WIDTH;
use serde::{Deserialize, Serialize};

/// One support vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupportVector {
    /// α·y: positive for attacks.
    pub weight: f64,
    /// Index into [`SvmRecord::families`].
    pub family: u16,
    /// Standardised values of the features used.
    pub at: Vec<f32>,
}

/// The machine as the artefact holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SvmRecord {
    /// Indices into the schema.
    pub features: Vec<u16>,
    /// Mean of each over the training rows, scaled as trees see them.
    pub mean: Vec<f32>,
    /// 1/σ of each.
    pub inverse_deviation: Vec<f32>,
    /// The kernel is exp(−γ‖a − b‖²).
    pub gamma: f64,
    /// Subtracted from the weighted sum.
    pub rho: f64,
    /// Names of the support vectors' families.
    pub families: Vec<String>,
    /// The support vectors.
    pub vectors: Vec<SupportVector>,
    /// From margin to probability.
    pub platt: Platt,
}

/// A support vector near a flow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbour {
    /// Its family, `benign` among them.
    pub family: String,
    /// Distance in standard deviations over all features.
    pub distance: f64,
}

/// A machine that answers.
#[derive(Clone, Debug)]
pub struct Svm {
    features: Vec<usize>,
    mean: Vec<f32>,
    inverse_deviation: Vec<f32>,
    gamma: f64,
    rho: f64,
    platt: Platt,
    families: Vec<String>,
    /// Row by row, so that a flow walks memory in one direction.
    at: Vec<f32>,
    weights: Vec<f64>,
    family: Vec<u16>,
}

impl Svm {
    /// Checks the record and lays it out.
    ///
    /// # Errors
    /// Lengths that do not fit, features that are not there, numbers that are none, or no support vectors.
    pub fn build(record: &SvmRecord, allowed: &[bool; WIDTH]) -> Result<Self, Flaw> {
        let width = record.features.len();
        let known = |f: &u16| allowed.get(usize::from(*f)).copied().unwrap_or(false);
        if width == 0 || !record.features.iter().all(known) {
            return Err(Flaw::Svm("asks for a feature it may not have"));
        }
        if record.mean.len() != width || record.inverse_deviation.len() != width {
            return Err(Flaw::Svm("has not one mean and deviation for each feature"));
        }
        let numbers = record.mean.iter().chain(&record.inverse_deviation);
        if !numbers
            .chain(record.vectors.iter().flat_map(|v| &v.at))
            .all(|v| v.is_finite())
            || !record.vectors.iter().all(|v| v.weight.is_finite())
            || !record.rho.is_finite()
            || !record.platt.is_sound()
        {
            return Err(Flaw::NotFinite("a number of the support vector machine"));
        }
        if !(record.gamma.is_finite() && record.gamma > 0.0) {
            return Err(Flaw::Svm("has a kernel without width"));
        }
        let fits = |v: &SupportVector| v.at.len() == width && usize::from(v.family) < record.families.len();
        if record.vectors.is_empty() || !record.vectors.iter().all(fits) {
            return Err(Flaw::Svm("has support vectors that do not fit"));
        }
        Ok(Self {
            features: record.features.iter().map(|&f| usize::from(f)).collect(),
            mean: record.mean.clone(),
            inverse_deviation: record.inverse_deviation.clone(),
            gamma: record.gamma,
            rho: record.rho,
            platt: record.platt,
            families: record.families.clone(),
            at: record.vectors.iter().flat_map(|v| v.at.iter().copied()).collect(),
            weights: record.vectors.iter().map(|v| v.weight).collect(),
            family: record.vectors.iter().map(|v| v.family).collect(),
        })
    }

    /// Support vectors.
    pub fn support_vectors(&self) -> usize {
        self.weights.len()
    }

    fn standardise(&self, x: &Scaled) -> [f32; WIDTH] {
        let mut out = [0.0; WIDTH];
        for (at, &feature) in self.features.iter().enumerate() {
            out[at] = (x[feature] - self.mean[at]) * self.inverse_deviation[at];
        }
        out
    }

    /// ‖x − v‖² for each support vector.
    fn distances<'a>(&'a self, x: &'a [f32; WIDTH]) -> impl Iterator<Item = f64> + 'a {
        let width = self.features.len();
        self.at.chunks_exact(width).map(move |row| {
            // Eight sums side by side: one of floats, which may not be reordered, waits for each addition.
            let mut sums = [0f32; 8];
            let (mine, theirs) = (x[..width].chunks_exact(8), row.chunks_exact(8));
            let rest: f32 = mine
                .remainder()
                .iter()
                .zip(theirs.remainder())
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            for (mine, theirs) in mine.zip(theirs) {
                for lane in 0..8 {
                    let gap = mine[lane] - theirs[lane];
                    sums[lane] += gap * gap;
                }
            }
            f64::from(sums.iter().sum::<f32>() + rest)
        })
    }

    /// Signed distance from the border in the kernel's space: positive on the attacks' side.
    pub fn margin(&self, x: &Scaled) -> f64 {
        let x = self.standardise(x);
        let sum: f64 = self
            .distances(&x)
            .zip(&self.weights)
            .map(|(squared, weight)| weight * (-self.gamma * squared).exp())
            .sum();
        sum - self.rho
    }

    /// The margin as a probability.
    pub fn probability(&self, margin: f64) -> f64 {
        self.platt.apply(margin)
    }

    /// The nearest support vectors, nearest first; of equal ones the earlier.
    pub fn neighbours(&self, x: &Scaled, count: usize) -> Vec<Neighbour> {
        let x = self.standardise(x);
        let mut all: Vec<(f64, usize)> = self.distances(&x).zip(0..).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.iter()
            .take(count)
            .map(|&(squared, at)| Neighbour {
                family: self.families[usize::from(self.family[at])].clone(),
                distance: squared.sqrt(),
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::forest::tests::ALL;

    pub(in crate::model) fn small() -> SvmRecord {
        let vector = |weight, family, at: [f32; 2]| SupportVector {
            weight,
            family,
            at: at.to_vec(),
        };
        SvmRecord {
            features: vec![2, 3],
            mean: vec![1.0, 1.0],
            inverse_deviation: vec![0.5, 2.0],
            gamma: 0.5,
            rho: 0.1,
            families: vec!["benign".into(), "scan".into()],
            vectors: vec![vector(1.0, 1, [1.0, 0.0]), vector(-1.0, 0, [-1.0, 0.0])],
            platt: Platt {
                slope: 2.0,
                offset: 0.0,
            },
        }
    }

    #[test]
    fn the_margin_is_the_weighted_sum_of_kernels() {
        let svm = Svm::build(&small(), &ALL).unwrap();
        let mut x = [0.0; WIDTH];
        (x[2], x[3]) = (3.0, 1.0);
        // Standardised: (1, 0): on the attack's own vector, two away from the other.
        let expected = 1.0 - (-0.5f64 * 4.0).exp() - 0.1;
        assert!((svm.margin(&x) - expected).abs() < 1e-7);
        let near = svm.neighbours(&x, 5);
        let found: Vec<_> = near.iter().map(|n| (n.family.as_str(), n.distance)).collect();
        assert_eq!(found, [("scan", 0.0), ("benign", 2.0)]);
        assert!(svm.probability(1.0) > 0.5 && svm.probability(-1.0) < 0.5);
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        let broken: [fn(&mut SvmRecord); 9] = [
            |r| r.vectors.clear(),
            |r| r.features[0] = WIDTH as u16,
            |r| r.features.clear(),
            |r| r.mean.truncate(1),
            |r| r.vectors[0].at.push(0.0),
            |r| r.vectors[1].family = 2,
            |r| r.vectors[1].weight = f64::NAN,
            |r| r.gamma = 0.0,
            |r| r.inverse_deviation[1] = f32::INFINITY,
        ];
        for (at, breaks) in broken.iter().enumerate() {
            let mut record = small();
            breaks(&mut record);
            assert!(Svm::build(&record, &ALL).is_err(), "case {at} was taken");
        }
    }
}
