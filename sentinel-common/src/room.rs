//! Which flow of a full bucket makes room for a new one.
//!
//! Asked once for every packet of a flood, of heads that have just come from memory: what a branch would depend on is not
//! known yet, and guessed wrongly half of the time. So there is none, only sums.

use crate::flow::{STATE_CLOSED, STATE_HANDSHAKE};
use crate::slot::{Bucket, HEAD_BUSY, HEAD_FIN, Head, KEEP_UNITS, SKEW_UNITS};

/// Where the rank of [`missed`] stands: above 32 bits of time and 2 of the place.
const RANK_SHIFT: u32 = 34;
/// Rank of an established flow in use.
const ESTABLISHED: u64 = 3;
/// Rank of any other in use, of more than one packet.
const IN_USE: u64 = 2;

impl Bucket {
    /// The place a new flow takes: of its tag, empty, or whichever is missed least; `None` where all four hold
    /// established flows in use. Unproven flows of one packet go first, then unproven ones, the quietest first.
    #[inline(always)]
    pub fn victim(&self, tag: u32, now: u32) -> Option<u32> {
        let same = self.find(tag) & 3;
        // Tags are unique: a flow that shares another's makes it go.
        if self.heads[same as usize].tag == tag {
            return Some(same);
        }
        let least = self.least_missed(now, |word| word);
        gives_way(least).then_some(least as u32 & 3)
    }

    /// The place, in the low two bits, of the flow that is missed least; to be asked [`gives_way`]. `hide` returns what it
    /// is given: what the kernel's compiler sees through it makes branches of.
    #[inline(always)]
    pub fn least_missed(&self, now: u32, hide: impl Fn(u64) -> u64) -> u64 {
        let [zero, one, two, three] = &self.heads;
        let first = less(missed(zero, 0, now), missed(one, 1, now), &hide);
        let second = less(missed(two, 2, now), missed(three, 3, now), &hide);
        less(first, second, &hide)
    }
}

/// Whether the flow that [`Bucket::least_missed`] found makes room.
#[inline(always)]
pub const fn gives_way(least: u64) -> bool {
    least >> RANK_SHIFT < ESTABLISHED
}

/// Whether that flow is in use, so that the new one had better look for room elsewhere.
#[inline(always)]
pub(crate) const fn crowded(least: u64) -> bool {
    least >> RANK_SHIFT >= IN_USE
}

/// Whether the flow that is missed least in one bucket is missed less than that of another, by rank.
#[inline(always)]
pub(crate) const fn roomier(least: u64, other: u64) -> bool {
    least >> RANK_SHIFT < other >> RANK_SHIFT
}

/// How much a flow would be missed: rank, then how recently it was used, then `way`. Rank 3 is an established flow in use, 2
/// others of more than one packet, 1 the rest, 0 nothing at all.
#[inline(always)]
const fn missed(head: &Head, way: u64, now: u32) -> u64 {
    const ENDED: u64 = HEAD_BUSY as u64 | HEAD_FIN as u64 | STATE_CLOSED as u64;
    let state = head.state as u64;
    // From a little in the future on, as `age` has it.
    let silent = now.wrapping_sub(head.last).wrapping_add(SKEW_UNITS) as u64;
    let kept = silent.wrapping_sub((KEEP_UNITS + SKEW_UNITS) as u64) >> 63;
    // Busy and not ended: of all numbers only zero borrows.
    let in_use = (state & ENDED ^ HEAD_BUSY as u64).wrapping_sub(1) >> 63 & kept;
    let proven = in_use & state >> STATE_HANDSHAKE.trailing_zeros();
    // Tags are odd.
    let held = head.tag as u64 & 1;
    let score = (held + in_use + proven) << RANK_SHIFT | (silent ^ 0xffff_ffff) << 2;
    // Of a place that holds nothing only its number is left.
    score & held.wrapping_neg() | way
}

/// The lesser of two numbers below 2^63.
#[inline(always)]
pub(crate) fn less(one: u64, other: u64, hide: &impl Fn(u64) -> u64) -> u64 {
    let differ = other.wrapping_sub(one);
    one.wrapping_add(differ & hide(differ >> 63).wrapping_neg())
}
