//! The flow table's memory: what is kept of one direction of a flow as one CPU sees it, and how a packet is counted.
//!
//! A bucket has four places. Their heads share a cache line, so that finding a flow, choosing which one makes room, and
//! the agent's search for flows gone quiet each read one line of a bucket; a plain packet touches one more, others two.
//! A CPU writes only buckets of its own, so nothing here is atomic.

use crate::addr::{Addr, mapped};
use crate::flow::{Direction, FlowKey, Half, KEY_FRAGMENT, PROTO_TCP};
use crate::hash::{Ends, FLAGS_SHIFT, apart, kind};
use crate::hint::NO_EPOCH;
use crate::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG};

/// Places in a bucket.
pub const WAYS: usize = 4;

/// Shift from nanoseconds to the units of [`Head::last`] and [`Slot::reported`]: 65.5 µs, which wrap after 78 hours.
pub const UNIT_SHIFT: u32 = 16;
/// Silence after which a flow is forgotten: the same 5-tuple then is another flow. 60 s in units.
pub const IDLE_UNITS: u32 = (60_000_000_000_u64 >> UNIT_SHIFT) as u32;
/// For how long after its latest packet an established flow keeps its place against newcomers. 30 s in units.
pub const KEEP_UNITS: u32 = (30_000_000_000_u64 >> UNIT_SHIFT) as u32;
/// How far the clocks of two interfaces on one CPU may differ, in units: a jiffy, 10 ms at most.
pub(crate) const SKEW_UNITS: u32 = 256;

/// Bit of the flags in [`Slot::kind`] beside `KEY_*`: the slot counts what goes out.
pub const SLOT_EGRESS: u8 = 2;
/// Bit of them: both addresses are IPv4 ones, so that their last four bytes tell them apart.
pub const SLOT_V4: u8 = 4;

/// Bit of them: its packets go the whole way, whatever they are like ([`crate::plain`]). Whether two slots are the same flow's
/// does not hang on it.
pub const SLOT_WAITS: u8 = 8;

/// Bit of [`Head::state`] beside the low `STATE_*`: more than one packet was seen.
pub const HEAD_BUSY: u16 = 1 << 8;
/// Bit of [`Head::state`]: the conversation has no more to tell ([`crate::talk`]).
pub const HEAD_SETTLED: u16 = 1 << 9;
/// Bit of [`Head::state`]: a FIN was seen.
pub const HEAD_FIN: u16 = 1 << 10;
/// Bit of [`Head::state`] of a bucket's first place, whoever holds it: a flow of this bucket may be in the other one of its
/// two ([`crate::hash::beside`]). It stays.
pub const HEAD_BESIDE: u16 = 1 << 11;
/// Bits of [`Head::state`] that a record carries.
pub const HEAD_TOLD: u16 = 0xff;

/// ECE and CWR (RFC 3168).
const TCP_ECN: u8 = 0xc0;

/// What is needed to find a slot, to choose one, and to see that it fell silent. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Odd part of the key's hash; 0 where the slot is empty. No two of a bucket are equal.
    pub tag: u32,
    /// Latest packet, in units of 2^[`UNIT_SHIFT`] ns of `CLOCK_BOOTTIME`.
    pub last: u32,
    /// Packets since the last record. One flow on one CPU cannot reach 2^31 within a reporting interval, and reports
    /// or gives them up beyond.
    pub packets: u32,
    /// Which filling of the slot this is: a record or another flow begins the next.
    pub seq: u16,
    /// Low byte of `STATE_*` and `HEAD_*`.
    pub state: u16,
}

