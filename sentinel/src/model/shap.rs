//! Exact Shapley values of a forest.
//!
//! TreeSHAP, path dependent (Lundberg, Erion and Lee, "Consistent individualized feature attribution for tree
//! ensembles", 2018, algorithm 2): features not in the coalition are averaged over by the training rows of each branch.

use super::forest::Forest;
use super::transform::Scaled;
use crate::features::WIDTH;

/// One feature on the way down.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Index into the schema; [`WIDTH`] for the root's empty step.
    feature: usize,
    /// Share of ways that take this branch without knowing the feature.
    zero: f64,
    /// 1 where the row itself takes it.
    one: f64,
    /// Weight of coalitions of each size.
    weight: f64,
}

/// Adds a step to the first `depth` of a path.
fn extend(path: &mut [Step], depth: usize, zero: f64, one: f64, feature: usize) {
    let weight = if depth == 0 { 1.0 } else { 0.0 };
    path[depth] = Step {
        feature,
        zero,
        one,
        weight,
    };
    let scale = 1.0 / (depth + 1) as f64;
    for at in (0..depth).rev() {
        path[at + 1].weight += one * path[at].weight * (at + 1) as f64 * scale;
        path[at].weight *= zero * (depth - at) as f64 * scale;
    }
}

/// Takes the step at `at` out of a path again; one shorter afterwards.
fn unwind(path: &mut [Step], at: usize) {
    let depth = path.len() - 1;
    let Step { zero, one, .. } = path[at];
    let size = (depth + 1) as f64;
    let mut next = path[depth].weight;
    for i in (0..depth).rev() {
        if one == 0.0 {
            path[i].weight = path[i].weight * size / (zero * (depth - i) as f64);
        } else {
            let before = path[i].weight;
            path[i].weight = next * size / ((i + 1) as f64 * one);
            next = before - path[i].weight * zero * (depth - i) as f64 / size;
        }
    }
    for i in at..depth {
        let Step { feature, zero, one, .. } = path[i + 1];
        path[i] = Step {
            feature,
            zero,
            one,
            ..path[i]
        };
    }
}

/// Sum of the weights that [`unwind`] would leave.
fn unwound_sum(path: &[Step], at: usize) -> f64 {
    let depth = path.len() - 1;
    let Step { zero, one, .. } = path[at];
    let size = (depth + 1) as f64;
    let mut total = 0.0;
    if one == 0.0 {
        for (i, step) in path[..depth].iter().enumerate() {
            total += step.weight / (depth - i) as f64;
        }
        return total * size / zero;
    }
    let mut next = path[depth].weight;
    for i in (0..depth).rev() {
        let weight = next * size / ((i + 1) as f64 * one);
        total += weight;
        next = path[i].weight - weight * zero * (depth - i) as f64 / size;
    }
    total
}

impl Forest {
    /// Shapley value of each feature for this row. [`Forest::base`] and these sum to [`Forest::score`]. Costs
    /// O(trees · leaves · depth²).
    pub fn shapley_values(&self, x: &Scaled) -> [f64; WIDTH] {
        let mut out = [0.0; WIDTH];
        // Each depth works on a copy of the path above it, behind that one.
        let longest = self.depth + 2;
        let mut paths = vec![Step::default(); longest * (longest + 1) / 2];
        for &root in &self.roots {
            self.descend(root, x, &mut paths, 0, (1.0, 1.0, WIDTH), &mut out);
        }
        let trees = self.roots.len() as f64;
        for share in &mut out {
            *share /= trees;
        }
        out
    }

    /// `paths` begins with the path above, of `length` steps.
    fn descend(
        &self,
        at: usize,
        x: &Scaled,
        paths: &mut [Step],
        length: usize,
        step: (f64, f64, usize),
        out: &mut [f64; WIDTH],
    ) {
        let (above, rest) = paths.split_at_mut(length);
        rest[..length].copy_from_slice(above);
        extend(rest, length, step.0, step.1, step.2);
        let mut length = length + 1;
        if self.is_leaf(at) {
            let path = &rest[..length];
            for i in 1..length {
                let share = unwound_sum(path, i) * (path[i].one - path[i].zero);
                out[path[i].feature] += share * self.values[at];
            }
            return;
        }
        let node = self.nodes[at];
        let feature = node.feature();
        let left = node.left();
        let (hot, cold) = if x[feature] > node.threshold {
            (left + 1, left)
        } else {
            (left, left + 1)
        };
        let (mut zero, mut one) = (1.0, 1.0);
        if let Some(before) = rest[1..length].iter().position(|step| step.feature == feature) {
            (zero, one) = (rest[before + 1].zero, rest[before + 1].one);
            unwind(&mut rest[..length], before + 1);
            length -= 1;
        }
        let share = |child: usize| self.covers[child] / self.covers[at];
        self.descend(hot, x, rest, length, (zero * share(hot), one, feature), out);
        self.descend(cold, x, rest, length, (zero * share(cold), 0.0, feature), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forest::tests::{ALL, small};
    use proptest::prelude::*;

    /// Expected answer of a tree when only the features in `known` are: the definition, for few features.
    fn expectation(forest: &Forest, at: usize, x: &Scaled, known: &[usize]) -> f64 {
        let node = forest.nodes[at];
        if forest.is_leaf(at) {
            return forest.values[at];
        }
        let feature = node.feature();
        let left = node.left();
        if known.contains(&feature) {
            let next = left + usize::from(x[feature] > node.threshold);
            return expectation(forest, next, x, known);
        }
        [left, left + 1]
            .iter()
            .map(|&child| forest.covers[child] / forest.covers[at] * expectation(forest, child, x, known))
            .sum()
    }

    fn whole(forest: &Forest, x: &Scaled, known: &[usize]) -> f64 {
        let sum: f64 = forest.roots.iter().map(|&r| expectation(forest, r, x, known)).sum();
        sum / forest.roots.len() as f64
    }

    proptest! {
        #[test]
        fn they_are_shapleys_by_definition_and_sum_to_the_score(two in -1f32..4.0, three in -1f32..4.0) {
            let forest = Forest::build(&small(), &ALL).unwrap();
            let mut x = [0.0; WIDTH];
            (x[2], x[3]) = (two, three);
            let values = forest.shapley_values(&x);
            // Two players: each is paid the mean of coming first and coming second.
            let (none, both) = (whole(&forest, &x, &[]), whole(&forest, &x, &[2, 3]));
            let (only_two, only_three) = (whole(&forest, &x, &[2]), whole(&forest, &x, &[3]));
            let expected_two = f64::midpoint(only_two - none, both - only_three);
            let expected_three = f64::midpoint(only_three - none, both - only_two);
            prop_assert!((values[2] - expected_two).abs() < 1e-12, "{} {}", values[2], expected_two);
            prop_assert!((values[3] - expected_three).abs() < 1e-12);
            let sum: f64 = values.iter().sum();
            prop_assert!((forest.base() + sum - forest.score(&x)).abs() < 1e-12);
        }
    }
}
