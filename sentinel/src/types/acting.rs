//! Whether anything is carried out at all.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// A person's word that nothing is to be carried out until further notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stop {
    /// Since when.
    pub at: Timestamp,
    /// Who said so.
    pub actor: String,
    /// Why, in that person's words.
    pub reason: String,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, actor, reason } = self;
        write!(f, "acting was stopped by {actor} at {at} ({reason})")
    }
}

/// Whether decisions are carried out. While they are not, entries count what they would have done, whatever they say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acting {
    /// Who stopped it, where it is stopped.
    pub stopped: Option<Stop>,
}
