//! A tree that draws the features it may look at anew in every node.
//!
//! CART (Breiman et al., "Classification and regression trees", 1984) on Gini's impurity, with the random subspace of
//! each node (Breiman, "Random forests", 2001) that `linfa-trees` does not have. Counts are whole numbers, ties go to the
//! feature drawn first and the lower threshold: the same draw gives the same tree.

use super::rng::Rng;
use super::tree::Shape;
use crate::model::{NodeRecord, Scaled};
use std::collections::VecDeque;

/// A place to cut, and what impurity is left: Σ n₊n₋/n over both sides.
struct Cut {
    feature: u16,
    threshold: f32,
    left: f64,
}

/// Grows a tree over `picks` (indices into `x`, repeated as drawn); `features` in each node, of those allowed.
pub(super) fn grow(
    x: &[Scaled],
    positive: &[bool],
    picks: Vec<u32>,
    allowed: &[u16],
    features: usize,
    shape: Shape,
    rng: &mut Rng,
) -> Vec<NodeRecord> {
    let mut out = Vec::new();
    let mut order = allowed.to_vec();
    let mut pairs = Vec::with_capacity(picks.len());
    let mut queue = VecDeque::from([(picks, 0)]);
    while let Some((rows, depth)) = queue.pop_front() {
        let count = rows.iter().filter(|&&row| positive[row as usize]).count();
        let splits = count > 0 && count < rows.len() && depth < shape.max_depth;
        let mut best: Option<Cut> = None;
        if splits && rows.len() as f32 >= 2.0 * shape.min_leaf {
            rng.shuffle(&mut order);
            for (drawn, &feature) in order.iter().enumerate() {
                // As many as asked for, and further ones until any of them tells rows apart.
                if drawn >= features && best.is_some() {
                    break;
                }
                pairs.clear();
                pairs.extend(
                    rows.iter()
                        .map(|&row| (x[row as usize][usize::from(feature)], positive[row as usize])),
                );
                let cut = cut(&mut pairs, feature, count, shape);
                if let Some(cut) = cut
                    && best.as_ref().is_none_or(|best| cut.left < best.left)
                {
                    best = Some(cut);
                }
            }
        }
        let whole = count as f64 * (rows.len() - count) as f64 / rows.len() as f64;
        match best.filter(|cut| cut.left < whole - 1e-9) {
            Some(Cut { feature, threshold, .. }) => {
                out.push(NodeRecord::Split { feature, threshold });
                let is_low = |row: &u32| x[*row as usize][usize::from(feature)] <= threshold;
                let (low, high): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(is_low);
                queue.push_back((low, depth + 1));
                queue.push_back((high, depth + 1));
            }
            None => out.push(NodeRecord::Leaf {
                positive: count as u32,
                negative: (rows.len() - count) as u32,
            }),
        }
    }
    out
}

/// The best cut between two values of one feature, with enough rows on either side; where the feature may only speak for
/// attacks, with no smaller a share of them above it than below.
fn cut(pairs: &mut [(f32, bool)], feature: u16, positive: usize, shape: Shape) -> Option<Cut> {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (rows, min_leaf, rising) = (pairs.len(), shape.min_leaf as usize, shape.rising[usize::from(feature)]);
    let impurity = |positive: usize, rows: usize| positive as f64 * (rows - positive) as f64 / rows as f64;
    let mut best: Option<Cut> = None;
    let mut seen = 0;
    for at in 1..rows {
        seen += usize::from(pairs[at - 1].1);
        let (low, high) = (pairs[at - 1].0, pairs[at].0);
        if low >= high || at < min_leaf || rows - at < min_leaf {
            continue;
        }
        // Share above against share below, times both counts.
        if rising && (positive - seen) * at < seen * (rows - at) {
            continue;
        }
        let left = impurity(seen, at) + impurity(positive - seen, rows - at);
        if best.as_ref().is_none_or(|best| left < best.left) {
            // The middle of two neighbouring floats rounds to one of them; it must stay below the upper.
            let middle = low + (high - low) / 2.0;
            let threshold = if middle < high { middle } else { low };
            best = Some(Cut {
                feature,
                threshold,
                left,
            });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::WIDTH;

    const SHAPE: Shape = Shape {
        max_depth: 4,
        min_leaf: 1.0,
        rising: [false; WIDTH],
    };

    fn grown(values: &[f32], labels: &[bool], shape: Shape) -> Vec<NodeRecord> {
        let x: Vec<Scaled> = values
            .iter()
            .map(|&value| std::array::from_fn(|at| if at == 2 { value } else { 7.0 }))
            .collect();
        let picks = (0..values.len() as u32).collect();
        let allowed: Vec<u16> = (0..WIDTH as u16).collect();
        grow(&x, labels, picks, &allowed, 1, shape, &mut Rng::new(1, "cart", 0))
    }

    fn leaf(positive: u32, negative: u32) -> NodeRecord {
        NodeRecord::Leaf { positive, negative }
    }

    #[test]
    fn the_only_feature_that_varies_is_found_and_cut_in_the_middle() {
        let tree = grown(&[0.0, 1.0, 3.0, 4.0], &[false, false, true, true], SHAPE);
        let split = NodeRecord::Split {
            feature: 2,
            threshold: 2.0,
        };
        assert_eq!(tree, [split, leaf(0, 2), leaf(2, 0)]);
        // A leaf of three is asked for where there are four rows: no cut.
        let wide = Shape { min_leaf: 3.0, ..SHAPE };
        assert_eq!(
            grown(&[0.0, 1.0, 3.0, 4.0], &[false, false, true, true], wide),
            [leaf(2, 2)]
        );
    }

    #[test]
    fn neighbouring_floats_are_told_apart() {
        let low = 16.0f32;
        let high = f32::from_bits(low.to_bits() + 1);
        let tree = grown(&[low, low, high, high], &[false, false, true, true], SHAPE);
        assert_eq!(tree[1..], [leaf(0, 2), leaf(2, 0)]);
    }

    #[test]
    fn a_feature_that_may_only_speak_for_attacks_does() {
        let mut shape = SHAPE;
        shape.rising[2] = true;
        let up = grown(&[0.0, 1.0, 3.0, 4.0], &[false, false, true, true], shape);
        assert_eq!(up.len(), 3);
        let down = grown(&[0.0, 1.0, 3.0, 4.0], &[true, true, false, false], shape);
        assert_eq!(down, [leaf(2, 2)]);
    }
}
