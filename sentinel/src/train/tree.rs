//! One tree of `linfa-trees`, made reproducible and flattened.
//!
//! What is not deterministic in linfa-trees 0.8.1: class weights stand in a `HashMap` whose order changes from run to
//! run. It decides which class a tied node predicts, and pruning joins leaves by what they predict, so ties change the
//! tree's shape; with three classes and more the order of summation changes impurities too. Both are got round: there are
//! two classes, whose sum does not depend on order, and benign rows weigh 1 + 2⁻¹⁰, so that no node is tied short of 1024
//! rows of a class that meet 1025 of the other, where the impurity is the same whichever is named.

use super::error::TrainError;
use crate::features::WIDTH;
use crate::model::{NodeRecord, Scaled};
use linfa::prelude::*;
use linfa_trees::{DecisionTree, SplitQuality};
use ndarray::{Array1, Array2};
use std::collections::VecDeque;

/// Exact in binary, and so are sums of up to 2¹³ of it in the 24 bits of an `f32`.
const NEGATIVE_WEIGHT: f32 = 1.0 + 1.0 / 1024.0;
/// Rows of a tree: above it sums of weights would round.
pub(super) const MAX_ROWS: usize = 8192;

/// How a tree is grown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) max_depth: usize,
    pub(super) min_leaf: f32,
    /// Features of which more never speaks for a benign flow; `linfa` does not know them.
    pub(super) rising: [bool; WIDTH],
}

/// Grows a tree over `picks` (indices into `x`, repeated as drawn) and `features`, and counts the picks in its leaves.
pub(super) fn grow(
    x: &[Scaled],
    positive: &[bool],
    picks: &[u32],
    features: &[u16],
    shape: Shape,
) -> Result<Vec<NodeRecord>, TrainError> {
    debug_assert!(picks.len() <= MAX_ROWS);
    let records = Array2::from_shape_fn((picks.len(), features.len()), |(row, column)| {
        x[picks[row] as usize][usize::from(features[column])]
    });
    let targets: Array1<bool> = picks.iter().map(|&row| positive[row as usize]).collect();
    let weights = targets.map(|&positive| if positive { 1.0 } else { NEGATIVE_WEIGHT });
    let data = Dataset::new(records, targets).with_weights(weights);
    let tree = DecisionTree::params()
        .split_quality(SplitQuality::Entropy)
        .max_depth(Some(shape.max_depth))
        .min_weight_leaf(shape.min_leaf)
        .min_weight_split(2.0 * shape.min_leaf)
        .fit(&data)
        .map_err(|error| TrainError::Library(error.to_string()))?;
    Ok(flatten(&tree, x, positive, picks, features))
}

/// Breadth first. `linfa` keeps only each leaf's class: the rows walk again, to be counted.
fn flatten(
    tree: &DecisionTree<f32, bool>,
    x: &[Scaled],
    positive: &[bool],
    picks: &[u32],
    features: &[u16],
) -> Vec<NodeRecord> {
    let mut out = Vec::new();
    let mut queue = VecDeque::from([(tree.root_node(), picks.to_vec())]);
    while let Some((mut node, rows)) = queue.pop_front() {
        let split = loop {
            let [Some(left), Some(right)] = node.children()[..] else {
                break None;
            };
            let (column, threshold, _) = node.split();
            let feature = features[column];
            let (low, high): (Vec<u32>, Vec<u32>) = rows
                .iter()
                .partition(|&&row| x[row as usize][usize::from(feature)] <= threshold);
            // A branch that no row takes is none.
            if low.is_empty() {
                node = right;
            } else if high.is_empty() {
                node = left;
            } else {
                break Some((feature, threshold, (left, low), (right, high)));
            }
        };
        if let Some((feature, threshold, (left, low), (right, high))) = split {
            out.push(NodeRecord::Split { feature, threshold });
            queue.push_back((left, low));
            queue.push_back((right, high));
        } else {
            let count = rows.iter().filter(|&&row| positive[row as usize]).count() as u32;
            out.push(NodeRecord::Leaf {
                positive: count,
                negative: rows.len() as u32 - count,
            });
        }
    }
    out
}