/// One direction of a flow: key and counters since the last record. 128 bytes: what plain packets ask and count ends with
/// the first cache line.
///
/// Counts of flags have 16 bits, those of probes 8: a record is due when one is half full, and where none gets through for
/// as many packets again, the count stays at its maximum. Packets and bytes never do.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The far side and the near one ([`Ends::words`]).
    pub ends: [u64; 4],
    /// Of the plain packets since the latest other one ([`crate::plain`]): squares and payload.
    pub lately: u64,
    /// Ports as they stand in a packet that comes in.
    pub ports: u32,
    /// When the next record is due, in the units of [`Head::last`].
    pub due: u32,
    /// Bytes and pushes of the packets of [`Slot::lately`], and those without payload.
    pub lately_bytes: u32,
    /// Protocol and flags ([`crate::hash::kind`]).
    pub kind: u16,
    /// Shortest packet, L3 bytes, up to 65,535.
    pub len_min: u16,
    /// Longest packet likewise.
    pub len_max: u16,
    /// Fragments.
    pub fragments: u16,
    /// No flag.
    pub null: u8,
    /// FIN, PSH, URG and no ACK.
    pub xmas: u8,
    /// FIN alone.
    pub bare_fin: u8,
    /// Packets of [`Head::packets`] that were counted per source, modulo 2^8.
    pub told: u8,
    /// L3 bytes.
    pub bytes: u64,
    /// Sum of the squares of the L3 lengths.
    pub squares: u64,
    /// L4 payload bytes.
    pub payload_bytes: u64,
    /// First packet since the last record, in the units of [`Head::last`].
    pub first: u32,
    /// The number of the lists' change under which nothing was found for the far side, where something is listed near it
    /// ([`crate::hint::NO_EPOCH`]).
    pub clear: u32,
    /// Of ingress: bytes that were counted per source, modulo 2^32. Of egress: the acknowledgement last published.
    pub number: u32,
    /// Interface index.
    pub ifindex: u32,
    /// Packets without L4 payload.
    pub zero_payload: u32,
    /// TCP segments with PSH.
    pub psh: u32,
    /// TCP segments without ACK: fewer than those with.
    pub no_ack: u32,
    /// SYN without ACK.
    pub syn: u16,
    /// SYN and ACK.
    pub synack: u16,
    /// FIN.
    pub fin: u16,
    /// RST.
    pub rst: u16,
    /// URG.
    pub urg: u16,
    /// ECE or CWR.
    pub ecn: u16,
}

/// Four slots that flows of one hash share. 576 bytes: nine cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// What is searched.
    pub heads: [Head; WAYS],
    /// What is counted.
    pub slots: [Slot; WAYS],
}

/// [`SLOT_WAITS`] in [`Slot::kind`].
pub(crate) const WAITS: u16 = kind(0, SLOT_WAITS) as u16;

/// A boot-clock time in units.
#[inline(always)]
pub const fn units(ns: u64) -> u32 {
    (ns >> UNIT_SHIFT) as u32
}

/// The time that units say, near another one: both, ns.
#[inline(always)]
pub(crate) const fn whole(then: u32, now_ns: u64) -> u64 {
    let since = units(now_ns).wrapping_sub(then).cast_signed() as i64;
    (now_ns >> UNIT_SHIFT).wrapping_sub(since.cast_unsigned()) << UNIT_SHIFT
}

/// Units since `then`; 0 where a clock is a little behind.
#[inline(always)]
pub const fn age(now: u32, then: u32) -> u32 {
    let age = now.wrapping_sub(then).wrapping_add(SKEW_UNITS);
    age.saturating_sub(SKEW_UNITS)
}

/// Whether [`age`] has come to so many units; to more than none.
#[inline(always)]
pub const fn silent(now: u32, last: u32, units: u32) -> bool {
    now.wrapping_sub(last).wrapping_add(SKEW_UNITS) >= units + SKEW_UNITS
}

/// Whether a flow was silent for so long that it is forgotten.
#[inline(always)]
pub const fn idle(now: u32, last: u32) -> bool {
    silent(now, last, IDLE_UNITS)
}

impl Bucket {
    /// The place with this tag; any, where there is none.
    ///
    /// Where few flows share a bucket, its first place is the right one. For the others there is no branch: the flows of a
    /// busy host come in no order a processor could guess. A sum, to be masked by the caller: of bits put together the
    /// optimiser would know that no mask is needed, and old verifiers would not.
    #[inline(always)]
    pub fn find(&self, tag: u32) -> u32 {
        let [zero, one, two, three] = &self.heads;
        if zero.tag == tag {
            return 0;
        }
        same(one.tag, tag) + same(two.tag, tag) * 2 + same(three.tag, tag) * 3
    }
}

/// 1 where two tags are equal: of all 32-bit numbers only zero borrows.
#[inline(always)]
const fn same(one: u32, other: u32) -> u32 {
    let differ = (one ^ other) as u64;
    (differ.wrapping_sub(1) >> 63) as u32
}

/// 1 where a packet has no payload.
#[inline(always)]
pub(crate) const fn none(payload_len: u64) -> u64 {
    payload_len.wrapping_sub(1) >> 63
}

/// Adds one, up to the maximum.
#[inline(always)]
fn bump(count: &mut u16) {
    *count = count.saturating_add(1);
}

