//! Flows: the key, the counters of each direction, and the rule that updates them and says when to report.
//!
//! The rule is pure: the kernel runs it on every packet that passes, replay runs it on every packet of a capture.

use crate::addr::Addr;
use crate::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Comes in: the source is the remote side.
    Ingress,
    /// Goes out: the destination is the remote side.
    Egress,
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

/// Counters of one direction of a flow. 96 bytes.
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
    /// TCP segments with no flag at all (NULL probe).
    pub null: u32,
    /// TCP segments with FIN, PSH and URG but no ACK (XMAS probe).
    pub xmas: u32,
    /// TCP segments with FIN alone (FIN probe: a real FIN carries ACK).
    pub bare_fin: u32,
    /// Zero.
    pub pad: u32,
    /// Shortest packet, L3 bytes.
    pub len_min: u32,
    /// Longest packet, L3 bytes.
    pub len_max: u32,
}

impl Half {
    /// Adds one packet.
    #[inline(always)]
    pub fn add(&mut self, packet: &PacketMeta, now_ns: u64) {
        let segments = if packet.segments > 1 { packet.segments } else { 1 };
        // A frame that leaves as several packets repeats its headers in each; the longest is what counts as length.
        let headers = packet.l3_len.saturating_sub(packet.payload_len);
        let l3_len = if segments == 1 {
            packet.l3_len
        } else {
            headers + packet.payload_len.div_ceil(segments)
        };
        if self.packets == 0 {
            self.first_ns = now_ns;
            self.len_min = l3_len;
            self.len_max = l3_len;
        }
        self.packets += u64::from(segments);
        self.bytes += u64::from(packet.l3_len) + u64::from(segments - 1) * u64::from(headers);
        self.payload_bytes += u64::from(packet.payload_len);
        self.last_ns = now_ns;
        self.zero_payload += u32::from(packet.payload_len == 0);
        self.fragments += u32::from(packet.fragment);
        if l3_len < self.len_min {
            self.len_min = l3_len;
        }
        if l3_len > self.len_max {
            self.len_max = l3_len;
        }
        if packet.proto == PROTO_TCP && !packet.later_fragment {
            let flags = packet.tcp_flags;
            let has = |bit: u8| u32::from(flags & bit != 0);
            self.syn += u32::from(flags & (TCP_SYN | TCP_ACK) == TCP_SYN);
            self.synack += u32::from(flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK);
            self.fin += has(TCP_FIN);
            self.rst += has(TCP_RST);
            self.psh += has(TCP_PSH);
            self.ack += if flags & TCP_ACK != 0 { segments } else { 0 };
            let probe = flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG);
            // A header cut short has no flags to read, and no ports: it is no probe.
            self.null += u32::from(probe == 0 && packet.src_port | packet.dst_port != 0);
            self.xmas += u32::from(probe == TCP_FIN | TCP_PSH | TCP_URG);
            self.bare_fin += u32::from(probe == TCP_FIN);
        }
    }
}

/// Bit of [`FlowValue::state`]: the first packet seen went out.
pub const STATE_OPENED_BY_EGRESS: u32 = 1;
/// Bit of [`FlowValue::state`]: the remote side acknowledged a sequence number only a receiver of our
/// SYN or SYN-ACK can know: its address is not forged.
pub const STATE_HANDSHAKE: u32 = 2;
/// Bit of [`FlowValue::state`]: a FIN from each side, or a RST that our side would believe, was seen.
pub const STATE_CLOSED: u32 = 4;
/// Bit of [`FlowValue::state`]: at least one report left the kernel.
pub const STATE_REPORTED: u32 = 8;
/// Bit of [`FlowValue::state`]: the remote side is allowlisted.
pub const STATE_ALLOWED: u32 = 16;
/// Bit of [`FlowValue::state`]: [`FlowValue::expect_ack`] is set.
pub const STATE_EXPECT_ACK: u32 = 32;

/// How far ahead of our acknowledgement a reset of an established connection may be, for what is on its way: bytes.
const RESET_WINDOW: u32 = 1 << 20;

/// Why a flow was reported: the first packet of the flow.
pub const CAUSE_FIRST: u32 = 1;
/// Why a flow was reported: it closed.
pub const CAUSE_CLOSE: u32 = 2;
/// Why a flow was reported: the reporting interval passed.
pub const CAUSE_PERIODIC: u32 = 3;
/// Why a flow was reported: it went quiet with packets unreported, and the agent fetched them.
pub const CAUSE_IDLE: u32 = 4;

/// Everything remembered of one flow. 216 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowValue {
    /// Remote to local.
    pub ingress: Half,
    /// Local to remote.
    pub egress: Half,
    /// When it was last reported: `CLOCK_BOOTTIME`, ns; 0 for never.
    pub reported_ns: u64,
    /// Acknowledgement number the remote side must send to complete the handshake; once that is done, the sequence
    /// number it is to go on from, by our latest acknowledgement.
    pub expect_ack: u32,
    /// `STATE_*` bits.
    pub state: u32,
    /// Interface index.
    pub ifindex: u32,
    /// Packets of both directions at the last report, modulo 2^32.
    pub reported_packets: u32,
}

