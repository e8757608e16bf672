//! What rooms tell the rest of the house.

use super::{Action, Alert, Decision, Investigation};
use serde::Serialize;
use std::sync::Arc;

/// Something happened. Published after it became durable.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A detector spoke.
    Alert(Arc<Alert>),
    /// More became known of an alert's source.
    Investigation(Arc<Investigation>),
    /// A decision was taken, or its status changed.
    Decision(Arc<Decision>),
    /// An action got further.
    Action(Arc<Action>),
}

impl Event {
    /// The name used by `/stream?types=`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Alert(_) => "alert",
            Self::Investigation(_) => "investigation",
            Self::Decision(_) => "decision",
            Self::Action(_) => "action",
        }
    }
}

/// An event with its place in the live lane.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    /// Counts up from 1 at start.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
