//! A forest of binary trees in flat arrays.

use super::error::Flaw;
use super::transform::Scaled;
use crate::features::WIDTH;
use serde::{Deserialize, Serialize};

/// Trees that are walked side by side, so that waits for memory overlap; the number of trees of each forest is a multiple of it
/// by default, so that none is left to be walked alone.
const LANES: usize = 10;
/// Deeper trees are refused: it bounds how deep an explanation calls itself.
pub const MAX_DEPTH: usize = 48;

/// A node as the artefact holds it. Nodes of a tree stand breadth first, so that the k-th split's children are the
/// nodes 2k + 1 and 2k + 2.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum NodeRecord {
    /// Left when the scaled feature is at most the threshold.
    Split {
        /// Index into the schema.
        feature: u16,
        /// In scaled units.
        threshold: f32,
    },
    /// Training rows that ended here.
    Leaf {
        /// Of the class asked for.
        positive: u32,
        /// Of all others.
        negative: u32,
    },
}

/// Trees as the artefact holds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForestRecord {
    /// Each breadth first.
    pub trees: Vec<Vec<NodeRecord>>,
}

/// A leaf leads to itself: its threshold is infinite and its left child its own number. Eight bytes, since a verdict is
/// hardly more than waiting for a thousand of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) threshold: f32,
    /// Left child and feature.
    place: u32,
}

/// Bits of [`Node::place`] that are the feature's.
const FEATURE_BITS: u32 = 6;
/// As many features as these bits tell apart: of an array this long none is out of reach.
const REACH: usize = 1 << FEATURE_BITS;
const _: () = assert!(WIDTH <= REACH);

impl Node {
    /// None where there are more nodes than its bits tell apart.
    fn new(threshold: f32, left: usize, feature: u16) -> Option<Self> {
        let left = u32::try_from(left)
            .ok()
            .filter(|left| *left < u32::MAX >> FEATURE_BITS)?;
        Some(Self {
            threshold,
            place: left << FEATURE_BITS | u32::from(feature),
        })
    }

    /// The left child; the right one is next to it.
    pub(super) const fn left(self) -> usize {
        (self.place >> FEATURE_BITS) as usize
    }

    pub(super) const fn feature(self) -> usize {
        self.place as usize % REACH
    }

    fn next(self, x: &[f32; REACH]) -> usize {
        self.left() + usize::from(x[self.feature()] > self.threshold)
    }
}

/// Values for [`Node::next`].
fn within_reach(x: &Scaled) -> [f32; REACH] {
    let mut out = [0.0; REACH];
    out[..WIDTH].copy_from_slice(x);
    out
}

/// A forest that answers: the mean over its trees of the share of the class asked for in the leaf, with Laplace's
/// correction (n₊ + 1)/(n + 2) (Provost and Domingos, "Tree induction for probability-based ranking", 2003).
#[derive(Clone, Debug)]
pub struct Forest {
    pub(super) roots: Vec<usize>,
    pub(super) nodes: Vec<Node>,
    /// Expected answer below each node, weighted by training rows.
    pub(super) values: Vec<f64>,
    /// Training rows that passed each node.
    pub(super) covers: Vec<f64>,
    pub(super) depth: usize,
    /// Different features on any way from a root to a leaf, at most.
    pub(super) features_of_a_way: usize,
    base: f64,
}

impl Forest {
    /// Checks the record and lays it out.
    ///
    /// # Errors
    /// A forest without trees, a tree that is none, a feature the schema or the variant does not have, a threshold
    /// that is no number, an empty leaf, or a tree deeper than [`MAX_DEPTH`].
    pub fn build(record: &ForestRecord, allowed: &[bool; WIDTH]) -> Result<Self, Flaw> {
        let mut forest = Self {
            roots: Vec::with_capacity(record.trees.len()),
            nodes: Vec::new(),
            values: Vec::new(),
            covers: Vec::new(),
            depth: 0,
            features_of_a_way: 0,
            base: 0.0,
        };
        if record.trees.is_empty() {
            return Err(Flaw::Forest("has no trees"));
        }
        for tree in &record.trees {
            forest.add(tree, allowed)?;
        }
        let sum: f64 = forest.roots.iter().map(|&root| forest.values[root]).sum();
        forest.base = sum / forest.roots.len() as f64;
        Ok(forest)
    }