impl Slot {
    /// Whether this is the slot of this packet's flow and direction.
    #[inline(always)]
    pub fn holds(&self, packet: &PacketMeta, direction: Direction) -> bool {
        let ends = Ends::of(packet, direction);
        let (ours, theirs) = (self.ends, ends.words());
        let addresses = ours[0] ^ theirs[0] | ours[1] ^ theirs[1] | ours[2] ^ theirs[2] | ours[3] ^ theirs[3];
        let kind = u32::from(self.kind & !WAITS);
        addresses | u64::from(self.ports ^ ends.ports | kind ^ ends.kind) == 0
    }

    /// A slot of this packet's flow and direction, yet to be cleared.
    #[inline(always)]
    pub fn begin(&mut self, packet: &PacketMeta, direction: Direction, ifindex: u32) {
        let ends = Ends::of(packet, direction);
        self.ends = ends.words();
        self.ports = ends.ports;
        self.kind = ends.kind as u16 | WAITS;
        self.number = 0;
        self.clear = NO_EPOCH;
        self.ifindex = ifindex;
    }

    /// Counts nothing any more.
    #[inline(always)]
    pub fn clear(&mut self) {
        // A zero the compiler knows would become a call of `memset`, which fills byte by byte in the kernel.
        let none = core::hint::black_box(0_u64);
        self.told = none as u8;
        self.lately = none;
        self.lately_bytes = none as u32;
        self.first = none as u32;
        self.bytes = none;
        self.payload_bytes = none;
        self.squares = none;
        self.zero_payload = none as u32;
        self.psh = none as u32;
        self.no_ack = none as u32;
        self.len_min = none as u16;
        self.len_max = none as u16;
        self.fragments = none as u16;
        self.syn = none as u16;
        self.synack = none as u16;
        self.fin = none as u16;
        self.rst = none as u16;
        self.urg = none as u16;
        self.ecn = none as u16;
        self.null = none as u8;
        self.xmas = none as u8;
        self.bare_fin = none as u8;
    }

    /// Adds one packet; true where there is more to it than a data segment or datagram of a running flow.
    #[inline(always)]
    pub fn count(&mut self, head: &mut Head, packet: &PacketMeta, now_ns: u64) -> bool {
        self.fold();
        let (segments, len) = if packet.segments > 1 {
            self.count_super(packet)
        } else {
            let len = u64::from(packet.l3_len);
            self.bytes += len;
            self.squares = self.squares.wrapping_add(len * len);
            (1, packet.l3_len)
        };
        let len = if len > 0xffff { u16::MAX } else { len as u16 };
        if head.packets == 0 {
            self.first = units(now_ns);
            self.len_min = len;
            self.len_max = len;
        } else if len < self.len_min {
            self.len_min = len;
        } else if len > self.len_max {
            self.len_max = len;
        }
        head.packets += segments;
        self.payload_bytes += u64::from(packet.payload_len);
        self.zero_payload += none(u64::from(packet.payload_len)) as u32;
        if packet.fragment {
            bump(&mut self.fragments);
        }
        if packet.proto != PROTO_TCP || packet.later_fragment {
            return packet.fragment;
        }
        let flags = packet.tcp_flags;
        self.psh += u32::from(flags >> 3 & 1);
        if flags & !TCP_PSH == TCP_ACK {
            return packet.fragment;
        }
        self.count_flags(packet, segments);
        true
    }

    /// A frame that leaves as several packets repeats its headers in each. The length is that of all but the last.
    #[inline(always)]
    fn count_super(&mut self, packet: &PacketMeta) -> (u32, u32) {
        let segments = packet.segments;
        let headers = packet.l3_len.saturating_sub(packet.payload_len);
        let each = packet.payload_len.div_ceil(segments);
        let len = u64::from(headers) + u64::from(each);
        let before = u64::from(segments - 1);
        let last = u64::from(headers) + u64::from(packet.payload_len).saturating_sub(before * u64::from(each));
        self.bytes += u64::from(packet.l3_len) + before * u64::from(headers);
        self.squares = self.squares.wrapping_add(before * len * len + last * last);
        (segments, len as u32)
    }

