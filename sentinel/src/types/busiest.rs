//! Who moves most just now: flows, or whoever opened them.

use super::{Address, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// What busiest means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BusyBy {
    /// L3 bytes both ways, since the flow began.
    Bytes,
    /// Packets both ways, since the flow began.
    Packets,
    /// L3 bytes a second both ways, of the last seconds.
    Rate,
}

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BusyPer {
    /// Each flow.
    Flow,
    /// Each address that opened flows, all of them together.
    Source,
}

/// A question: of what, only flows with an end in this prefix, and where the answer goes.
pub type BusyRequest = (BusyPer, Option<IpNet>, oneshot::Sender<Arc<Busiest>>);

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Moved {
    /// Packets from whoever opened the flow.
    pub packets_sent: u64,
    /// L3 bytes likewise.
    pub bytes_sent: u64,
    /// Packets to whoever opened the flow.
    pub packets_received: u64,
    /// L3 bytes likewise.
    pub bytes_received: u64,
    /// Packets a second both ways, of the last 4 to 8 s, or since the flow began where that is less.
    pub packets_per_second: f64,
    /// L3 bytes a second likewise.
    pub bytes_per_second: f64,
}

/// A flow of the agent's table.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a flow, read by name"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BusyFlow {
    /// Who opened it.
    #[schema(value_type = Address)]
    pub source: IpAddr,
    /// Its port; 0 for protocols without.
    pub source_port: u16,
    /// Whom it opened it to.
    #[schema(value_type = Address)]
    pub destination: IpAddr,
    /// Its port; 0 for protocols without.
    pub destination_port: u16,
    /// IP protocol number.
    pub proto: u8,
    /// The near side of the interface opened it.
    pub from_inside: bool,
    /// In both directions.
    #[serde(flatten)]
    pub moved: Moved,
    /// First packet.
    pub first_seen: Timestamp,
    /// Latest packet that was reported.
    pub last_seen: Timestamp,
    /// TCP: the handshake was completed.
    pub established: bool,
    /// TCP: it is over.
    pub closed: bool,
    /// The far side is on the allowlist.
    pub allowlisted: bool,
}

/// An address with the flows that it opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BusySource {
    /// Whose.
    #[schema(value_type = Address)]
    pub source: IpAddr,
    /// How many are in the table.
    pub flows: u64,
    /// Of these over.
    pub closed: u64,
    /// In both directions, summed.
    #[serde(flatten)]
    pub moved: Moved,
    /// First packet of any.
    pub first_seen: Timestamp,
    /// Latest packet of any.
    pub last_seen: Timestamp,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Busy {
    /// Of flows.
    Flow(BusyFlow),
    /// Of sources.
    Source(BusySource),
}

/// The busiest of one kind, in each order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Busiest {
    /// When it was looked.
    pub at: Timestamp,
    /// Flows in the table.
    pub flows: u64,
    /// Of these were looked at, the most recently active ones.
    pub looked_at: u64,
    /// How many there are of what was asked for among them.
    pub total: u64,
    /// Most bytes first.
    pub by_bytes: Vec<Busy>,
    /// Most packets first.
    pub by_packets: Vec<Busy>,
    /// Most bytes a second first.
    pub by_rate: Vec<Busy>,
}

impl Busiest {
    /// The order asked for.
    pub fn by(&self, by: BusyBy) -> &[Busy] {
        match by {
            BusyBy::Bytes => &self.by_bytes,
            BusyBy::Packets => &self.by_packets,
            BusyBy::Rate => &self.by_rate,
        }
    }
}
