//! A forest made to know a site, without the rows it was trained on.
//!
//! The trees keep their splits; the site's benign flows walk down them and are counted in the leaves beside the training
//! rows. Where a site does what attackers did elsewhere, the leaf's share of attacks falls. Re-estimating leaves is the
//! cheap half of transferring a forest (Segev et al., "Learn on source, refine on target", IEEE TPAMI 2017).

use crate::model::{ForestRecord, NodeRecord, Scaled};

/// A forest with benign flows counted in: together they weigh `share` of each tree's benign training rows.
pub(super) fn adapt(forest: &ForestRecord, benign: &[&Scaled], share: f64) -> ForestRecord {
    let trees = forest.trees.iter().map(|tree| adapt_tree(tree, benign, share));
    ForestRecord { trees: trees.collect() }
}

fn adapt_tree(tree: &[NodeRecord], benign: &[&Scaled], share: f64) -> Vec<NodeRecord> {
    let mut children = vec![0; tree.len()];
    let mut next = 1;
    let mut known = 0.0;
    for (child, node) in children.iter_mut().zip(tree) {
        match node {
            NodeRecord::Split { .. } => {
                *child = next;
                next += 2;
            }
            NodeRecord::Leaf { negative, .. } => known += f64::from(*negative),
        }
    }
    let mut counts = vec![0u64; tree.len()];
    for x in benign {
        let mut at = 0;
        while let NodeRecord::Split { feature, threshold } = tree[at] {
            at = children[at] + usize::from(x[usize::from(feature)] > threshold);
        }
        counts[at] += 1;
    }
    let weight = share * known / benign.len().max(1) as f64;
    let mut out = tree.to_vec();
    for (node, count) in out.iter_mut().zip(counts) {
        if let NodeRecord::Leaf { negative, .. } = node {
            *negative = negative.saturating_add((count as f64 * weight).round() as u32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::WIDTH;

    #[test]
    fn leaves_that_the_site_reaches_lose_and_others_stay() {
        let leaf = |positive, negative| NodeRecord::Leaf { positive, negative };
        let split = |feature, threshold| NodeRecord::Split { feature, threshold };
        let forest = ForestRecord {
            trees: vec![vec![
                split(2, 1.0),
                leaf(1, 30),
                split(3, 1.0),
                leaf(40, 6),
                leaf(20, 4),
            ]],
        };
        let mut x = [0.0; WIDTH];
        (x[2], x[3]) = (2.0, 0.5);
        let adapted = adapt(&forest, &[&x, &x], 0.5);
        // Two flows weigh half of 40 benign training rows.
        assert_eq!(adapted.trees[0][3], leaf(40, 26));
        assert_eq!((adapted.trees[0][1], adapted.trees[0][4]), (leaf(1, 30), leaf(20, 4)));
        assert_eq!(adapt(&forest, &[], 0.5), forest);
    }
}
