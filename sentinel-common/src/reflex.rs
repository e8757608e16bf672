//! What the kernel knows of a source and of a port by itself, and the rules by which it speaks and limits.
//!
//! The rules are pure. The kernel runs them on memory that CPUs share, without locks: an increment may be lost where
//! two CPUs meet on one source in the same nanoseconds, which moves a threshold by a packet and nothing else.

use crate::addr::Addr;
use crate::event::{REFLEX_BYTES, REFLEX_HALF_OPEN, REFLEX_PACKETS, REFLEX_PORTS, REFLEX_SYNS};
use crate::flow::{PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use crate::packet::{PacketMeta, TCP_ACK};
use crate::rate::Rate;
use crate::room::less;
use crate::settings::Reflex;

/// Slots of one bucket of the table of sources.
pub const WAYS: usize = 4;
/// Cells of the map of limited sources.
pub const CELLS: usize = 65_536;
/// Window of [`Port`], ns.
pub const PORT_WINDOW_NS: u64 = 1_000_000_000;
/// How long a port stays under flood after the last window that was one, ns.
pub const PORT_CALM_NS: u64 = 5_000_000_000;
/// Where Linux's own ports begin (`net.ipv4.ip_local_port_range`): a datagram to a higher one may be an answer.
const EPHEMERAL: u16 = 32_768;
/// Bit of [`Source::raised`] from which on the causes of the limit in force stand.
const CAUSE_SHIFT: u32 = 8;
/// Thresholds that tell of volume; the others tell of openings.
const VOLUME: u32 = REFLEX_PACKETS | REFLEX_BYTES;

/// What is known of one source in one window: one cache line. 64 bytes.
///
/// The source is an IPv4 address or an IPv6 /64, which is what one host or one household has: addresses below it are
/// free to whoever sits there, and counting them apart would count nobody.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// [`source_key`] of it; 0 for an empty slot.
    pub key: u64,
    /// L3 bytes in the window.
    pub bytes: u64,
    /// Linear counting of destination ports (Whang et al. 1990): one bit per hash of a port seen in the window.
    pub ports: u64,
    /// GCRA's theoretical arrival time of packets while limited: `CLOCK_BOOTTIME`, ns.
    pub packet_tat_ns: u64,
    /// The same for bytes.
    pub byte_tat_ns: u64,
    /// When the window began: `CLOCK_BOOTTIME`, in 2^20 ns, modulo 2^32.
    pub window: u32,
    /// Packets in the window.
    pub packets: u32,
    /// SYNs in the window.
    pub syns: u32,
    /// Handshakes completed in the window.
    pub completed: u32,
    /// Until when it is limited: `CLOCK_BOOTTIME`, in 2^24 ns, modulo 2^32; 0 for not.
    pub until: u32,
    /// `REFLEX_*` bits reported in this window, and, eight bits up, those that brought the limit.
    pub raised: u32,
}

/// The slots a source can be in. 256 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// In no order.
    pub slots: [Source; WAYS],
}

/// What a packet, or the packets since the last look, add to a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets.
    pub packets: u32,
    /// SYNs.
    pub syns: u32,
    /// Handshakes completed.
    pub completed: u32,
    /// L3 bytes.
    pub bytes: u64,
    /// Bit of the destination port; 0 for none.
    pub port: u64,
}

/// Latest ends of what is in force anywhere: asked before anything else, so that quiet times cost one read. 64 bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// No source is limited from then on: `CLOCK_BOOTTIME`, ns.
    pub limited_until_ns: u64,
    /// No port is under flood from then on: `CLOCK_BOOTTIME`, ns.
    pub flood_until_ns: u64,
    /// Zero.
    pub pad: [u64; 6],
}

impl Alarm {
    /// Nothing is in force.
    pub const EMPTY: Self = Self {
        limited_until_ns: 0,
        flood_until_ns: 0,
        pad: [0; 6],
    };
}

impl Alarm {
    /// The later end of each.
    #[must_use]
    pub fn later_of(&self, other: &Self) -> Self {
        Self {
            limited_until_ns: self.limited_until_ns.max(other.limited_until_ns),
            flood_until_ns: self.flood_until_ns.max(other.flood_until_ns),
            ..*self
        }
    }
}

