//! What production would have done: counters of simulated entries, and who stood in their way.

use super::{DecisionId, Hits, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What the entry of a decision has met, over all runs of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Of this decision.
    pub decision: DecisionId,
    /// As of then.
    pub at: Timestamp,
    /// Sums since the decision was taken.
    pub hits: Hits,
    /// The kernel's counters that went into them, which begin anew with every entry.
    pub seen: Hits,
}

/// A source under a simulated decision that had established sessions while it was in force: TCP whose handshake was
/// completed, other protocols with packets both ways. On the way to the store: what came since the last word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bystander {
    /// The decision that would have touched it.
    pub decision: DecisionId,
    /// Its address.
    pub ip: IpAddr,
    /// Sessions.
    pub sessions: u64,
    /// When the first of them was seen to be established.
    pub first: Timestamp,
    /// When the latest of them was.
    pub last: Timestamp,
}
