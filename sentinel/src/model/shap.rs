//! Exact Shapley values of a forest.
//!
//! The mean answer of a tree where each feature is known with chance t, each by itself, is a polynomial in t; the Shapley value
//! of a feature is the integral, from 0 to 1, of what knowing it adds (Owen, "Multilinear extensions of games", 1972). What is
//! not known is averaged over by the training rows of each branch (path dependent, as in Lundberg, Erion and Lee, "Consistent
//! individualized feature attribution for tree ensembles", 2018). On a way past d features that polynomial has degree d − 1,
//! which Gauss and Legendre integrate without error from ⌈d / 2⌉ points: one walk over a tree with that many numbers at each
//! node is enough, O(nodes · points). TreeSHAP's algorithm, which comes to the same, takes O(leaves · depth²).

use super::forest::Forest;
use super::transform::Scaled;
use crate::features::WIDTH;

/// Points from which every way past all features is integrated without error.
const MOST: usize = WIDTH.div_ceil(2);

/// Where a polynomial is looked at within (0, 1), and how much each point counts.
struct Rule<const N: usize> {
    points: [f64; N],
    weights: [f64; N],
}

impl<const N: usize> Rule<N> {
    /// Gauss and Legendre's: no error up to degree 2 N − 1.
    const GAUSS: Self = {
        let (mut points, mut weights) = ([0.0; N], [0.0; N]);
        let mut at = 0;
        while at < N {
            // Tricomi's guess is near enough to one root that Newton finds no other.
            let mut x = cosine(std::f64::consts::PI * (at as f64 + 0.75) / (N as f64 + 0.5));
            let mut step = 0;
            while step < 8 {
                let (value, slope) = legendre(N, x);
                x -= value / slope;
                step += 1;
            }
            let (_, slope) = legendre(N, x);
            points[at] = 0.5 * (1.0 - x);
            weights[at] = 1.0 / ((1.0 - x * x) * slope * slope);
            at += 1;
        }
        Self { points, weights }
    };
}

/// Legendre's polynomial of degree `n` at `x` within (−1, 1), and its slope there.
const fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    let mut at = 2;
    while at <= n {
        let k = at as f64;
        (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
        at += 1;
    }
    (value, n as f64 * (before - x * value) / (1.0 - x * x))
}

/// The cosine of an angle within [0, π], by its series.
const fn cosine(angle: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    let mut at = 1;
    while at <= 20 {
        term *= -angle * angle / ((2 * at - 1) * (2 * at)) as f64;
        sum += term;
        at += 1;
    }
    sum
}

/// What the nodes above say of a feature they asked for.
#[derive(Clone, Copy)]
struct Asked {
    /// Share of training rows that come this way, whatever they have of the feature.
    zero: f64,
    /// 1 where the row itself comes this way, 0 where it does not.
    one: f64,
}

impl Asked {
    /// Chance to come this way where the feature is known with the chance of each point.
    fn chance<const N: usize>(self) -> [f64; N] {
        Rule::<N>::GAUSS.points.map(|t| self.zero + (self.one - self.zero) * t)
    }
}

/// A walk over a tree.
struct Walk<'a, const N: usize> {
    forest: &'a Forest,
    x: &'a Scaled,
    /// What was asked on the way to the node, by feature.
    asked: [Option<Asked>; WIDTH],
    out: [f64; WIDTH],
}