/// Handshakes to one port of this host in one window. 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// When the window began: `CLOCK_BOOTTIME`, ns.
    pub window_ns: u64,
    /// Until when it is under flood at least: `CLOCK_BOOTTIME`, ns; 0 for not.
    pub until_ns: u64,
    /// Handshakes begun in the window.
    pub syns: u64,
    /// Handshakes completed in the window.
    pub completed: u64,
    /// When a cookie last answered for it: `CLOCK_BOOTTIME`, ns; 0 for never.
    pub answered_ns: u64,
    /// The address it answered for, folded: [`Addr::folded`]. The last of several: what is not known to be answered passes.
    pub answered_for: u64,
}

/// For how long a stack takes a cookie that it gave out (`TCP_SYNCOOKIE_VALID`, `include/net/tcp.h`), and a little.
const COOKIE_VALID_NS: u64 = 128_000_000_000;

/// Estimate of the number of different ports by the bits that are still zero: round(-64 ln(zeros / 64)); with none
/// left it can only be said to be large.
pub const ESTIMATE: [u16; 65] = [
    333, 266, 222, 196, 177, 163, 151, 142, 133, 126, 119, 113, 107, 102, 97, 93, 89, 85, 81, 78, 74, 71, 68, 65, 63,
    60, 58, 55, 53, 51, 48, 46, 44, 42, 40, 39, 37, 35, 33, 32, 30, 28, 27, 25, 24, 23, 21, 20, 18, 17, 16, 15, 13, 12,
    11, 10, 9, 7, 6, 5, 4, 3, 2, 1, 0,
];
/// The largest threshold of ports the estimate can tell (the error there is about a tenth).
pub const MAX_PORTS: u32 = 200;

/// The finaliser of MurmurHash3 (Austin Appleby): every bit of the input moves every bit of the output; no two inputs
/// share an output.
#[inline(always)]
const fn mix(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}

/// [`mix`] undone.
const fn unmix(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0x9cb4_b2f8_1293_37db);
    k ^= k >> 33;
    k = k.wrapping_mul(0x4f74_430c_22a5_4005);
    k ^ k >> 33
}

/// What stands above an IPv4 address in its word: no IPv6 prefix in use begins like that.
const V4: u64 = 0xffff << 32;

/// The source of a packet as one word: an IPv4 address, or the /64 of an IPv6 one.
#[inline(always)]
#[must_use]
pub const fn source_word(address: &Addr, ip_version: u8) -> u64 {
    if ip_version == 4 {
        source_word4(address.tail())
    } else {
        source_word6(address.halves()[0])
    }
}

/// As [`source_word`], of an IPv4 address as it stands in memory.
#[inline(always)]
#[must_use]
pub const fn source_word4(address: u32) -> u64 {
    V4 | u32::from_be(address) as u64
}

/// As [`source_word`], of the first half of an IPv6 address as it stands in memory.
#[inline(always)]
#[must_use]
pub const fn source_word6(high: u64) -> u64 {
    u64::from_be(high)
}

/// The key of a source; never 0. Different sources have different keys.
#[inline(always)]
#[must_use]
pub const fn source_key(word: u64, seed: u64) -> u64 {
    let key = mix(word ^ seed);
    if key == 0 { 1 } else { key }
}

/// The source of a key: an IPv4 address, or the first address of an IPv6 /64.
#[must_use]
pub fn source_address(key: u64, seed: u64) -> Addr {
    let word = unmix(key) ^ seed;
    if word >> 32 == V4 >> 32 {
        Addr::v4((word as u32).to_be_bytes())
    } else {
        Addr((u128::from(word) << 64).to_be_bytes())
    }
}

