//! Records of the event ring: a header, then one struct per kind. The decoder rejects what it does not know.

use crate::addr::Addr;
use crate::flow::{Direction, FlowKey, Half};
use crate::slot::{HEAD_TOLD, Head, Slot, whole};

/// Version of every record layout in this file; raised with any change.
pub const VERSION: u16 = 3;

/// Kind of a [`FlowRecord`].
pub const KIND_FLOW: u16 = 1;
/// Kind of a [`ReflexRecord`].
pub const KIND_REFLEX: u16 = 2;
/// Kind of a [`ReturnRecord`].
pub const KIND_RETURN: u16 = 3;
/// Kind of a [`SynFloodRecord`].
pub const KIND_SYN_FLOOD: u16 = 4;

/// Bit of [`ReflexRecord::crossed`]: packets.
pub const REFLEX_PACKETS: u32 = 1;
/// Bit of [`ReflexRecord::crossed`]: bytes.
pub const REFLEX_BYTES: u32 = 2;
/// Bit of [`ReflexRecord::crossed`]: SYNs.
pub const REFLEX_SYNS: u32 = 4;
/// Bit of [`ReflexRecord::crossed`]: distinct destination ports.
pub const REFLEX_PORTS: u32 = 8;
/// Bit of [`ReflexRecord::crossed`]: half-open handshakes.
pub const REFLEX_HALF_OPEN: u32 = 16;

/// First 8 bytes of every record, native byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `KIND_*`.
    pub kind: u16,
    /// [`VERSION`].
    pub version: u16,
    /// Length of the whole record, header included, bytes.
    pub len: u32,
}

/// What one direction of a flow did since its last record, on one CPU. 192 bytes.
///
/// Records add up: a flow slot that could not be reported keeps counting, and its next record has it all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRecord {
    /// [`KIND_FLOW`].
    pub header: Header,
    /// When the record was made: `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
    /// Which flow.
    pub key: FlowKey,
    /// What it counted.
    pub counts: Half,
    /// `STATE_*` of [`crate::flow`].
    pub state: u32,
    /// `CAUSE_*` of [`crate::flow`].
    pub cause: u32,
    /// [`crate::flow::INGRESS`] or [`crate::flow::EGRESS`].
    pub direction: u32,
    /// Interface index.
    pub ifindex: u32,
    /// Slot of the flow table, counted over all CPUs.
    pub slot: u32,
    /// Which filling of that slot, modulo 2^16.
    pub seq: u32,
}

impl FlowRecord {
    /// A record of `counts`, of no particular slot.
    pub fn new(key: FlowKey, direction: Direction, counts: Half, cause: u32, now_ns: u64) -> Self {
        Self {
            header: Self::HEADER,
            now_ns,
            key,
            counts,
            cause,
            direction: direction.number(),
            ..Self::default()
        }
    }

    /// What every such record begins with.
    pub const HEADER: Header = Header {
        kind: KIND_FLOW,
        version: VERSION,
        len: size_of::<Self>() as u32,
    };
}