    fn add(&mut self, tree: &[NodeRecord], allowed: &[bool; WIDTH]) -> Result<(), Flaw> {
        let start = self.nodes.len();
        let splits = tree.iter().filter(|n| matches!(n, NodeRecord::Split { .. })).count();
        if tree.len() != 2 * splits + 1 {
            return Err(Flaw::Forest("has a tree whose nodes do not fit together"));
        }
        let node = |threshold, left, feature| {
            Node::new(threshold, left, feature).ok_or(Flaw::Forest("has more nodes than can be told apart"))
        };
        let mut depths = vec![0usize; tree.len()];
        // A bit for each feature that was asked for above a node.
        let mut asked = vec![0u64; tree.len()];
        let mut next = 1;
        for (at, &record) in tree.iter().enumerate() {
            match record {
                NodeRecord::Split { feature, threshold } => {
                    if next <= at {
                        return Err(Flaw::Forest("has a tree whose nodes do not fit together"));
                    }
                    if !allowed.get(usize::from(feature)).copied().unwrap_or(false) {
                        return Err(Flaw::Forest("asks for a feature it may not have"));
                    }
                    if !threshold.is_finite() {
                        return Err(Flaw::NotFinite("a threshold of a tree"));
                    }
                    self.nodes.push(node(threshold, start + next, feature)?);
                    self.values.push(0.0);
                    self.covers.push(0.0);
                    for child in [next, next + 1] {
                        depths[child] = depths[at] + 1;
                        asked[child] = asked[at] | 1 << feature;
                    }
                    self.depth = self.depth.max(depths[next]);
                    next += 2;
                }
                NodeRecord::Leaf { positive, negative } => {
                    let (positive, negative) = (f64::from(positive), f64::from(negative));
                    if positive + negative == 0.0 {
                        return Err(Flaw::Forest("has an empty leaf"));
                    }
                    self.nodes.push(node(f32::INFINITY, start + at, 0)?);
                    self.values.push((positive + 1.0) / (positive + negative + 2.0));
                    self.covers.push(positive + negative);
                    self.features_of_a_way = self.features_of_a_way.max(asked[at].count_ones() as usize);
                }
            }
        }
        if next != tree.len() {
            return Err(Flaw::Forest("has a tree whose nodes do not fit together"));
        }
        if self.depth > MAX_DEPTH {
            return Err(Flaw::Forest("has a tree that is too deep"));
        }
        // Children stand behind their parents: backwards, both are known before their parent is asked.
        for at in (start..self.nodes.len()).rev() {
            if !self.is_leaf(at) {
                let left = self.nodes[at].left();
                let cover = self.covers[left] + self.covers[left + 1];
                let sum = self.covers[left] * self.values[left] + self.covers[left + 1] * self.values[left + 1];
                self.covers[at] = cover;
                self.values[at] = sum / cover;
            }
        }
        self.roots.push(start);
        Ok(())
    }

    /// Trees.
    pub fn trees(&self) -> usize {
        self.roots.len()
    }

    /// The answer before anything is known of the flow: its mean over the training rows. In [0, 1].
    pub const fn base(&self) -> f64 {
        self.base
    }

    pub(super) fn is_leaf(&self, at: usize) -> bool {
        self.nodes[at].left() == at
    }

    fn leaf(&self, root: usize, x: &[f32; REACH]) -> usize {
        let mut at = root;
        loop {
            let next = self.nodes[at].next(x);
            if next == at {
                return at;
            }
            at = next;
        }
    }

    /// The forest's answer, in (0, 1).
    pub fn score(&self, x: &Scaled) -> f64 {
        let x = &within_reach(x);
        let (sides, rest) = self.roots.as_chunks::<LANES>();
        let mut sum = 0.0;
        for roots in sides {
            let mut at = *roots;
            let mut moved = true;
            while moved {
                moved = false;
                for lane in &mut at {
                    let next = self.nodes[*lane].next(x);
                    moved |= next != *lane;
                    *lane = next;
                }
            }
            sum += at.iter().map(|&leaf| self.values[leaf]).sum::<f64>();
        }
        sum += rest.iter().map(|&root| self.values[self.leaf(root, x)]).sum::<f64>();
        sum / self.roots.len() as f64
    }

    /// The answer of one tree, in (0, 1).
    pub fn score_of_tree(&self, tree: usize, x: &Scaled) -> f64 {
        self.values[self.leaf(self.roots[tree], &within_reach(x))]
    }

