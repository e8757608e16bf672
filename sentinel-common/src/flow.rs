//! Flows as they are told of: the key, the counters of a direction, why there is a record.
//!
//! What one packet does to them is in [`crate::slot`], when there is a record in [`crate::table`], what one CPU tells
//! another in [`crate::talk`].

use crate::addr::Addr;
use crate::packet::PacketMeta;

/// IP protocol numbers (IANA) that the rule treats by name.
pub const PROTO_ICMP: u8 = 1;
/// TCP.
pub const PROTO_TCP: u8 = 6;
/// UDP.
pub const PROTO_UDP: u8 = 17;
/// ICMP for IPv6.
pub const PROTO_ICMPV6: u8 = 58;

/// Bit of [`FlowKey::flags`]: later fragments, which carry no ports.
pub const KEY_FRAGMENT: u8 = 1;

/// Who talks to whom, seen from the interface: `remote` is the source of what comes in. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The far side: source of ingress packets, destination of egress packets.
    pub remote: Addr,
    /// The near side.
    pub local: Addr,
    /// Port of the far side, host order; 0 for protocols without ports and for later fragments.
    pub remote_port: u16,
    /// Port of the near side, host order.
    pub local_port: u16,
    /// IP protocol number, after extension headers.
    pub proto: u8,
    /// `KEY_*` bits.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Direction of a packet as the interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Comes in: the source is the remote side.
    Ingress,
    /// Goes out: the destination is the remote side.
    Egress,
}

/// [`crate::event::FlowRecord::direction`]: remote to local.
pub const INGRESS: u32 = 0;
/// [`crate::event::FlowRecord::direction`]: local to remote.
pub const EGRESS: u32 = 1;

impl Direction {
    /// [`INGRESS`] or [`EGRESS`].
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Ingress => INGRESS,
            Self::Egress => EGRESS,
        }
    }
}

impl FlowKey {
    /// The key under which a packet is accounted.
    #[inline(always)]
    pub fn of(packet: &PacketMeta, direction: Direction) -> Self {
        let flags = if packet.later_fragment { KEY_FRAGMENT } else { 0 };
        let (remote, local, remote_port, local_port) = match direction {
            Direction::Ingress => (packet.src, packet.dst, packet.src_port, packet.dst_port),
            Direction::Egress => (packet.dst, packet.src, packet.dst_port, packet.src_port),
        };
        Self {
            remote,
            local,
            remote_port,
            local_port,
            proto: packet.proto,
            flags,
            pad: [0; 2],
        }
    }
}

/// Counters of one direction of a flow, over its life or since the last report. 112 bytes.
///
/// Lengths are L3 (IPv4 total length, IPv6 payload length + 40), so that they do not depend on the vantage point.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Half {
    /// Packets.
    pub packets: u64,
    /// L3 bytes.
    pub bytes: u64,
    /// L4 payload bytes.
    pub payload_bytes: u64,
    /// Sum of the squares of the L3 lengths.
    pub squares: u64,
    /// First packet: `CLOCK_BOOTTIME`, ns (4 ms steps live); 0 for none.
    pub first_ns: u64,
    /// Latest packet: `CLOCK_BOOTTIME`, ns.
    pub last_ns: u64,
    /// Packets without L4 payload.
    pub zero_payload: u32,
    /// Packets that were fragments.
    pub fragments: u32,
    /// TCP segments with SYN and without ACK.
    pub syn: u32,
    /// TCP segments with SYN and ACK.
    pub synack: u32,
    /// TCP segments with FIN.
    pub fin: u32,
    /// TCP segments with RST.
    pub rst: u32,
    /// TCP segments with PSH.
    pub psh: u32,
    /// TCP segments with ACK (SYN-ACK included).
    pub ack: u32,
    /// TCP segments with URG.
    pub urg: u32,
    /// TCP segments with ECE or CWR (RFC 3168).
    pub ecn: u32,
    /// TCP segments with no flag at all (NULL probe).
    pub null: u32,
    /// TCP segments with FIN, PSH and URG but no ACK (XMAS probe).
    pub xmas: u32,
    /// TCP segments with FIN alone (FIN probe: a real FIN carries ACK).
    pub bare_fin: u32,
    /// Shortest packet, L3 bytes, up to 65,535.
    pub len_min: u32,
    /// Longest packet likewise.
    pub len_max: u32,
    /// Zero.
    pub pad: u32,
}

