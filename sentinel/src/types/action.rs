//! What was actually done, step by step: intent, outcome, undo.

use super::{ActionId, DecisionId, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What can be done about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Nothing but the record.
    LogOnly,
    /// Drop what exceeds a rate, in the kernel.
    RateLimit,
    /// Send its packets to a decoy, in the kernel.
    RedirectToHoneypot,
    /// Drop its packets in the kernel.
    BlockIp,
    /// The same, and disconnect the container that has the address from its networks.
    IsolateContainer,
}

impl ActionKind {
    /// Every kind, the mildest first: what is in force is never replaced by a milder kind on its own.
    pub const ALL: [Self; 5] = [
        Self::LogOnly,
        Self::RateLimit,
        Self::RedirectToHoneypot,
        Self::BlockIp,
        Self::IsolateContainer,
    ];

    /// The name used in configuration, metrics and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogOnly => "log_only",
            Self::RateLimit => "rate_limit",
            Self::RedirectToHoneypot => "redirect_to_honeypot",
            Self::BlockIp => "block_ip",
            Self::IsolateContainer => "isolate_container",
        }
    }

    /// What of a decision is carried out in the kernel: an isolation has its second half elsewhere, as an action of its own.
    #[must_use]
    pub const fn in_kernel(self) -> Self {
        match self {
            Self::IsolateContainer => Self::BlockIp,
            kind => kind,
        }
    }
}

/// How far an action got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionStatus {
    /// Written down, not yet done.
    Intent,
    /// Done, and read back from the kernel or the container engine.
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

/// One action of one decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Its name.
    pub id: ActionId,
    /// The decision it carries out.
    pub decision: DecisionId,
    /// What.
    pub kind: ActionKind,
    /// On whom.
    pub target: IpNet,
    /// How far it got.
    pub status: ActionStatus,
    /// When the intent was written.
    pub intent_at: Timestamp,
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
