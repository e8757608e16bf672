//! Decisions that are taken back unless they are confirmed, and what is said of them.

use super::{DecisionId, Timestamp};
use ipnet::IpNet;

/// A decision about a prefix that is in force and not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provisional {
    /// Its name.
    pub decision: DecisionId,
    /// What it is about.
    pub target: IpNet,
    /// When the kernel lets go of it by itself; names the window, since a graver decision has a new one.
    pub ends: Timestamp,
}

/// What a health probe came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// About which decision.
    pub decision: DecisionId,
    /// In which window: see [`Provisional::ends`].
    pub ends: Timestamp,
    /// Why nothing speaks against it, or what does; a sentence.
    pub outcome: Result<String, String>,
}
