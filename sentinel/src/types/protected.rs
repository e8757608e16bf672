//! What may never be touched, and what the kernel counted for what was.

use super::{Prefix, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One address or prefix that no decision may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Protected {
    /// Address (as /32 or /128) or prefix.
    #[schema(value_type = Prefix)]
    pub target: IpNet,
    /// Name of the guard, as in [`super::Veto::guard`].
    pub guard: String,
    /// One sentence for people.
    pub reason: String,
}

/// What the kernel's block entry of one decision has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hits {
    /// Packets dropped.
    pub packets: u64,
    /// Their frame bytes.
    pub bytes: u64,
    /// Packets that would have been dropped.
    pub would_packets: u64,
    /// Their frame bytes.
    pub would_bytes: u64,
    /// When the first of them came.
    pub first_hit: Option<Timestamp>,
    /// When the latest of them came.
    pub last_hit: Option<Timestamp>,
}