impl Half {
    /// Nothing seen.
    pub const EMPTY: Self = Self {
        packets: 0,
        bytes: 0,
        payload_bytes: 0,
        first_ns: 0,
        last_ns: 0,
        zero_payload: 0,
        fragments: 0,
        syn: 0,
        synack: 0,
        fin: 0,
        rst: 0,
        psh: 0,
        ack: 0,
        null: 0,
        xmas: 0,
        bare_fin: 0,
        pad: 0,
        len_min: 0,
        len_max: 0,
    };
}

impl FlowValue {
    /// Nothing seen.
    pub const EMPTY: Self = Self {
        ingress: Half::EMPTY,
        egress: Half::EMPTY,
        reported_ns: 0,
        expect_ack: 0,
        state: 0,
        ifindex: 0,
        reported_packets: 0,
    };

    /// Adds one packet and says whether the flow should be reported now, and why (`CAUSE_*`).
    ///
    /// Not atomic: where two CPUs handle packets of one direction of one flow in the same nanoseconds (a socket shared
    /// by threads, a card that spreads one flow over queues), an increment may be lost, and a `STATE_*` bit may be set
    /// one packet late. Receive queues and the stack keep a flow on one CPU, so in practice the counts are exact;
    /// atomic ones would cost every packet more than everything else here together.
    ///
    /// The caller reports, and on success calls [`FlowValue::mark_reported`]; a report that could not be
    /// sent is thus tried again with the next packet, unless it was the close of the flow.
    #[inline(always)]
    pub fn update(&mut self, packet: &PacketMeta, direction: Direction, now_ns: u64, interval_ns: u64) -> Option<u32> {
        let fresh = self.ingress.packets + self.egress.packets == 0;
        let mut closed = false;
        match direction {
            Direction::Ingress => {
                self.ingress.add(packet, now_ns);
                if self.state & (STATE_EXPECT_ACK | STATE_HANDSHAKE) == STATE_EXPECT_ACK
                    && packet.tcp_flags & (TCP_ACK | TCP_RST) == TCP_ACK
                    && packet.tcp_ack == self.expect_ack
                {
                    self.state |= STATE_HANDSHAKE;
                    self.expect_ack = packet.tcp_seq.wrapping_add(packet.payload_len);
                }
            }
            Direction::Egress => {
                if fresh {
                    self.state |= STATE_OPENED_BY_EGRESS;
                }
                self.egress.add(packet, now_ns);
                if self.state & STATE_HANDSHAKE != 0 && packet.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_ACK {
                    self.expect_ack = packet.tcp_ack;
                } else if packet.proto == PROTO_TCP && packet.tcp_flags & TCP_SYN != 0 {
                    self.expect_ack = packet.tcp_seq.wrapping_add(1);
                    self.state |= STATE_EXPECT_ACK;
                }
            }
        }
        if self.state & STATE_CLOSED == 0 && packet.proto == PROTO_TCP {
            let both_fin = self.ingress.fin > 0 && self.egress.fin > 0;
            // Our own stack ignores a reset from nowhere near where the remote side is (RFC 5961, 3): it is forged.
            let stray = matches!(direction, Direction::Ingress)
                && self.state & STATE_HANDSHAKE != 0
                && packet.tcp_seq.wrapping_sub(self.expect_ack) > RESET_WINDOW;
            if both_fin || packet.tcp_flags & TCP_RST != 0 && !stray {
                self.state |= STATE_CLOSED;
                closed = true;
            }
        }
        if closed {
            Some(CAUSE_CLOSE)
        } else if self.state & STATE_REPORTED == 0 {
            Some(CAUSE_FIRST)
        } else if now_ns.saturating_sub(self.reported_ns) >= interval_ns {
            Some(CAUSE_PERIODIC)
        } else {
            None
        }
    }

    /// Notes that the state up to now was reported.
    #[inline(always)]
    pub fn mark_reported(&mut self, now_ns: u64) {
        self.state |= STATE_REPORTED;
        self.reported_ns = now_ns;
        self.reported_packets = (self.ingress.packets + self.egress.packets) as u32;
    }

    /// Packets of both directions that no report has told of yet, modulo 2^32.
    #[inline(always)]
    pub fn unreported(&self) -> u32 {
        ((self.ingress.packets + self.egress.packets) as u32).wrapping_sub(self.reported_packets)
    }

    /// Time of the latest packet in either direction: `CLOCK_BOOTTIME`, ns.
    #[inline(always)]
    pub fn last_ns(&self) -> u64 {
        if self.ingress.last_ns > self.egress.last_ns {
            self.ingress.last_ns
        } else {
            self.egress.last_ns
        }
    }
}

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Half>() == 96);
    assert!(size_of::<FlowValue>() == 216);
};

crate::pod!(FlowKey, Half, FlowValue);