impl Half {
    /// Adds what came later.
    pub fn absorb(&mut self, later: &Self) {
        if later.packets == 0 {
            return;
        }
        if self.packets == 0 {
            *self = *later;
            return;
        }
        self.packets += later.packets;
        self.bytes += later.bytes;
        self.payload_bytes += later.payload_bytes;
        self.squares = self.squares.wrapping_add(later.squares);
        self.first_ns = self.first_ns.min(later.first_ns);
        self.last_ns = self.last_ns.max(later.last_ns);
        self.len_min = self.len_min.min(later.len_min);
        self.len_max = self.len_max.max(later.len_max);
        for (sum, more) in self.counts_mut().into_iter().zip(later.counts()) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Takes away what was told of already: `told` is an earlier state of the same counters.
    pub fn subtract(&mut self, told: &Self) {
        self.packets = self.packets.saturating_sub(told.packets);
        self.bytes = self.bytes.saturating_sub(told.bytes);
        self.payload_bytes = self.payload_bytes.saturating_sub(told.payload_bytes);
        self.squares = self.squares.wrapping_sub(told.squares);
        if told.packets > 0 {
            self.first_ns = self.first_ns.max(told.last_ns);
        }
        for (sum, less) in self.counts_mut().into_iter().zip(told.counts()) {
            *sum = sum.saturating_sub(less);
        }
    }

    /// The plain counts.
    const fn counts(&self) -> [u32; 13] {
        [
            self.zero_payload,
            self.fragments,
            self.syn,
            self.synack,
            self.fin,
            self.rst,
            self.psh,
            self.ack,
            self.urg,
            self.ecn,
            self.null,
            self.xmas,
            self.bare_fin,
        ]
    }

    fn counts_mut(&mut self) -> [&mut u32; 13] {
        [
            &mut self.zero_payload,
            &mut self.fragments,
            &mut self.syn,
            &mut self.synack,
            &mut self.fin,
            &mut self.rst,
            &mut self.psh,
            &mut self.ack,
            &mut self.urg,
            &mut self.ecn,
            &mut self.null,
            &mut self.xmas,
            &mut self.bare_fin,
        ]
    }
}

/// State of a flow: our side sent first.
pub const STATE_OPENED_BY_EGRESS: u32 = 1;
/// State of a flow: the remote side acknowledged a sequence number only a receiver of our SYN or SYN-ACK can know:
/// its address is not forged.
pub const STATE_HANDSHAKE: u32 = 2;
/// State of a flow: a RST that our side would believe was seen. (A FIN from each side closes too; a record is of one
/// direction and shows one.)
pub const STATE_CLOSED: u32 = 4;
/// State of a flow: a record of this direction left before.
pub const STATE_REPORTED: u32 = 8;
/// State of a flow: the remote side is allowlisted.
pub const STATE_ALLOWED: u32 = 16;
/// State of a flow: UDP came from the remote side after we had sent something to it. Weaker than [`STATE_HANDSHAKE`]:
/// UDP has no number to acknowledge, so a sender who never sees our answers can set it by sending twice.
pub const STATE_ANSWERED: u32 = 32;

/// Why there is a record: the first packet of this direction.
pub const CAUSE_FIRST: u32 = 1;
/// Why there is a record: a FIN or a reset that is believed.
pub const CAUSE_CLOSE: u32 = 2;
/// Why there is a record: the reporting interval passed.
pub const CAUSE_PERIODIC: u32 = 3;
/// Why there is a record: it went quiet with packets unreported, and the agent fetched them.
pub const CAUSE_IDLE: u32 = 4;
/// Why there is a record: the handshake was completed.
pub const CAUSE_PROOF: u32 = 5;
/// Why there is a record: another flow took the slot.
pub const CAUSE_EVICTED: u32 = 6;

/// Both directions of a flow over its life, as far as records told. 232 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowValue {
    /// Remote to local.
    pub ingress: Half,
    /// Local to remote.
    pub egress: Half,
    /// `STATE_*` bits of both.
    pub state: u32,
    /// Zero.
    pub pad: u32,
}

impl FlowValue {
    /// Adds a record of one direction.
    pub fn absorb(&mut self, direction: u32, counts: &Half, state: u32) {
        let half = if direction == EGRESS {
            &mut self.egress
        } else {
            &mut self.ingress
        };
        half.absorb(counts);
        self.state |= state;
        if self.ingress.fin > 0 && self.egress.fin > 0 {
            self.state |= STATE_CLOSED;
        }
    }

    /// Time of the latest packet in either direction: `CLOCK_BOOTTIME`, ns.
    pub fn last_ns(&self) -> u64 {
        self.ingress.last_ns.max(self.egress.last_ns)
    }
}

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Half>() == 112);
};

crate::pod!(FlowKey, Half, FlowValue);