impl<const N: usize> Walk<'_, N> {
    /// The mean answer below a node, at each point; `above` is the chance of the way to it, times the point's weight.
    fn below(&mut self, at: usize, above: &[f64; N]) -> [f64; N] {
        if self.forest.is_leaf(at) {
            return [self.forest.values[at]; N];
        }
        let node = self.forest.nodes[at];
        let (left, feature) = (node.left(), node.feature());
        let taken = left + usize::from(self.x[feature] > node.threshold);
        let before = self.asked[feature];
        // Never 0: training rows came here, and no point is 0 or 1.
        let rest = before.map(|asked| asked.chance::<N>().map(|chance| 1.0 / chance));
        let mut sums = [0.0; N];
        for child in [left, left + 1] {
            let share = self.forest.covers[child] / self.forest.covers[at];
            let follows = if child == taken { 1.0 } else { 0.0 };
            let now = Asked {
                zero: share * before.map_or(1.0, |asked| asked.zero),
                one: follows * before.map_or(1.0, |asked| asked.one),
            };
            // From the node to the child; and to the node, but for what it was asked of this feature.
            let (mut step, mut others) = (now.chance::<N>(), *above);
            if let Some(rest) = &rest {
                for q in 0..N {
                    step[q] *= rest[q];
                    others[q] *= rest[q];
                }
            }
            let down = std::array::from_fn(|q| above[q] * step[q]);
            self.asked[feature] = Some(now);
            let answers = self.below(child, &down);
            let (mut here, mut earlier) = (0.0, 0.0);
            for q in 0..N {
                let answer = others[q] * answers[q];
                here += answer;
                earlier += answer * step[q];
                sums[q] += step[q] * answers[q];
            }
            self.out[feature] += (now.one - now.zero) * here;
            if let Some(asked) = before {
                // The last node that asks for a feature has the whole say; the one before counted this way as well.
                self.out[feature] -= (asked.one - asked.zero) * earlier;
            }
        }
        self.asked[feature] = before;
        sums
    }
}

impl Forest {
    /// Shapley value of each feature for this row. [`Forest::base`] and these sum to [`Forest::score`].
    pub fn shapley_values(&self, x: &Scaled) -> [f64; WIDTH] {
        match self.features_of_a_way.div_ceil(2) {
            0..=4 => self.shapley::<4>(x),
            5..=8 => self.shapley::<8>(x),
            9..=10 => self.shapley::<10>(x),
            11..=14 => self.shapley::<14>(x),
            _ => self.shapley::<MOST>(x),
        }
    }

