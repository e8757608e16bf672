//! A vector to a verdict.

use super::calibration::Isotonic;
use super::conformal::Threshold;
use super::drift::Drift;
use super::error::Flaw;
use super::forest::Forest;
use super::record::{Reference, VariantRecord};
use super::svm::Svm;
use super::transform::{Scaled, scale};
use crate::features::{FEATURES, Vector, WIDTH};
use serde::Serialize;

/// A family's forest must say at least this, or the family is unknown.
const FAMILY_NEEDS: f64 = 0.5;
/// The largest discount there may be.
const MOST_OFF: f64 = 20.0;
/// What a flagged flow is called that is like none of the families.
pub const UNKNOWN: &str = "unknown";

/// Which directions a host sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// What comes in and what goes out.
    Both,
    /// Only what comes in: features that need the other direction are never read.
    Ingress,
}

impl Variant {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Both, Self::Ingress];

    /// As it is spelled.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Ingress => "ingress",
        }
    }

    /// Which features it may read.
    pub fn allowed(self) -> [bool; WIDTH] {
        std::array::from_fn(|at| self == Self::Both || !FEATURES[at].needs_egress)
    }
}

/// What a score reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing.
    Benign,
    /// One benign flow in a hundred does.
    Suspicious,
    /// One benign flow in a thousand does.
    Flag,
}

/// What is said of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The forest's answer, in (0, 1).
    pub forest: f64,
    /// The support vector machine's margin, where it was asked.
    pub margin: Option<f64>,
    /// What explanations sum to, in [0, 1]. Levels are held against it less the discount of the flow's kind, where there are any.
    pub score: f64,
    /// The score as the probability of an attack among flows like those of the training.
    pub probability: f64,
    /// What the score reached.
    pub level: Level,
}

/// A score of which so much was taken off its log-odds.
pub(crate) fn discounted(score: f64, discount: f64) -> f64 {
    /// As sure as a score is taken to be.
    const SURE: f64 = 1e-6;
    let score = score.clamp(SURE, 1.0 - SURE);
    1.0 / (1.0 + (1.0 - score) / score * discount.exp())
}

/// Of the answers of families' forests, by the families' numbers: the family that says most, of equal ones the first, if that
/// is ½ or more; and how much the most is, 0 where nobody says anything.
pub(crate) fn loudest(answers: impl IntoIterator<Item = (usize, f64)>) -> (Option<usize>, f64) {
    let (mut family, mut most) = (None, 0.0);
    for (number, answer) in answers {
        if answer > most {
            (family, most) = (Some(number), answer);
        }
    }
    (family.filter(|_| most >= FAMILY_NEEDS), most)
}

/// One variant of a model, ready to answer.
#[derive(Clone, Debug)]
pub struct Scorer {
    pub(super) variant: Variant,
    pub(super) forest: Forest,
    forest_calibration: Isotonic,
    pub(super) svm: Svm,
    pub(super) svm_weight: f64,
    gate: f64,
    calibration: Isotonic,
    levels: [Threshold; 2],
    families: Vec<(String, Forest)>,
    pub(super) reference: Reference,
    discounts: Vec<f64>,
}

/// What is said of a flow, with what it is held by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement<'a> {
    /// What is said.
    pub verdict: Verdict,
    /// What levels are held against: the score, less the discount of its kind.
    pub held: f64,
    /// What it would be called if flagged.
    pub named: &'a str,
}

impl Scorer {
    /// Checks the record and lays it out.
    ///
    /// # Errors
    /// The first flaw found.
    pub fn build(variant: Variant, record: &VariantRecord) -> Result<Self, Flaw> {
        let allowed = variant.allowed();
        if !(0.0..1.0).contains(&record.svm_weight) || !(0.0..=1.0).contains(&record.gate) {
            return Err(Flaw::Part("the second opinion's share or gate is not in [0, 1)"));
        }
        record.forest_calibration.check()?;
        record.calibration.check()?;
        record.levels.iter().try_for_each(Threshold::check)?;
        if record.levels[0].alpha <= record.levels[1].alpha {
            return Err(Flaw::Part("the levels are not in order"));
        }
        record.reference.check()?;
        if !(record.discounts.is_empty() || record.discounts.len() == record.families.len() + 1) {
            return Err(Flaw::Part("there is not one discount for each family and for none"));
        }
        if !record
            .discounts
            .iter()
            .all(|discount| (0.0..=MOST_OFF).contains(discount))
        {
            return Err(Flaw::Part("a discount is out of range"));
        }
        let family = |f: &super::record::FamilyRecord| Ok((f.name.clone(), Forest::build(&f.forest, &allowed)?));
        Ok(Self {
            variant,
            forest: Forest::build(&record.forest, &allowed)?,
            forest_calibration: record.forest_calibration.clone(),
            svm: Svm::build(&record.svm, &allowed)?,
            svm_weight: record.svm_weight,
            gate: record.gate,
            calibration: record.calibration.clone(),
            levels: record.levels,
            families: record.families.iter().map(family).collect::<Result<_, Flaw>>()?,
            reference: record.reference.clone(),
            discounts: record.discounts.clone(),
        })
    }

    /// What is said of a flow. Never fails: what is no number counts as 0.
    pub fn verdict(&self, vector: &Vector) -> Verdict {
        self.verdict_of(&scale(vector))
    }