    /// What each feature adds on the way from the root to the leaf, averaged over the trees (Saabas, "Interpreting
    /// random forests", 2014). [`Forest::base`] and these sum to [`Forest::score`].
    pub fn path_contributions(&self, x: &Scaled) -> [f64; WIDTH] {
        let x = &within_reach(x);
        let mut out = [0.0; WIDTH];
        for &root in &self.roots {
            let mut at = root;
            loop {
                let node = self.nodes[at];
                let next = node.next(x);
                if next == at {
                    break;
                }
                out[node.feature()] += self.values[next] - self.values[at];
                at = next;
            }
        }
        let trees = self.roots.len() as f64;
        for share in &mut out {
            *share /= trees;
        }
        out
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use NodeRecord::{Leaf, Split};

    pub(in crate::model) const ALL: [bool; WIDTH] = [true; WIDTH];

    fn split(feature: u16, threshold: f32) -> NodeRecord {
        Split { feature, threshold }
    }

    fn leaf(positive: u32, negative: u32) -> NodeRecord {
        Leaf { positive, negative }
    }

    /// Two trees over three features; the second is uneven and asks for one feature twice.
    pub(in crate::model) fn small() -> ForestRecord {
        ForestRecord {
            trees: vec![
                vec![split(2, 1.0), leaf(0, 8), split(3, 2.0), leaf(3, 1), leaf(9, 0)],
                vec![
                    split(3, 3.0),
                    split(2, 0.5),
                    leaf(7, 1),
                    leaf(1, 9),
                    split(3, 1.0),
                    leaf(2, 2),
                    leaf(0, 5),
                ],
            ],
        }
    }

    fn x(two: f32, three: f32) -> Scaled {
        let mut x = [0.0; WIDTH];
        (x[2], x[3]) = (two, three);
        x
    }

    #[test]
    fn rows_end_in_the_leaf_their_values_lead_to() {
        let forest = Forest::build(&small(), &ALL).unwrap();
        let cases = [
            (x(1.0, 0.0), 1.0 / 10.0, 3.0 / 6.0),
            (x(1.1, 2.0), 4.0 / 6.0, 1.0 / 7.0),
            (x(0.0, 9.0), 1.0 / 10.0, 8.0 / 10.0),
            (x(2.0, 2.5), 10.0 / 11.0, 1.0 / 7.0),
        ];
        for (x, first, second) in cases {
            assert!((forest.score(&x) - f64::midpoint(first, second)).abs() < 1e-12);
            assert!((forest.score_of_tree(1, &x) - second).abs() < 1e-12);
        }
        assert_eq!((forest.trees(), forest.depth), (2, 3));
    }

    #[test]
    fn trees_side_by_side_answer_as_trees_one_by_one() {
        let mut record = small();
        while record.trees.len() < 19 {
            record.trees.extend(small().trees);
        }
        let forest = Forest::build(&record, &ALL).unwrap();
        for (two, three) in [(0.0, 0.0), (2.0, 2.5), (0.4, 1.5), (5.0, 5.0)] {
            let x = x(two, three);
            let one_by_one: f64 = (0..forest.trees()).map(|tree| forest.score_of_tree(tree, &x)).sum();
            assert!((forest.score(&x) - one_by_one / forest.trees() as f64).abs() < 1e-12);
        }
    }

    #[test]
    fn path_contributions_sum_to_the_score() {
        let forest = Forest::build(&small(), &ALL).unwrap();
        for (two, three) in [(0.0, 0.0), (2.0, 2.5), (0.4, 1.5), (5.0, 5.0)] {
            let x = x(two, three);
            let sum: f64 = forest.path_contributions(&x).iter().sum();
            assert!((forest.base() + sum - forest.score(&x)).abs() < 1e-12);
        }
    }

    #[test]
    fn records_that_are_no_trees_are_refused() {
        let mut few = ALL;
        few[3] = false;
        let broken = [
            vec![],
            vec![split(2, 1.0)],
            vec![split(2, 1.0), leaf(1, 1)],
            vec![leaf(1, 1), split(2, 1.0), leaf(1, 1)],
            vec![leaf(1, 1), leaf(1, 1), leaf(1, 1)],
            vec![leaf(0, 0)],
            vec![split(WIDTH as u16, 1.0), leaf(1, 1), leaf(1, 1)],
            vec![split(u16::MAX, 1.0), leaf(1, 1), leaf(1, 1)],
            vec![split(3, 1.0), leaf(1, 1), leaf(1, 1)],
            vec![split(2, f32::NAN), leaf(1, 1), leaf(1, 1)],
            vec![split(2, f32::INFINITY), leaf(1, 1), leaf(1, 1)],
        ];
        for tree in broken {
            let record = ForestRecord {
                trees: vec![tree.clone()],
            };
            assert!(Forest::build(&record, &few).is_err(), "{tree:?} was taken");
        }
        assert!(Forest::build(&ForestRecord::default(), &ALL).is_err());
        // A chain: each split's left child is a leaf, the right one the next split.
        let chain: Vec<_> = std::iter::once(split(2, 1.0))
            .chain((0..MAX_DEPTH).flat_map(|_| [leaf(1, 1), split(2, 1.0)]))
            .chain([leaf(1, 1), leaf(1, 1)])
            .collect();
        assert!(Forest::build(&ForestRecord { trees: vec![chain] }, &ALL).is_err());
    }
}
