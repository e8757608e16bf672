//! Plain packets: those that do nothing to a flow but be counted.
//!
//! Most packets of most hosts are data or an acknowledgement of a conversation that runs. For them the whole rule
//! ([`crate::table::Pass`]) comes to a few sums, so that they may take a short way to the same end. [`Plain::fits`] says
//! which packets these are, and the tests hold that the two ways never differ.

use crate::flow::STATE_ALLOWED;
use crate::slot::{HEAD_BUSY, HEAD_SETTLED, Head, Slot, units};
use crate::table::TELL;

/// A TCP segment with ACK and at most PSH beside it, or a UDP datagram, in one piece, that came in from an address
/// nobody listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// L3 length, bytes.
    pub len: u64,
    /// L4 payload, bytes.
    pub payload_len: u64,
    /// 1 for a segment with PSH.
    pub psh: u64,
    /// `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
}

/// Bits of [`Head::state`] that must be as [`RUNNING`].
const ASKED: u16 = HEAD_SETTLED | HEAD_BUSY | STATE_ALLOWED as u16;
/// A conversation that has no more to tell, with a source nobody allowlisted.
const RUNNING: u16 = HEAD_SETTLED | HEAD_BUSY;

impl Plain {
    /// Whether the packet does nothing to its flow's slot but what [`Plain::count`] does: no record is due by time, none
    /// by count, and no bound moves. A slot that was just reported has no bounds yet, so that its first packet does not
    /// fit; and while no record is due, no flow is forgotten ([`crate::table::wait`]).
    #[inline(always)]
    pub const fn fits(&self, head: &Head, slot: &Slot) -> bool {
        head.state & ASKED == RUNNING
            && units(self.now_ns).wrapping_sub(slot.due).cast_signed() < 0
            && self.len >= slot.len_min as u64
            && self.len <= slot.len_max as u64
            && !(head.packets + 1).is_multiple_of(TELL)
    }

    /// Counts it.
    #[inline(always)]
    pub const fn count(&self, head: &mut Head, slot: &mut Slot) {
        head.last = units(self.now_ns);
        head.packets += 1;
        slot.sum(self.len);
        slot.note(self.payload_len, self.now_ns);
        slot.psh += self.psh as u32;
    }
}