impl Slot {
    /// Writes into a record what is to be told of a slot: whose it is, what it counted, its state.
    ///
    /// One field after the other, each from its place to its place: of a whole [`Slot::key`] or [`Slot::half`] the
    /// compiler would make copies.
    #[inline(always)]
    pub fn tell(&self, head: &Head, now_ns: u64, to: &mut FlowRecord) {
        let lately = self.lately();
        to.now_ns = now_ns;
        let [remote, local] = self.addresses();
        to.key.remote = Addr::from_halves(remote);
        to.key.local = Addr::from_halves(local);
        let FlowKey {
            remote_port,
            local_port,
            proto,
            flags,
            pad,
            ..
        } = self.key();
        to.key.remote_port = remote_port;
        to.key.local_port = local_port;
        to.key.proto = proto;
        to.key.flags = flags;
        to.key.pad = pad;
        to.counts.packets = u64::from(head.packets);
        to.counts.bytes = self.bytes + lately.bytes;
        to.counts.payload_bytes = self.payload_bytes + lately.payload_bytes;
        to.counts.squares = self.squares.wrapping_add(lately.squares);
        to.counts.first_ns = whole(self.first, now_ns);
        to.counts.last_ns = whole(head.last, now_ns);
        to.counts.zero_payload = self.zero_payload + lately.zero_payload;
        to.counts.fragments = u32::from(self.fragments);
        to.counts.syn = u32::from(self.syn);
        to.counts.synack = u32::from(self.synack);
        to.counts.fin = u32::from(self.fin);
        to.counts.rst = u32::from(self.rst);
        to.counts.psh = self.psh + lately.psh;
        to.counts.ack = self.acks(head.packets);
        to.counts.urg = u32::from(self.urg);
        to.counts.ecn = u32::from(self.ecn);
        to.counts.null = u32::from(self.null);
        to.counts.xmas = u32::from(self.xmas);
        to.counts.bare_fin = u32::from(self.bare_fin);
        to.counts.len_min = u32::from(self.len_min);
        to.counts.len_max = u32::from(self.len_max);
        to.counts.pad = 0;
        to.state = u32::from(head.state & HEAD_TOLD);
        to.direction = self.direction();
        to.ifindex = self.ifindex;
        to.seq = u32::from(head.seq);
    }
}

/// A source crossed a threshold of [`crate::settings::Reflex`]. 88 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReflexRecord {
    /// [`KIND_REFLEX`].
    pub header: Header,
    /// When: `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
    /// Who.
    pub remote: Addr,
    /// Until when the kernel limits the source by itself: `CLOCK_BOOTTIME`, ns; 0 where it does not.
    pub limited_until_ns: u64,
    /// L3 bytes in this window.
    pub bytes: u64,
    /// When the window began: `CLOCK_BOOTTIME`, ns.
    pub window_ns: u64,
    /// `REFLEX_*` bits: which thresholds, of those not reported in this window before.
    pub crossed: u32,
    /// Interface index.
    pub ifindex: u32,
    /// Packets in this window.
    pub packets: u32,
    /// SYNs in this window.
    pub syns: u32,
    /// Estimate of the distinct destination ports in this window.
    pub ports: u32,
    /// Handshakes begun and not completed in this window.
    pub half_open: u32,
    /// 1 where the limit only counts (simulation).
    pub shadow: u32,
    /// Zero.
    pub pad: u32,
}

/// A source on probation returned. 80 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReturnRecord {
    /// [`KIND_RETURN`].
    pub header: Header,
    /// When: `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
    /// Who: the very source, where the entry may be a prefix.
    pub remote: Addr,
    /// The decision whose probation it is: a UUID in network order.
    pub decision: [u8; 16],
    /// Until when the entry is in force again: `CLOCK_BOOTTIME`, ns; 0 where it is not.
    pub reapplied_until_ns: u64,
    /// Interface index.
    pub ifindex: u32,
    /// Length of the entry's prefix.
    pub prefix_len: u32,
    /// `ACTION_*` of the entry.
    pub action: u32,
    /// 1 where the entry only counts (simulation).
    pub shadow: u32,
    /// Zero.
    pub pad: u64,
}

/// A port came under a SYN flood, or out of it. 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynFloodRecord {
    /// [`KIND_SYN_FLOOD`].
    pub header: Header,
    /// When: `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
    /// The near side's address, as the packet at hand had it.
    pub local: Addr,
    /// Handshakes begun in the window.
    pub syns: u32,
    /// Handshakes completed in it.
    pub completed: u32,
    /// Interface index.
    pub ifindex: u32,
    /// The near side's port, host order.
    pub port: u16,
    /// 1 where it begins, 0 where it is over.
    pub under_flood: u8,
    /// 1 where SYNs are answered with cookies by the kernel programs.
    pub answered: u8,
    /// Zero.
    pub pad: [u64; 2],
}

const _: () = {
    assert!(size_of::<FlowRecord>() == 192);
    assert!(size_of::<ReflexRecord>() == 88);
    assert!(size_of::<ReturnRecord>() == 80);
    assert!(size_of::<SynFloodRecord>() == 64);
};

crate::pod!(Header, FlowRecord, ReflexRecord, ReturnRecord, SynFloodRecord);
