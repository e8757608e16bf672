//! Whom an operator put on the allowlist, beside those of the settings.

use super::{Decision, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// Address (as /32 or /128) or prefix.
    pub target: IpNet,
    /// Why, in the operator's words.
    pub comment: String,
    /// Who put it there.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// Until when; for good where not said.
    pub expires_at: Option<Timestamp>,
}

impl Allowed {
    /// One sentence for explanations.
    pub fn reason(&self) -> String {
        let Self { comment, actor, .. } = self;
        match self.expires_at {
            Some(end) => format!("{comment} (put on the allowlist by {actor}, until {end})"),
            None => format!("{comment} (put on the allowlist by {actor})"),
        }
    }
}

/// What came of putting somebody on the allowlist.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllowDone {
    /// As it stands now.
    pub entry: Allowed,
    /// Whether it was there before and was changed.
    pub changed: bool,
    /// Decisions that it ended.
    pub ended: Vec<Decision>,
}
