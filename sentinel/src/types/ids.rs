//! Identifiers: `UUIDv7` (RFC 9562), sortable by the time they were minted.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(/// Names an alert.
    AlertId);
id!(/// Names a decision; the kernel's block entry carries its 16 bytes.
    DecisionId);
id!(/// Names an action.
    ActionId);
id!(/// Names an investigation.
    InvestigationId);
id!(/// Names a message to a channel.
    MessageId);

/// Mints identifiers: random live, counted in replay so that the same capture gives the same bytes.
#[derive(Clone, Debug)]
pub enum Mint {
    /// Random tails.
    Random,
    /// Tails counted up from zero.
    Counted(u64),
}

impl Mint {
    fn uuid(&mut self, at: Timestamp) -> Uuid {
        let millis = at.unix_millis();
        match self {
            Self::Random => {
                let random = *Uuid::new_v4().as_bytes();
                let mut tail = [0; 10];
                tail.copy_from_slice(&random[6..]);
                uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
            }
            Self::Counted(next) => {
                let mut tail = [0; 10];
                tail[2..].copy_from_slice(&next.to_be_bytes());
                *next += 1;
                uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
            }
        }
    }

    /// A new alert's name.
    pub fn alert(&mut self, at: Timestamp) -> AlertId {
        AlertId(self.uuid(at))
    }

    /// A new decision's name.
    pub fn decision(&mut self, at: Timestamp) -> DecisionId {
        DecisionId(self.uuid(at))
    }

    /// A new action's name.
    pub fn action(&mut self, at: Timestamp) -> ActionId {
        ActionId(self.uuid(at))
    }

    /// A new message's name.
    pub fn message(&mut self, at: Timestamp) -> MessageId {
        MessageId(self.uuid(at))
    }

    /// A new investigation's name.
    pub fn investigation(&mut self, at: Timestamp) -> InvestigationId {
        InvestigationId(self.uuid(at))
    }
}
