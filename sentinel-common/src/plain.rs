//! Plain packets: those that do nothing to a flow but be counted.
//!
//! Most packets of most hosts are data or an acknowledgement of a conversation that runs. For them the whole rule
//! ([`crate::table::Pass`]) comes to a few sums, so that they may take a short way to the same end. [`Plain::fits`] says
//! which packets these are, and the tests hold that the two ways never differ.
//!
//! Their sums stand in two words, several to each, so that one addition is enough for all and a slot's first cache line
//! holds them. They have room for as many packets as may come between two that go the whole way, which every 32nd does;
//! that one adds them to the totals ([`Slot::fold`]).

use crate::flow::STATE_ALLOWED;
use crate::slot::{HEAD_BUSY, HEAD_SETTLED, Head, Slot, WAITS};
use crate::table::TELL;

/// A TCP segment with ACK and at most PSH beside it, or a UDP datagram, in one piece, that came in from an address
/// nobody listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// L3 length, bytes.
    pub len: u64,
    /// L4 payload, bytes.
    pub payload_len: u64,
    /// 1 << [`PSH_SHIFT`] for a segment with PSH, else 0.
    pub psh: u64,
    /// `CLOCK_BOOTTIME` in units ([`crate::slot::units`]).
    pub now: u64,
}

/// Bits of [`Head::state`] that must be as [`RUNNING`].
const ASKED: u16 = HEAD_SETTLED | HEAD_BUSY | STATE_ALLOWED as u16;
/// A conversation that has no more to tell, with a source nobody allowlisted.
const RUNNING: u16 = HEAD_SETTLED | HEAD_BUSY;

impl Slot {
    /// Notes whether plain packets may be counted here: in what they are compared with anyway. After every packet that goes
    /// the whole way; no other changes what it hangs on.
    #[inline(always)]
    pub(crate) const fn note_plain(&mut self, head: &Head) {
        let waits = ((head.state & ASKED ^ RUNNING) as u64).wrapping_neg() >> 63;
        self.kind = self.kind & !WAITS | (waits as u16) << WAITS.trailing_zeros();
    }

    /// Whether they may.
    pub const fn runs(&self) -> bool {
        self.kind & WAITS == 0
    }
}

impl Plain {
    /// Whether the packet does nothing to its flow's slot but what [`Plain::count`] does, where the slot's flow runs
    /// ([`Slot::runs`]) and it is none of the packets that tell ([`TELL`]): no record is due, and no bound moves. A slot that was
    /// just reported has no bounds yet, so that its first packet does not fit; and while no record is due, no flow is forgotten
    /// ([`crate::table::wait`]).
    #[inline(always)]
    pub const fn fits(&self, slot: &Slot) -> bool {
        self.now.wrapping_sub(slot.due as u64) >= NOT_YET
            && self.len >= slot.len_min as u64
            && self.len <= slot.len_max as u64
    }

    /// Counts it, as the latest of so many packets.
    #[inline(always)]
    pub const fn count(&self, head: &mut Head, slot: &mut Slot, packets: u64) {
        head.last = self.now as u32;
        head.packets = packets as u32;
        slot.lately += self.len * self.len + (self.payload_len << PAYLOAD_SHIFT);
        // Less one, no payload is all ones, and any other has none of its 16 bits as far up as that.
        let none = self.payload_len.wrapping_sub(1) & 1 << NONE_SHIFT;
        slot.lately_bytes += (self.len | self.psh | none) as u32;
    }
}

/// Of two times in units, both of 32 bits, the earlier less the later, as 64 bits: no less than this. Across the wrap of
/// the units it is less, and the packet goes the whole way.
const NOT_YET: u64 = (-1_i64 << 31).cast_unsigned();

/// Bits for the squares of [`Slot::lately`].
const PAYLOAD_SHIFT: u32 = 37;
/// Bits for the bytes of [`Slot::lately_bytes`].
pub const PSH_SHIFT: u32 = 21;
/// Bits for them and the pushes.
const NONE_SHIFT: u32 = 26;

const _: () = {
    let (most, longest) = (TELL as u64 - 1, u16::MAX as u64);
    assert!(most * longest * longest < 1 << PAYLOAD_SHIFT);
    assert!(most * longest < 1 << (64 - PAYLOAD_SHIFT));
    assert!(most * longest < 1 << PSH_SHIFT && longest < 1 << NONE_SHIFT);
    assert!(most < 1 << (NONE_SHIFT - PSH_SHIFT));
    assert!(most < 1 << (32 - NONE_SHIFT));
};

/// What plain packets counted since the latest other one.
pub(crate) struct Lately {
    pub(crate) bytes: u64,
    pub(crate) squares: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) zero_payload: u32,
    pub(crate) psh: u32,
}

impl Slot {
    #[inline(always)]
    pub(crate) const fn lately(&self) -> Lately {
        let (sums, bytes) = (self.lately, self.lately_bytes);
        Lately {
            bytes: (bytes & ((1 << PSH_SHIFT) - 1)) as u64,
            squares: sums & ((1 << PAYLOAD_SHIFT) - 1),
            payload_bytes: sums >> PAYLOAD_SHIFT,
            zero_payload: bytes >> NONE_SHIFT,
            psh: bytes >> PSH_SHIFT & ((1 << (NONE_SHIFT - PSH_SHIFT)) - 1),
        }
    }

    /// Adds what plain packets counted to the totals.
    #[inline(always)]
    pub const fn fold(&mut self) {
        if self.lately_bytes == 0 {
            return;
        }
        let lately = self.lately();
        self.bytes += lately.bytes;
        self.squares = self.squares.wrapping_add(lately.squares);
        self.payload_bytes += lately.payload_bytes;
        self.zero_payload += lately.zero_payload;
        self.psh += lately.psh;
        self.lately = 0;
        self.lately_bytes = 0;
    }
}