    fn shapley<const N: usize>(&self, x: &Scaled) -> [f64; WIDTH] {
        let mut walk = Walk::<N> {
            forest: self,
            x,
            asked: [None; WIDTH],
            out: [0.0; WIDTH],
        };
        for &root in &self.roots {
            walk.below(root, &Rule::<N>::GAUSS.weights);
        }
        walk.out.map(|share| share / self.roots.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forest::tests::{ALL, small};
    use crate::model::forest::{ForestRecord, NodeRecord};
    use proptest::prelude::*;

    /// Mean answer of a tree where the features in `known` are: the definition.
    fn expectation(forest: &Forest, at: usize, x: &Scaled, known: u64) -> f64 {
        let node = forest.nodes[at];
        if forest.is_leaf(at) {
            return forest.values[at];
        }
        let (feature, left) = (node.feature(), node.left());
        if known >> feature & 1 == 1 {
            let next = left + usize::from(x[feature] > node.threshold);
            return expectation(forest, next, x, known);
        }
        [left, left + 1]
            .iter()
            .map(|&child| forest.covers[child] / forest.covers[at] * expectation(forest, child, x, known))
            .sum()
    }

    fn whole(forest: &Forest, x: &Scaled, known: u64) -> f64 {
        let sum: f64 = forest.roots.iter().map(|&r| expectation(forest, r, x, known)).sum();
        sum / forest.roots.len() as f64
    }

    /// What each of `players` features is worth: what it adds, weighed over all coalitions of the others.
    fn by_definition(forest: &Forest, x: &Scaled, players: usize) -> Vec<f64> {
        let factorial = |n: usize| (1..=n).map(|n| n as f64).product::<f64>();
        let worth: Vec<f64> = (0..1 << players).map(|known| whole(forest, x, known)).collect();
        let share = |player: usize| {
            let others = (0..1usize << players).filter(|known| known >> player & 1 == 0);
            others
                .map(|known| {
                    let size = known.count_ones() as usize;
                    let weight = factorial(size) * factorial(players - size - 1) / factorial(players);
                    weight * (worth[known | 1 << player] - worth[known])
                })
                .sum()
        };
        (0..players).map(share).collect()
    }

    fn leaf() -> impl Strategy<Value = NodeRecord> {
        (0u32..9, 1u32..9).prop_map(|(positive, negative)| NodeRecord::Leaf { positive, negative })
    }

    fn split(players: usize) -> impl Strategy<Value = NodeRecord> {
        (0..players as u16, -2i8..3).prop_map(|(feature, threshold)| NodeRecord::Split {
            feature,
            threshold: f32::from(threshold),
        })
    }

    /// A tree of so many splits, any of which may ask for what was asked above it; its nodes breadth first.
    fn tree(players: usize) -> impl Strategy<Value = Vec<NodeRecord>> {
        let kinds = proptest::collection::vec(any::<bool>(), 1..40);
        let parts = (
            proptest::collection::vec(split(players), 40),
            proptest::collection::vec(leaf(), 41),
        );
        (kinds, parts).prop_map(|(kinds, (splits, leaves))| {
            let (mut nodes, mut open) = (Vec::new(), 1usize);
            let (mut splits, mut leaves) = (splits.into_iter(), leaves.into_iter());
            for kind in kinds {
                if open == 0 {
                    break;
                }
                // The first node is a split, so that there is something to tell.
                let node = if kind || nodes.is_empty() {
                    splits.next()
                } else {
                    leaves.next()
                };
                open = if kind || nodes.is_empty() { open + 1 } else { open - 1 };
                nodes.extend(node);
            }
            nodes.extend(leaves.by_ref().take(open));
            nodes
        })
    }

    proptest! {
        #[test]
        fn they_are_shapleys_by_definition_and_sum_to_the_score(
            trees in proptest::collection::vec(tree(6), 1..4),
            values in proptest::array::uniform6(-3f32..4.0),
        ) {
            let forest = Forest::build(&ForestRecord { trees }, &ALL).unwrap();
            let mut x = [0.0; WIDTH];
            x[..6].copy_from_slice(&values);
            let shares = forest.shapley_values(&x);
            for (share, expected) in shares.iter().zip(by_definition(&forest, &x, 6)) {
                prop_assert!((share - expected).abs() < 1e-13, "{shares:?}, not {expected}");
            }
            let sum: f64 = shares.iter().sum();
            prop_assert!((forest.base() + sum - forest.score(&x)).abs() < 1e-13);
            prop_assert_eq!(&shares[6..], &[0.0; WIDTH - 6]);
        }
    }

    #[test]
    fn more_points_than_are_needed_come_to_the_same() {
        let forest = Forest::build(&small(), &ALL).unwrap();
        let x = std::array::from_fn(|at| at as f32 / 2.0);
        let least = forest.shapley::<1>(&x);
        for more in [
            forest.shapley::<4>(&x),
            forest.shapley::<10>(&x),
            forest.shapley::<MOST>(&x),
        ] {
            for (a, b) in least.iter().zip(more) {
                assert!((a - b).abs() < 1e-15, "{a} is not {b}");
            }
        }
    }

    fn integrates<const N: usize>() {
        let rule = Rule::<N>::GAUSS;
        for degree in 0..2 * N {
            let power = |(t, weight): (&f64, &f64)| weight * t.powi(degree as i32);
            let sum: f64 = rule.points.iter().zip(&rule.weights).map(power).sum();
            let exact = 1.0 / (degree + 1) as f64;
            assert!(
                (sum - exact).abs() < 1e-14,
                "{N} points, degree {degree}: {sum}, not {exact}"
            );
        }
        assert!(rule.points.iter().all(|t| 0.0 < *t && *t < 1.0));
    }

    #[test]
    fn the_rules_integrate_every_degree_they_are_used_for() {
        integrates::<1>();
        integrates::<4>();
        integrates::<8>();
        integrates::<10>();
        integrates::<14>();
        integrates::<MOST>();
    }
}