    /// The same of a vector already scaled.
    pub fn verdict_of(&self, x: &Scaled) -> Verdict {
        let forest = self.forest.score(x);
        let margin = (forest >= self.gate && self.svm_weight > 0.0).then(|| self.svm.margin(x));
        let score = self.combine(forest, margin);
        let held = self.held(score, || self.kind_of(forest, || self.kind(x).0));
        let reached = |level: usize| self.levels[level].is_exceeded(held);
        Verdict {
            forest,
            margin,
            score,
            probability: self.calibration.apply(score),
            level: match (reached(0), reached(1)) {
                (_, true) => Level::Flag,
                (true, false) => Level::Suspicious,
                _ => Level::Benign,
            },
        }
    }

    /// (1 − w)·forest + w·P(margin): linear, so that what features add to the forest's answer adds to the score. Where
    /// the machine is not asked its share is nothing, the least it could be.
    fn combine(&self, forest: f64, margin: Option<f64>) -> f64 {
        let second = margin.map_or(0.0, |margin| self.svm.probability(margin));
        (1.0 - self.svm_weight) * forest + self.svm_weight * second
    }

    /// From which answer of the forest on the machine is asked.
    pub(crate) const fn set_gate(&mut self, gate: f64) {
        self.gate = gate;
    }

    /// The forest's answer alone as a probability.
    pub fn forest_probability(&self, forest: f64) -> f64 {
        self.forest_calibration.apply(forest)
    }

    /// What kind of attack a flagged flow is, with the answer of that family's forest; [`UNKNOWN`] if none says at
    /// least ½.
    pub fn family(&self, vector: &Vector) -> (&str, f64) {
        let (kind, score) = self.kind(&scale(vector));
        (self.name(kind), score)
    }

    /// The family's number, or as many as there are.
    fn kind(&self, x: &Scaled) -> (usize, f64) {
        let answers = self.families.iter().map(|(_, forest)| forest.score(x));
        let (family, most) = loudest(answers.enumerate());
        (family.unwrap_or(self.families.len()), most)
    }

    fn name(&self, kind: usize) -> &str {
        self.families.get(kind).map_or(UNKNOWN, |(name, _)| name)
    }

    /// The kind a score is held by: whatever the machine is not asked about is like none.
    fn kind_of(&self, forest: f64, kind: impl FnOnce() -> usize) -> usize {
        if forest >= self.gate {
            kind()
        } else {
            self.families.len()
        }
    }

    /// What levels are held against.
    fn held(&self, score: f64, kind: impl FnOnce() -> usize) -> f64 {
        if self.discounts.is_empty() {
            score
        } else {
            discounted(score, self.discounts[kind()])
        }
    }

    /// What is said of a flow, and by what.
    pub fn judge(&self, vector: &Vector) -> Judgement<'_> {
        let x = scale(vector);
        let verdict = self.verdict_of(&x);
        let kind = self.kind(&x).0;
        let held = self.held(verdict.score, || self.kind_of(verdict.forest, || kind));
        Judgement {
            verdict,
            held,
            named: self.name(kind),
        }
    }

    /// What levels are held against, of a vector already scaled.
    pub(super) fn held_of(&self, x: &Scaled) -> f64 {
        let verdict = self.verdict_of(x);
        self.held(verdict.score, || self.kind_of(verdict.forest, || self.kind(x).0))
    }

    /// The kind a flow is held by, where that counts.
    pub(super) fn like(&self, x: &Scaled) -> Option<&str> {
        let kind = || self.kind_of(self.forest.score(x), || self.kind(x).0);
        (!self.discounts.is_empty()).then(|| self.name(kind()))
    }

    /// The score above which flows of this one's kind reach a level; none where nothing does, as [`Level::Benign`].
    pub fn threshold_of(&self, vector: &Vector, level: Level) -> Option<f64> {
        let threshold = match level {
            Level::Benign => None,
            Level::Suspicious => self.levels[0].score,
            Level::Flag => self.levels[1].score,
        }?;
        if self.discounts.is_empty() {
            return Some(threshold);
        }
        let x = scale(vector);
        let kind = self.kind_of(self.forest.score(&x), || self.kind(&x).0);
        Some(discounted(threshold, -self.discounts[kind]))
    }

    /// What is taken off the log-odds of a score by what a flow is like, of none of the families last; nothing where levels were
    /// set by the network's own flows.
    pub fn discounts(&self) -> impl Iterator<Item = (&str, f64)> {
        let names = self.families().chain([UNKNOWN]);
        names.zip(self.discounts.iter().copied())
    }

    /// Families told apart.
    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.families.iter().map(|(name, _)| name.as_str())
    }

    /// Suspicious and flag.
    pub const fn levels(&self) -> &[Threshold; 2] {
        &self.levels
    }

    /// Which variant it is.
    pub const fn variant(&self) -> Variant {
        self.variant
    }

    /// Trees of the forest and support vectors of the machine.
    pub fn size(&self) -> (usize, usize) {
        (self.forest.trees(), self.svm.support_vectors())
    }

    /// Counters of drift against this variant's reference.
    pub fn drift(&self) -> Drift {
        Drift::new(&self.reference, [self.levels[0].alpha, self.levels[1].alpha])
    }
}
