//! A flow that is over, as it is told outside.

use super::{Ktime, Service};
use std::net::IpAddr;

/// How far a flow had come when it was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// Packets one way only.
    New,
    /// A TCP handshake, or packets both ways.
    Established,
    /// TCP: FIN from each side, or a RST.
    Closed,
}

impl FlowState {
    /// The name that Suricata has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Established => "established",
            Self::Closed => "closed",
        }
    }
}

/// A flow that was forgotten: quiet for `flow.idle_timeout`, or pushed out of a full table. Initiator first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEnd {
    /// Who opened it.
    pub source: IpAddr,
    /// Its port; for ICMP as the parser gives it (type and code, or their counterparts).
    pub source_port: u16,
    /// Whom it opened it to.
    pub target: Service,
    /// The initiator is on our side of the interface.
    pub from_inside: bool,
    /// Initiator to responder.
    pub packets_ahead: u64,
    /// L3 bytes of those.
    pub bytes_ahead: u64,
    /// Responder to initiator.
    pub packets_back: u64,
    /// L3 bytes of those.
    pub bytes_back: u64,
    /// First packet of either side.
    pub started: Ktime,
    /// Latest packet of either side.
    pub last: Ktime,
    /// How far it had come.
    pub state: FlowState,
}
