//! What an operator asks of learn mode, and what there is to say of it.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnWish {
    /// Collect the site's benign flows from now on; what was collected before is let go of.
    Start,
    /// How far it is.
    Status,
    /// Set the thresholds by what was collected, and end the collecting.
    Accept,
    /// Let go of what was collected.
    Discard,
}

/// A wish, and where the answer goes.
pub type LearnRequest = (LearnWish, oneshot::Sender<Result<Learning, LearnError>>);

/// How learn mode is, and what model judges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Learning {
    /// Since when flows are collected; none while they are not.
    pub since: Option<Timestamp>,
    /// When this went on after a restart of the agent; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Timestamp>,
    /// What an operator should know of what is collected: that it would not survive a restart, or did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Flow records seen meanwhile.
    pub seen: u64,
    /// Benign ones in hand: of more than there is room for, each had the same chance to stay.
    pub kept: u64,
    /// Records left out: of allowlisted sources, and of those a detector accused meanwhile, what they did before included.
    pub left_out: u64,
    /// Sources accused within the last hour.
    pub suspects: u64,
    /// Suspicious and flag: what is still missing for each.
    pub levels: Vec<LearningLevel>,
    /// SHA-256 of the model that judges, hexadecimal.
    pub model: String,
    /// Flows of this site set the threshold that flags. While they did not, the model says nothing.
    pub calibrated: bool,
    /// Suspicious and flag: what the model that judges was promised and has held since it judges.
    pub realised: Vec<RealisedLevel>,
    /// What the last whole hour said of drift; none before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftTold>,
}

/// Whether traffic is still what the thresholds were set by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DriftTold {
    /// Until when flows were counted.
    pub at: Timestamp,
    /// Flow records counted.
    pub flows: u64,
    /// It no longer is.
    pub alarm: bool,
    /// The numbers that moved most, each with its population stability index; 0.2 and more is another population.
    pub moved: Vec<(String, f64)>,
    /// What to do about it.
    pub advice: String,
}

/// What a level needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LearningLevel {
    /// `suspicious` or `flag`.
    pub name: String,
    /// Share of benign flows that may reach it.
    pub alpha: f64,
    /// Benign flows still missing for it.
    pub missing: u64,
}

/// What share of flows reached a level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RealisedLevel {
    /// `suspicious` or `flag`.
    pub name: String,
    /// Share of benign flows that may reach it.
    pub alpha: f64,
    /// Flow records of sources not under suspicion that were judged.
    pub judged: u64,
    /// Of these reached it.
    pub reached: u64,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// Nothing is being collected.
    #[error("nothing is being learnt; begin with `sentinel learn start`")]
    NotLearning,
    /// For the level that alerts are made of.
    #[error("{have} benign flows were seen and {missing} more are needed; leave it on for longer")]
    TooFew {
        /// Benign flows in hand.
        have: u64,
        /// How many more.
        missing: u64,
    },
    /// The model is switched off.
    #[error("there is no model to teach: set `detect.model.enabled: true`")]
    NoModel,
    /// It could not be made or kept. The model that judged still does.
    #[error("the thresholds could not be kept, and the old ones still hold: {0}")]
    Failed(String),
}
