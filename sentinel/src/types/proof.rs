//! What a decision followed from, as it is kept.

use super::{DecisionId, Timestamp};
use std::sync::Arc;

/// What one decision followed from, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRow {
    /// Whose.
    pub decision: DecisionId,
    /// When it was judged.
    pub at: Timestamp,
    /// SHA-256 of `ground`.
    pub sha256: [u8; 32],
    /// What held for all decisions then, JSON; kept once.
    pub ground: Arc<str>,
    /// What held for this one, JSON.
    pub proof: String,
}
