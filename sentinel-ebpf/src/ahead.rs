//! Memory that a new flow will need, fetched while it is being found out that the flow is new.
//!
//! A new flow concerns tables too big for any cache, and what is there is asked for in turn: each look-up would wait for
//! memory anew. Loads that nobody uses yet make the waits one.

use crate::maps::SETTINGS;
use crate::reflex;
use crate::talk;
use sentinel_common::slot::Bucket;

/// Fetches what the first packet of a flow will need: of its conversation, of its source (`source_word`), and of whichever
/// flow of `bucket` makes room.
///
/// Not a function of its own: Linux before 6.5 cannot follow a value back through a call, takes everything before it as
/// significant, and walked the whole program three times as often.
#[inline(always)]
pub(crate) fn new_flow(bucket: &Bucket, hash: u64, source: u64) {
    let settings = SETTINGS.get();
    talk::ahead(hash, settings.talk_mask);
    reflex::ahead(settings, source);
    // Which one it will be hangs on heads that are on their way: all of them are there sooner than that one would be.
    let slots = (&raw const bucket.slots).cast::<u64>();
    fetch(slots);
    fetch(slots.wrapping_add(8));
    fetch(slots.wrapping_add(16));
    fetch(slots.wrapping_add(24));
    fetch(slots.wrapping_add(32));
    fetch(slots.wrapping_add(40));
    fetch(slots.wrapping_add(48));
    fetch(slots.wrapping_add(56));
}

/// Loads a word of a map, which no instruction uses: the processor goes on meanwhile.
#[inline(always)]
pub(crate) fn fetch(word: *const u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the pointer is to an aligned word of a map value, which is readable for the length of the program.
    unsafe {
        core::arch::asm!("{0} = *(u64 *)({1} + 0)", out(reg) _, in(reg) word, options(readonly, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = word;
}
