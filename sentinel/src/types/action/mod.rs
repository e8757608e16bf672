//! What was actually done, step by step: intent, outcome, undo.

mod kind;

pub use kind::{ActionKind, Needs};

use super::{ActionId, DecisionId, Prefix, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an outcome has between what was done and how that is not what was meant: a hook that cannot do it whole.
pub const OTHERWISE: &str = "; but ";

/// What the outcome of an isolation has after the name of a container that was removed while it was cut off.
pub const UNTIL_REMOVED: &str = " was cut off until it was removed";

/// How far an action got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionStatus {
    /// Written down, not yet done.
    Intent,
    /// Done, and read back from the kernel, the container engine or Bettercap.
    Enforced,
    /// Written to the kernel as a shadow entry that only counts, and read back.
    Simulated,
    /// Not done; the outcome says why.
    Failed,
    /// Undone by a person or a guard, and read back.
    Reverted,
    /// Its time ran out, and the entry is gone.
    Expired,
}

impl ActionStatus {
    /// Whether something of it is, or may be, in force.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::Intent | Self::Enforced | Self::Simulated)
    }
}

/// One action of one decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// Its name.
    pub id: ActionId,
    /// The decision it carries out.
    pub decision: DecisionId,
    /// What.
    pub kind: ActionKind,
    /// On whom.
    #[schema(value_type = Prefix)]
    pub target: IpNet,
    /// How far it got.
    pub status: ActionStatus,
    /// When the intent was written.
    pub intent_at: Timestamp,
    /// When its entry was first read back from where it is carried out; nothing of what is done beside the kernel, and
    /// of what an agent before this field had carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered_at: Option<Timestamp>,
    /// When the latest outcome was known.
    pub outcome_at: Option<Timestamp>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// What happened, for people; names the enforcer.
    pub outcome: String,
    /// Packets dropped or redirected so far (live) or in all (ended); of a rate limit, those beyond the rate.
    pub hits: u64,
    /// Packets that would have been, for simulated actions.
    pub would_hits: u64,
}

impl Action {
    /// Whether it is known that the container it cut off was removed: nothing is left to be put back.
    #[must_use]
    pub fn removed(&self) -> bool {
        self.kind == ActionKind::IsolateContainer && self.outcome.contains(UNTIL_REMOVED)
    }
}
