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
    /// [`LANES`] vectors side by side, feature by feature: what is added to one of their sums waits for no other's. The
    /// last block is filled up with vectors of weight 0.
    blocks: Vec<[f32; LANES]>,
    weights: Vec<[f64; LANES]>,
    /// One for each support vector.
    family: Vec<u16>,
}

/// Support vectors in a block: enough that adding to one's sum need not wait for the addition before.
const LANES: usize = 16;

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
            blocks: blocks(&record.vectors, width),
            weights: record
                .vectors
                .chunks(LANES)
                .map(|some| std::array::from_fn(|lane| some.get(lane).map_or(0.0, |v| v.weight)))
                .collect(),
            family: record.vectors.iter().map(|v| v.family).collect(),
        })
    }

    /// Support vectors.
    pub fn support_vectors(&self) -> usize {
        self.family.len()
    }

    fn standardise(&self, x: &Scaled) -> [f32; WIDTH] {
        let mut out = [0.0; WIDTH];
        for (at, &feature) in self.features.iter().enumerate() {
            out[at] = (x[feature] - self.mean[at]) * self.inverse_deviation[at];
        }
        out
    }

    /// ‖x − v‖² for each support vector, block by block.
    fn distances<'a>(&'a self, x: &'a [f32; WIDTH]) -> impl Iterator<Item = [f32; LANES]> + 'a {
        let width = self.features.len();
        self.blocks.chunks_exact(width).map(move |block| {
            let mut sums = [0f32; LANES];
            for (mine, theirs) in x.iter().zip(block) {
                for lane in 0..LANES {
                    let gap = mine - theirs[lane];
                    sums[lane] += gap * gap;
                }
            }
            sums
        })
    }

    /// Signed distance from the border in the kernel's space: positive on the attacks' side.
    pub fn margin(&self, x: &Scaled) -> f64 {
        let x = self.standardise(x);
        let gamma = self.gamma as f32;
        let mut sums = [0f64; LANES];
        for (squared, weights) in self.distances(&x).zip(&self.weights) {
            let kernels = squared.map(|squared| exp(-gamma * squared));
            for lane in 0..LANES {
                sums[lane] += weights[lane] * f64::from(kernels[lane]);
            }
        }
        sums.iter().sum::<f64>() - self.rho
    }

    /// The margin as a probability.
    pub fn probability(&self, margin: f64) -> f64 {
        self.platt.apply(margin)
    }

    /// The nearest support vectors, nearest first; of equal ones the earlier.
    pub fn neighbours(&self, x: &Scaled, count: usize) -> Vec<Neighbour> {
        let x = self.standardise(x);
        let mut all: Vec<(f32, usize)> = self.distances(&x).flatten().zip(0..self.family.len()).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.iter()
            .take(count)
            .map(|&(squared, at)| Neighbour {
                family: self.families[usize::from(self.family[at])].clone(),
                distance: f64::from(squared).sqrt(),
            })
            .collect()
    }
}

/// The vectors as [`Svm::blocks`] has them.
fn blocks(vectors: &[SupportVector], width: usize) -> Vec<[f32; LANES]> {
    let block = |some: &[SupportVector]| {
        let feature = |at: usize| std::array::from_fn(|lane| some.get(lane).map_or(0.0, |v| v.at[at]));
        (0..width).map(feature).collect::<Vec<_>>()
    };
    vectors.chunks(LANES).flat_map(block).collect()
}

/// eˣ for x ≤ 0, to two units in the last place; 0 below the smallest normal number. As many digits as a distance has. The
/// system's own is asked number by number, and gives other bits with another C library; this one is done for several at a
/// time, and is the same everywhere.
///
/// x = k·ln 2 + r with |r| ≤ ½ ln 2, and eˣ = 2ᵏ·eʳ, where eʳ is a polynomial with the least error there (Cephes, expf.c).
#[inline]
fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest whole number in the low bits (1.5·2²³).
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with so few bits that k times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const LOWEST: f32 = -87.0;
    let inside = x.max(LOWEST);
    let shifted = inside * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (inside - k * LN2_HIGH) - k * LN2_LOW;
    let mut sum = 1.987_569_2e-4;
    for factor in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * r + factor;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { sum * power }
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
    fn a_margin_of_many_is_that_of_each_by_itself() {
        let mut record = small();
        record.vectors = (0..21u8)
            .map(|n| SupportVector {
                weight: f64::from(n) - 9.5,
                family: u16::from(n % 2),
                at: vec![f32::from(n) / 4.0, f32::from(n % 5) - 2.0],
            })
            .collect();
        let svm = Svm::build(&record, &ALL).unwrap();
        assert_eq!(svm.support_vectors(), 21);
        let mut x = [0.0; WIDTH];
        (x[2], x[3]) = (4.0, 1.5);
        let expected: f64 = record
            .vectors
            .iter()
            .map(|v| {
                let (a, b) = (f64::from(v.at[0]) - 1.5, f64::from(v.at[1]) - 1.0);
                v.weight * (-record.gamma * (a * a + b * b)).exp()
            })
            .sum();
        assert!((svm.margin(&x) - (expected - record.rho)).abs() < 1e-5);
        assert_eq!(
            svm.neighbours(&x, 100).len(),
            21,
            "what fills a block up is nobody's neighbour"
        );
    }

    #[test]
    fn the_exponential_is_the_systems_to_two_units_in_the_last_place() {
        for step in 0..200_000u32 {
            let x = -(step as f32) * 0.000_441_7;
            let (own, theirs) = (exp(x), f64::from(x).exp());
            if x < -87.0 {
                assert!(own == 0.0, "{x}: {own}");
            } else {
                let off = (f64::from(own) - theirs).abs();
                assert!(off <= 2.0 * f64::from(f32::EPSILON) * theirs, "{x}: {own} {theirs}");
            }
        }
        for (x, y) in [(0.0, 1.0), (-0.0, 1.0), (-87.5, 0.0), (f32::NEG_INFINITY, 0.0)] {
            assert_eq!(exp(x).to_bits(), f32::to_bits(y), "{x}");
        }
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
