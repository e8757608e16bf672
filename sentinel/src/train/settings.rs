//! How a model is trained.

use super::error::TrainError;
use super::{svm, tree};
use crate::features::WIDTH;

/// How a model is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Trees of the forest.
    pub trees: usize,
    /// Rows drawn for each, half of either class; at most 8192.
    pub rows_per_tree: usize,
    /// Share of the features that each may read.
    pub feature_share: f64,
    /// Of these, so many are drawn in each node; 0: trees are those of `linfa-trees`, which look at all of them.
    pub node_features: usize,
    /// How many ports, hosts and flows a source reached never speaks for a benign flow.
    pub monotone: bool,
    /// Share of the units (groups, or tenths of their time) that each sees.
    pub in_bag: f64,
    /// Deepest a tree may be.
    pub max_depth: usize,
    /// Fewest rows in a leaf.
    pub min_leaf: f32,
    /// A stratum (origin and label) of n rows weighs n to this power.
    pub stratum_power: f64,
    /// Trees of each family's forest.
    pub family_trees: usize,
    /// Rows of the support vector machine; at most 10,000.
    pub svm_rows: usize,
    /// Its kernel's width: γ = this / features.
    pub svm_gamma: f64,
    /// Its cost of a row on the wrong side.
    pub svm_cost: f64,
    /// Its share of the score; 0 chooses one by held-out rows.
    pub svm_weight: f64,
    /// Shares of benign flows beyond suspicious and flag.
    pub alphas: [f64; 2],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trees: 100,
            rows_per_tree: 8000,
            feature_share: 1.0,
            node_features: 3,
            monotone: true,
            in_bag: 0.7,
            max_depth: 18,
            min_leaf: 1.0,
            stratum_power: 0.5,
            family_trees: 20,
            svm_rows: 2000,
            svm_gamma: 1.0,
            svm_cost: 10.0,
            svm_weight: 0.05,
            alphas: [0.01, 0.001],
        }
    }
}

impl Settings {
    /// Sets one by `name=value`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for names and values that are none.
    pub fn set(&mut self, assignment: &str) -> Result<(), TrainError> {
        let wrong = |what: String| TrainError::Setting(format!("--set {assignment}: {what}"));
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| wrong("is not NAME=VALUE".into()))?;
        let number: f64 = value
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite() && *n >= 0.0)
            .ok_or_else(|| wrong("is no number".into()))?;
        match name {
            "trees" => self.trees = number as usize,
            "rows_per_tree" => self.rows_per_tree = number as usize,
            "feature_share" => self.feature_share = number,
            "node_features" => self.node_features = number as usize,
            "monotone" => self.monotone = number != 0.0,
            "in_bag" => self.in_bag = number,
            "max_depth" => self.max_depth = number as usize,
            "min_leaf" => self.min_leaf = number as f32,
            "stratum_power" => self.stratum_power = number,
            "family_trees" => self.family_trees = number as usize,
            "svm_rows" => self.svm_rows = number as usize,
            "svm_gamma" => self.svm_gamma = number,
            "svm_cost" => self.svm_cost = number,
            "svm_weight" => self.svm_weight = number,
            _ => {
                return Err(wrong(
                    "no such setting; there are trees, rows_per_tree, feature_share, node_features, monotone, in_bag, max_depth, min_leaf, \
                     stratum_power, family_trees, svm_rows, svm_gamma, svm_cost, \
                     svm_weight"
                        .into(),
                ));
            }
        }
        self.check()
    }

    pub(super) fn check(&self) -> Result<(), TrainError> {
        let wrong = |what: &str| Err(TrainError::Setting(what.to_owned()));
        if self.trees == 0 || self.trees > 1000 || self.family_trees == 0 || self.family_trees > 1000 {
            return wrong("the number of trees is not in 1…1000");
        }
        if self.rows_per_tree < 20 || self.rows_per_tree > tree::MAX_ROWS {
            return wrong("the number of rows a tree is not in 20…8192");
        }
        if self.svm_rows < 20 || self.svm_rows > svm::MAX_ROWS {
            return wrong("the number of rows of the support vector machine is not in 20…10000");
        }
        if self.max_depth == 0 || self.max_depth > 32 {
            return wrong("the depth is not in 1…32");
        }
        let shares = [self.feature_share, self.in_bag];
        if shares.iter().any(|share| !(*share > 0.0 && *share <= 1.0)) || self.in_bag >= 1.0 {
            return wrong("a share is not in (0, 1]; some units must stay out of the bag");
        }
        if self.node_features > WIDTH {
            return wrong("a node cannot draw more features than there are");
        }
        if self.svm_weight >= 1.0 {
            return wrong("the support vector machine's share is not in [0, 1)");
        }
        if !(self.svm_gamma > 0.0 && self.svm_cost > 0.0 && self.min_leaf >= 1.0 && self.stratum_power <= 2.0) {
            return wrong("gamma, cost and rows in a leaf must be positive, the stratum power at most 2");
        }
        Ok(())
    }

    pub(super) fn told(&self) -> Vec<(String, String)> {
        let named: [(&str, String); 15] = [
            ("trees", self.trees.to_string()),
            ("rows per tree", self.rows_per_tree.to_string()),
            ("features per tree", self.feature_share.to_string()),
            (
                "features per node (0: all of the tree's)",
                self.node_features.to_string(),
            ),
            ("monotone counts of sources", self.monotone.to_string()),
            ("units in the bag", self.in_bag.to_string()),
            ("depth", self.max_depth.to_string()),
            ("rows in a leaf", self.min_leaf.to_string()),
            ("stratum power", self.stratum_power.to_string()),
            ("trees per family", self.family_trees.to_string()),
            ("SVM rows", self.svm_rows.to_string()),
            ("SVM gamma x features", self.svm_gamma.to_string()),
            ("SVM cost", self.svm_cost.to_string()),
            ("SVM weight (0: by held-out rows)", self.svm_weight.to_string()),
            ("levels", format!("{} and {}", self.alphas[0], self.alphas[1])),
        ];
        named.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }
}