/// The cell of a source in the map of limited ones.
#[inline(always)]
#[must_use]
pub const fn cell(word: u64, seed: u64) -> usize {
    ((word ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
}

/// What a cell says while a limit holds: its end in 2^32 ns, modulo 2^8, and never 0.
#[inline(always)]
#[must_use]
pub const fn cell_mark(until_ns: u64) -> u8 {
    let mark = ((until_ns >> 32) + 1) as u8;
    if mark == 0 { 1 } else { mark }
}

/// Whether a cell may stand for a limit that holds. A mark of long ago may say so wrongly, which costs a look.
#[inline(always)]
#[must_use]
pub const fn cell_holds(mark: u8, now_ns: u64) -> bool {
    mark != 0 && mark.wrapping_sub((now_ns >> 32) as u8) < 0x80
}

/// What a cell is to say with one more limit in it: the later end of the two.
#[inline(always)]
#[must_use]
pub const fn cell_later(mark: u8, until_ns: u64, now_ns: u64) -> u8 {
    let (new, now) = (cell_mark(until_ns), (now_ns >> 32) as u8);
    if cell_holds(mark, now_ns) && mark.wrapping_sub(now) > new.wrapping_sub(now) {
        mark
    } else {
        new
    }
}

/// The bit of a packet's destination port, where the packet is one that tries it: a SYN, or a datagram to a port that
/// is none of Linux's own (an answer whose question was not seen is no probe).
#[inline(always)]
#[must_use]
pub fn port_bit(packet: &PacketMeta, syn: bool, seed: u64) -> u64 {
    if syn || packet.proto == PROTO_UDP && !packet.later_fragment && packet.dst_port < EPHEMERAL {
        1 << (mix(u64::from(packet.dst_port) ^ seed.rotate_left(32)) >> 58)
    } else {
        0
    }
}

/// Bits set, without the loop that a population count is made of where there is no instruction for it.
#[inline(always)]
const fn ones(mut bits: u64) -> usize {
    bits -= bits >> 1 & 0x5555_5555_5555_5555;
    bits = (bits & 0x3333_3333_3333_3333) + (bits >> 2 & 0x3333_3333_3333_3333);
    bits = (bits + (bits >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    (bits.wrapping_mul(0x0101_0101_0101_0101) >> 56) as usize
}

/// 1 where `count` is over `threshold`, 0 where it is not or there is none (0). Both are below 2^63.
#[inline(always)]
const fn over(count: u64, threshold: u64) -> u32 {
    let (above, set) = (threshold.wrapping_sub(count) >> 63, threshold.wrapping_neg() >> 63);
    (above & set) as u32
}

/// Whether a packet opens something: anything but a TCP segment that acknowledges, and what routers and neighbours on the
/// link tell of themselves (RFC 4861), without which nobody there reaches anybody. Such a packet from farther off, which is not
/// told apart here, the stack throws away.
#[inline(always)]
#[must_use]
pub const fn opens(packet: &PacketMeta) -> bool {
    /// Router solicitation, 133, to neighbour advertisement, 136.
    const NEIGHBOURS: u16 = 4;
    let of_the_link = packet.proto == PROTO_ICMPV6 && packet.src_port.wrapping_sub(133) < NEIGHBOURS;
    !(of_the_link || packet.proto == PROTO_TCP && packet.tcp_flags & TCP_ACK != 0)
}

impl Source {
    /// A slot for a source not seen before, its window open.
    #[inline(always)]
    #[must_use]
    pub fn new(key: u64, now_ns: u64) -> Self {
        Self::first(key, &Seen::default(), now_ns)
    }

    /// As [`Source::new`], with what was seen of it.
    #[inline(always)]
    #[must_use]
    pub fn first(key: u64, seen: &Seen, now_ns: u64) -> Self {
        // A zero the compiler knows would become a call of `memset`: byte by byte, and one more frame on a stack that
        // Linux 6.1 found too small for it.
        let none = core::hint::black_box(0_u64);
        Self {
            key,
            bytes: seen.bytes,
            ports: seen.port,
            packet_tat_ns: none,
            byte_tat_ns: none,
            window: (now_ns >> 20) as u32,
            packets: seen.packets,
            syns: seen.syns,
            completed: seen.completed,
            until: none as _,
            raised: none as _,
        }
    }

    /// Adds what was seen, in a fresh window where the old one is over.
    #[inline(always)]
    pub fn add(&mut self, seen: &Seen, reflex: &Reflex, now_ns: u64) {
        if self.stale(reflex, now_ns) {
            self.window = (now_ns >> 20) as u32;
            self.bytes = 0;
            self.ports = 0;
            self.packets = 0;
            self.syns = 0;
            self.completed = 0;
            self.raised &= !0 << CAUSE_SHIFT;
        }
        self.packets = self.packets.wrapping_add(seen.packets);
        self.bytes = self.bytes.wrapping_add(seen.bytes);
        self.syns = self.syns.wrapping_add(seen.syns);
        self.completed = self.completed.wrapping_add(seen.completed);
        self.ports |= seen.port;
    }

    /// Whether its window is over.
    #[inline(always)]
    #[must_use]
    pub const fn stale(&self, reflex: &Reflex, now_ns: u64) -> bool {
        ((now_ns >> 20) as u32).wrapping_sub(self.window) as u64 >= reflex.window_ns >> 20
    }

    /// Estimate of the distinct ports it tried.
    #[inline(always)]
    #[must_use]
    pub fn port_estimate(&self) -> u32 {
        // Behind the box, lest the compiler knows that there are no more than 64 and leaves out the bound, which the
        // verifier does not know.
        let ones = core::hint::black_box(ones(self.ports));
        u32::from(ESTIMATE[64 - if ones > 64 { 64 } else { ones }])
    }

    /// Handshakes it began and did not complete.
    #[inline(always)]
    #[must_use]
    pub const fn half_open(&self) -> u32 {
        self.syns.saturating_sub(self.completed)
    }

    /// Thresholds crossed that this window has not reported: `REFLEX_*` bits.
    #[inline(always)]
    #[must_use]
    pub fn crossed(&self, reflex: &Reflex) -> u32 {
        // Most sources of most windows are nowhere near any. Each SYN and each port was a packet, or a SYN of a flow that
        // had told of its packets.
        let opened = u64::from(self.packets) + u64::from(self.syns);
        if opened <= u64::from(reflex.least) && over(self.bytes, reflex.bytes) == 0 {
            return 0;
        }
        // No branches: five of them one after the other are 243 ways to walk for the verifier.
        let crossed = (over(u64::from(self.packets), u64::from(reflex.packets)) * REFLEX_PACKETS)
            | (over(self.bytes, reflex.bytes) * REFLEX_BYTES)
            | (over(u64::from(self.syns), u64::from(reflex.syns)) * REFLEX_SYNS)
            | (over(u64::from(self.port_estimate()), u64::from(reflex.ports)) * REFLEX_PORTS)
            | (over(u64::from(self.half_open()), u64::from(reflex.half_open)) * REFLEX_HALF_OPEN);
        crossed & !self.raised
    }

    /// Puts it under the limit for what it crossed, with a full burst to begin with where it was not; says until when,
    /// ns. One that holds longer already, by an earlier agent's [`Reflex::hold_ns`], is not cut short.
    #[inline(always)]
    pub fn limit(&mut self, crossed: u32, reflex: &Reflex, now_ns: u64) -> u64 {
        if !self.limited(now_ns) {
            self.packet_tat_ns = now_ns;
            self.byte_tat_ns = now_ns;
            self.raised &= !(!0 << CAUSE_SHIFT);
        }
        self.raised |= crossed << CAUSE_SHIFT;
        let now = now_ns >> 24;
        let mut until = ((now_ns + reflex.hold_ns) >> 24) + 1;
        // What is left of a limit that does not hold is nothing.
        let left = u64::from(self.until.wrapping_sub(now as u32)) * u64::from(self.limited(now_ns));
        if now + left > until {
            until = now + left;
        }
        self.until = if until as u32 == 0 { 1 } else { until as u32 };
        until << 24
    }

    /// Whether it is under the limit.
    #[inline(always)]
    #[must_use]
    pub const fn limited(&self, now_ns: u64) -> bool {
        self.until != 0 && self.until.wrapping_sub((now_ns >> 24) as u32) as i32 > 0
    }

    /// Whether a packet is over the limit, where the source is under one. One crossed by openings (SYNs, ports,
    /// half-open handshakes) holds for what opens: a forger can cross it in another's name, and does not thereby cut
    /// the connections that other has. One crossed by volume holds for every packet.
    #[inline(always)]
    pub fn over(&mut self, opens: bool, bytes: u64, reflex: &Reflex, now_ns: u64) -> bool {
        if !self.limited(now_ns) || !opens && (self.raised >> CAUSE_SHIFT) & VOLUME == 0 {
            return false;
        }
        let rate = Rate {
            packet_ns: reflex.packet_ns,
            byte_ns_q8: reflex.byte_ns_q8,
            burst_ms: reflex.burst_ms,
        };
        !rate.admit(&mut self.packet_tat_ns, &mut self.byte_tat_ns, bytes, now_ns)
    }

    /// How much there would be to lose in giving the slot to another, in all bits but the low two, which are `way`: nothing
    /// for an empty one and those whose window is over, then by packets, the oldest window first; most for one under the
    /// limit. A flood of forged sources, each of a packet or two, thus displaces its own kind.
    #[inline(always)]
    #[must_use]
    pub const fn worth(&self, way: u64, reflex: &Reflex, now_ns: u64) -> u64 {
        let age = ((now_ns >> 20) as u32).wrapping_sub(self.window) as u64;
        let open = age.wrapping_sub(reflex.window_ns >> 20) >> 63;
        let counted = ((self.packets & 0x3fff_ffff) as u64) << 18 | (age & 0xffff ^ 0xffff) << 2;
        // Hardly ever any is, so that the question costs little.
        let limited = self.until != 0 && self.limited(now_ns);
        counted & open.wrapping_neg() | (limited as u64) << 62 | way
    }
}

impl Bucket {
    /// The slot of a source; [`WAYS`] where it has none.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, key: u64) -> usize {
        let [a, b, c, d] = &self.slots;
        if a.key == key {
            0
        } else if b.key == key {
            1
        } else if c.key == key {
            2
        } else if d.key == key {
            3
        } else {
            WAYS
        }
    }

    /// The slot to give to a source that has none, in the low two bits. `hide` is as in
    /// [`crate::slot::Bucket::least_missed`].
    #[inline(always)]
    #[must_use]
    pub fn victim(&self, reflex: &Reflex, now_ns: u64, hide: impl Fn(u64) -> u64) -> u64 {
        let worth = |way: usize| hide(self.slots[way].worth(way as u64, reflex, now_ns));
        let first = less(worth(0), worth(1), &hide);
        let second = less(worth(2), worth(3), &hide);
        less(first, second, &hide)
    }
}

/// How the state of a port turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It came under flood; with the figures so far. (A variant without them would leave its place on the stack unwritten,
    /// which Linux 5.10 refuses to read, and compilers read it before they ask which variant it is.)
    Begins {
        /// Handshakes begun.
        syns: u64,
        /// Handshakes completed.
        completed: u64,
    },
    /// It has been calm for [`PORT_CALM_NS`]; with the figures of the window before.
    Over {
        /// Handshakes begun in it.
        syns: u64,
        /// Handshakes completed in it.
        completed: u64,
    },
}

impl Port {
    /// Takes note that a handshake begins, the count of which the caller has yet to raise (it is shared by CPUs), and
    /// says whether that turns anything. Where CPUs meet at the turn of a window, one may say so twice.
    #[inline(always)]
    pub fn begun(&mut self, threshold: u64, now_ns: u64) -> Option<Turn> {
        let mut turn = None;
        let age = now_ns.saturating_sub(self.window_ns);
        if age >= PORT_WINDOW_NS {
            let (syns, completed) = (self.syns, self.completed);
            if self.until_ns != 0 {
                if age < 2 * PORT_WINDOW_NS && 4 * syns.saturating_sub(completed) >= threshold {
                    self.until_ns = now_ns + PORT_CALM_NS;
                } else if now_ns >= self.until_ns {
                    self.until_ns = 0;
                    turn = Some(Turn::Over { syns, completed });
                }
            }
            self.window_ns = now_ns;
            self.syns = 0;
            self.completed = 0;
        }
        if self.until_ns == 0 && self.syns.saturating_sub(self.completed) >= threshold {
            self.until_ns = now_ns + PORT_CALM_NS;
            let (syns, completed) = (self.syns, self.completed);
            turn = Some(Turn::Begins { syns, completed });
        }
        turn
    }

    /// Whether it is under flood.
    #[inline(always)]
    #[must_use]
    pub const fn under_flood(&self, now_ns: u64) -> bool {
        self.until_ns > now_ns
    }

    /// Whether a cookie that was given out for this address ([`Addr::folded`]) may still come back. Where none was, the
    /// listener here is not the one that connections reach: NAT takes them elsewhere, or they are forwarded.
    #[inline(always)]
    #[must_use]
    pub const fn answered(&self, address: u64, now_ns: u64) -> bool {
        self.answered_for == address
            && self.answered_ns != 0
            && now_ns.saturating_sub(self.answered_ns) < COOKIE_VALID_NS
    }
}

const _: () = {
    assert!(size_of::<Source>() == 64);
    assert!(size_of::<Bucket>() == 256);
    assert!(size_of::<Alarm>() == 64);
    assert!(size_of::<Port>() == 48);
};

crate::pod!(Source, Bucket, Alarm, Port);
