//! What a builder gives.

use super::schema::Vector;
use crate::types::{Ktime, Service};
use std::net::IpAddr;

/// Why a flow is told of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// It goes on, but was watched for 3, 10 or 30 s.
    Mark,
    /// A FIN from each side or a RST, 1 s ago.
    Closed,
    /// Quiet for 15 s.
    Idle,
    /// It went on for 60 s; what follows counts from zero.
    Active,
    /// It had to make room, or began anew before its end was seen.
    Evicted,
    /// The traffic ended.
    End,
}

/// One flow's features, as of [`FeatureRecord::at`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureRecord {
    /// When this is told.
    pub at: Ktime,
    /// Who opened the flow.
    pub source: IpAddr,
    /// Its port; 0 for later fragments and protocols without ports.
    pub source_port: u16,
    /// Whom it opened it to.
    pub target: Service,
    /// Whoever opened it is on our side of the interface.
    pub from_inside: bool,
    /// First packet of either side that this is about.
    pub start: Ktime,
    /// Latest packet of either side.
    pub end: Ktime,
    /// Why now.
    pub cut: Cut,
    /// The flow was told of before. A flow has one record without it at most: its first.
    pub continued: bool,
    /// Packets of whoever opened the flow in this piece of it.
    pub packets: u64,
    /// The far side is allowlisted.
    pub allowed: bool,
    /// The numbers.
    pub vector: Vector,
}