    #[inline(always)]
    fn count_flags(&mut self, packet: &PacketMeta, segments: u32) {
        let flags = packet.tcp_flags;
        if flags & TCP_ACK == 0 {
            self.no_ack += segments;
        }
        if flags & TCP_SYN != 0 {
            bump(if flags & TCP_ACK == 0 {
                &mut self.syn
            } else {
                &mut self.synack
            });
        }
        if flags & TCP_FIN != 0 {
            bump(&mut self.fin);
        }
        if flags & TCP_RST != 0 {
            bump(&mut self.rst);
        }
        if flags & TCP_URG != 0 {
            bump(&mut self.urg);
        }
        if flags & TCP_ECN != 0 {
            bump(&mut self.ecn);
        }
        let probe = flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG);
        // A header cut short has no flags to read, and no ports: it is no probe.
        if probe == 0 && packet.src_port | packet.dst_port != 0 {
            self.null = self.null.saturating_add(1);
        }
        if probe == TCP_FIN | TCP_PSH | TCP_URG {
            self.xmas = self.xmas.saturating_add(1);
        }
        if probe == TCP_FIN {
            self.bare_fin = self.bare_fin.saturating_add(1);
        }
    }

    /// Whether a count of flags is halfway to its maximum, so that a record is due whatever the time.
    #[inline(always)]
    pub const fn brims(&self) -> bool {
        let all = self.fragments | self.syn | self.synack | self.fin | self.rst;
        let probes = self.null | self.xmas | self.bare_fin;
        (all | self.urg | self.ecn) & 0x8000 != 0 || probes & 0x80 != 0
    }

    /// Whose slot it is.
    #[inline(always)]
    pub const fn key(&self) -> FlowKey {
        let ports = u32::from_be(self.ports);
        let [remote, local] = self.addresses();
        FlowKey {
            remote: Addr::from_halves(remote),
            local: Addr::from_halves(local),
            remote_port: (ports >> 16) as u16,
            local_port: ports as u16,
            proto: self.proto(),
            flags: self.flags() & !(SLOT_EGRESS | SLOT_V4 | SLOT_WAITS),
            pad: [0; 2],
        }
    }

    /// The far side and the near one, by halves as [`Addr::halves`] has them.
    #[inline(always)]
    pub(crate) const fn addresses(&self) -> [[u64; 2]; 2] {
        let [a, b, c, d] = self.ends;
        let v4 = self.flags() & SLOT_V4 != 0;
        let [remote, local] = apart(a);
        let high = if v4 { 0 } else { a };
        let low = if v4 { mapped(remote) } else { b };
        [[high, low], [c, if v4 { mapped(local) } else { d }]]
    }

    /// [`crate::flow::INGRESS`] or [`crate::flow::EGRESS`].
    #[inline(always)]
    pub const fn direction(&self) -> u32 {
        (self.flags() >> 1 & 1) as u32
    }

    /// IP protocol number.
    #[inline(always)]
    pub const fn proto(&self) -> u8 {
        self.kind as u8
    }

    /// `KEY_*` bits, [`SLOT_EGRESS`], [`SLOT_V4`], [`SLOT_WAITS`].
    #[inline(always)]
    pub const fn flags(&self) -> u8 {
        (self.kind >> FLAGS_SHIFT) as u8
    }

    /// TCP segments with ACK, of `packets`.
    #[inline(always)]
    pub(crate) const fn acks(&self, packets: u32) -> u32 {
        let segments = self.proto() == PROTO_TCP && self.flags() & KEY_FRAGMENT == 0;
        if segments { packets.wrapping_sub(self.no_ack) } else { 0 }
    }

    /// What it counted, and when: exactly, where the clock goes in whole units, as the kernel programs' does. `now_ns` is
    /// no further from it than units reach ([`crate::table`]).
    #[inline(always)]
    pub const fn half(&self, head: &Head, now_ns: u64) -> Half {
        let lately = self.lately();
        Half {
            packets: head.packets as u64,
            bytes: self.bytes + lately.bytes,
            payload_bytes: self.payload_bytes + lately.payload_bytes,
            squares: self.squares.wrapping_add(lately.squares),
            first_ns: whole(self.first, now_ns),
            last_ns: whole(head.last, now_ns),
            zero_payload: self.zero_payload + lately.zero_payload,
            fragments: self.fragments as u32,
            syn: self.syn as u32,
            synack: self.synack as u32,
            fin: self.fin as u32,
            rst: self.rst as u32,
            psh: self.psh + lately.psh,
            ack: self.acks(head.packets),
            urg: self.urg as u32,
            ecn: self.ecn as u32,
            null: self.null as u32,
            xmas: self.xmas as u32,
            bare_fin: self.bare_fin as u32,
            len_min: self.len_min as u32,
            len_max: self.len_max as u32,
            pad: 0,
        }
    }
}

const _: () = {
    assert!(size_of::<Head>() == 16);
    assert!(size_of::<Slot>() == 128);
    assert!(core::mem::offset_of!(Slot, bytes) == 64);
    assert!(size_of::<Bucket>() == 576);
};

crate::pod!(Head, Slot, Bucket);
