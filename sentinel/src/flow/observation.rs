//! What the table says about a flow, seen from whoever opened it.

use super::{SourceWindow, Tally};
use crate::types::{Ktime, Service};
use sentinel_common::flow::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use std::net::IpAddr;

/// Why there is an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The flow's first packet. Little is known yet.
    First,
    /// The reporting interval passed.
    Periodic,
    /// The flow closed.
    Close,
    /// The flow went quiet, and what had not been reported was fetched.
    Idle,
    /// No record: the time to answer ran out (or the table had to forget the flow before it did).
    TimedOut,
}

/// A TCP segment no stack sends unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stealth {
    /// FIN alone.
    Fin,
    /// No flag.
    Null,
    /// FIN, PSH, URG.
    Xmas,
    /// A bare ACK out of nowhere that only a RST answered.
    Ack,
    /// FIN and ACK out of nowhere that only a RST answered (Maimon, Phrack 49, 1996).
    Maimon,
    /// Other flags without SYN, ACK or RST, such as URG alone.
    Odd,
}

/// What became of an attempt to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not decided yet, or nothing to decide.
    Open,
    /// Nothing but segments without SYN, ACK and RST, or a lone ACK that met a RST.
    Probe(Stealth),
    /// RST instead of SYN-ACK.
    Refused,
    /// No packet back within the time to answer.
    Unanswered,
    /// SYN-ACK came back, and the initiator reset or never finished the handshake.
    HalfOpen,
    /// Handshake completed, then closed without a word from the initiator.
    Empty,
    /// Payload from the initiator after a completed handshake; for other protocols: packets both ways.
    Talked,
}

impl Fate {
    /// Whether somebody who looks for open doors leaves this behind.
    pub const fn failed(self) -> bool {
        matches!(self, Self::Probe(_) | Self::Refused | Self::Unanswered | Self::HalfOpen)
    }
}

/// One flow, initiator to responder, as of now.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a flow, read by name"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Arrival of the packet (or end of the wait) that this is about.
    pub at: Ktime,
    /// Why now.
    pub cause: Cause,
    /// Who opened the flow.
    pub source: IpAddr,
    /// Its port.
    pub source_port: u16,
    /// Whom it opened it to.
    pub target: Service,
    /// The initiator is on our side of the interface.
    pub from_inside: bool,
    /// Initiator to responder, cumulative.
    pub forward: Tally,
    /// Responder to initiator, cumulative.
    pub reverse: Tally,
    /// Initiator to responder since the previous observation.
    pub forward_delta: Tally,
    /// Responder to initiator likewise.
    pub reverse_delta: Tally,
    /// Longest packet of the initiator, L3 bytes.
    pub forward_len_max: u32,
    /// First packet of either side.
    pub started: Ktime,
    /// Latest packet of either side.
    pub last: Ktime,
    /// The far side proved that it receives what is sent to its address.
    pub remote_proven: bool,
    /// TCP: the handshake was completed.
    pub completed: bool,
    /// `completed` became true with this observation.
    pub completed_now: bool,
    /// TCP: FIN from each side, or a RST.
    pub closed: bool,
    /// `closed` became true with this observation.
    pub closed_now: bool,
    /// First observation of this flow.
    pub new: bool,
    /// The far side is allowlisted.
    pub allowed: bool,
    /// What became of it.
    pub fate: Fate,
    /// `fate` changed with this observation.
    pub fate_now: bool,
    /// UDP: opened while the initiator held a completed TCP connection to the same service (`iperf3 -u`).
    pub companion: bool,
    /// What the initiator did in the last minute, this observation included.
    pub window: SourceWindow,
}

impl Observation {
    /// Whether this is TCP.
    pub fn tcp(&self) -> bool {
        self.target.proto == PROTO_TCP
    }

    /// Whether this is UDP.
    pub fn udp(&self) -> bool {
        self.target.proto == PROTO_UDP
    }

    /// Whether this is ICMP or ICMPv6.
    pub fn icmp(&self) -> bool {
        matches!(self.target.proto, PROTO_ICMP | PROTO_ICMPV6)
    }
}
