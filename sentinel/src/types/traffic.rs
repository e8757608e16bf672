//! A flow as the traffic log has it.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// What a flow's score reached, by this network's thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrafficLevel {
    /// Nothing.
    Benign,
    /// One benign flow in a hundred does.
    Suspicious,
    /// One benign flow in a thousand does.
    Flag,
}

impl TrafficLevel {
    /// The name used in the log and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Suspicious => "suspicious",
            Self::Flag => "flag",
        }
    }
}

/// One row of the traffic log. A flow that goes on has several.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TrafficRow {
    /// When it was told.
    pub at: Timestamp,
    /// Who saw it.
    #[schema(examples("xdp"))]
    pub sensor: String,
    /// Who opened the flow.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Its port; 0 for protocols without ports.
    pub source_port: u16,
    /// Whom it opened it to.
    #[schema(value_type = String)]
    pub destination: IpAddr,
    /// The port there.
    pub destination_port: u16,
    /// IP protocol number.
    pub proto: u8,
    /// First packet that this is about.
    pub first_seen: Timestamp,
    /// Latest packet that this is about.
    pub last_seen: Timestamp,
    /// The flow has an earlier row.
    pub continued: bool,
    /// Packets of whoever opened it.
    pub packets_sent: u64,
    /// L3 bytes of those.
    pub bytes_sent: u64,
    /// Packets that came back.
    pub packets_received: u64,
    /// L3 bytes of those.
    pub bytes_received: u64,
    /// What the model said, in [0, 1]; `null` where none judged.
    pub score: Option<f64>,
    /// What the score reached; `null` where the model is not calibrated for this network.
    pub level: Option<TrafficLevel>,
}
