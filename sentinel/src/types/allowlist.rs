//! Whom an operator put on the allowlist, beside those of the settings.

use super::{Decision, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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

/// A wish for an entry. When it ends follows from when it is taken, by the clock of whoever takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAllowed {
    /// Address or prefix.
    pub target: IpNet,
    /// Why, in the operator's words.
    pub comment: String,
    /// Who asks.
    pub actor: String,
    /// For how long; for good where not said.
    pub duration: Option<Duration>,
}

impl NewAllowed {
    /// The entry, where it is taken at `now`.
    pub fn entry(self, now: Timestamp) -> Allowed {
        Allowed {
            target: self.target,
            comment: self.comment,
            actor: self.actor,
            at: now,
            expires_at: self.duration.map(|length| now.after(length)),
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
