//! What a vector means: a score, a probability, a level, a family, and why.
//!
//! In: vectors of `features`, and a model's bytes. Out: verdicts, explanations that sum to the score, counterfactuals,
//! drift. Invariant: the same bytes and the same vector give the same answer; bytes are used whole and checked, or not
//! at all. Deliberately elsewhere: how a model comes to be (`train`), reading files, what follows from a verdict.

mod artefact;
pub mod calibration;
pub mod conformal;
mod counterfactual;
pub mod drift;
mod earlier;
mod error;
mod explain;
mod forest;
pub mod record;
pub mod reference;
mod scorer;
mod shap;
mod svm;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transform;

pub use artefact::{MAX_BYTES, Model};
pub use counterfactual::{Change, Counterfactual};
pub use error::{ArtefactError, Flaw};
pub use explain::{Contribution, Explanation, Method, SecondOpinion, number, with_unit};
pub use forest::{Forest, ForestRecord, MAX_DEPTH, NodeRecord};
pub use scorer::{Judgement, Level, Scorer, UNKNOWN, Variant, Verdict};
pub(crate) use scorer::{discounted, loudest};
pub use svm::{Neighbour, SupportVector, Svm, SvmRecord};
pub use transform::{MAX_VALUE, Scaled, scale, scale_one, unscale_one};
