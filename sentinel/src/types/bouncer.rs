//! How far a program has come that carries our decisions out elsewhere.

use super::{Decision, TokenId};
use serde::{Deserialize, Serialize};

/// What such a program was told up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The last change of a decision it heard of, by order of arrival.
    pub change: i64,
    /// Whether anything was carried out then; while acting is stopped, nothing is in force.
    pub acting: bool,
}

/// How far one has come. An answer may be lost on its way, so what came after the answer before the last is told again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bouncer {
    /// The token it presents.
    pub token: TokenId,
    /// As of the answer before the last.
    pub before: Told,
    /// As of the last answer.
    pub last: Told,
}

/// A decision with its number: whole, stable and never given to another while it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// Its number in order of arrival.
    pub number: i64,
    /// The decision.
    pub decision: Decision,
}

/// A decision that came or changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// As it is now.
    pub now: Numbered,
    /// It came since; otherwise it was there before.
    pub came: bool,
    /// What else is in force on exactly the same target.
    pub beside: Vec<Numbered>,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The latest change there was.
    pub latest: i64,
    /// Each decision that came or changed, the earliest change first.
    pub each: Vec<Change>,
    /// There were more than are told; these are the latest.
    pub cut: bool,
}
