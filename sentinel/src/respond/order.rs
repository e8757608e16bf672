//! What the responder is told to do.

use crate::types::{Alert, CommandError, Decision, Investigation, Ktime, ProofRow};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why something is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time ran out.
    Expired,
    /// A person took it back.
    Operator,
    /// Its target became protected (a new address, gateway, resolver or allowlist entry).
    Guard,
    /// Another decision on the same target took its place.
    Superseded,
    /// What was found out about its target later spoke for it.
    Revised,
    /// It was provisional, and nothing confirmed it or something spoke against it.
    RolledBack,
    /// Another node took it back.
    Fleet,
    /// It belonged to an import that could not be carried out as a whole.
    Undone,
}

impl Cause {
    /// The name used in metrics and audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Operator => "operator",
            Self::Guard => "guard",
            Self::Superseded => "superseded",
            Self::Revised => "revised",
            Self::RolledBack => "rolled_back",
            Self::Fleet => "fleet",
            Self::Undone => "undone",
        }
    }
}

/// One order. Orders handed over together share one durable write before the deed and one after it.
#[derive(Debug)]
pub enum Order {
    /// Remember an alert that leads to nothing.
    Note(Arc<Alert>),
    /// Remember what was found out.
    Learn(Arc<Investigation>),
    /// Remember what the next decision followed from.
    Prove(Box<ProofRow>),
    /// Carry out a decision; also the way a vetoed or log-only decision is remembered.
    Apply {
        /// The decision.
        decision: Decision,
        /// The alert behind it, to be stored with it.
        alert: Option<Arc<Alert>>,
        /// Arrival of the packet that completed the evidence, to measure detection to first drop.
        evidence_at: Option<Ktime>,
        /// Who waits for the outcome.
        reply: Option<oneshot::Sender<Result<Decision, CommandError>>>,
    },
    /// Extend a provisional decision to its full end, which it has by now.
    Confirm {
        /// The decision.
        decision: Decision,
        /// Who confirms.
        actor: String,
        /// Why nothing speaks against it.
        why: String,
        /// Who waits for the outcome.
        reply: Option<oneshot::Sender<Result<Decision, CommandError>>>,
    },
    /// Take decisions back.
    Withdraw {
        /// Which ones, already marked with their new status.
        decisions: Vec<Decision>,
        /// Why.
        cause: Cause,
        /// Who.
        actor: String,
        /// Who waits for the outcome.
        reply: Option<oneshot::Sender<Result<Vec<Decision>, CommandError>>>,
    },
}
