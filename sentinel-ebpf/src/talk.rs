//! The cells in which the CPUs tell each other of conversations: read and written a word at a time.

use crate::ahead;
use crate::maps::TALK;
use sentinel_common::talk::{Cell, Words};

/// A cell of the map.
pub(crate) struct Shared(*mut Cell);

/// The cell of the flow with this hash.
#[inline(always)]
pub(crate) fn cell(hash: u64, mask: u32) -> Option<Shared> {
    TALK.get_ptr_mut((hash >> 33) as u32 & mask).map(Shared)
}

impl Words for Shared {
    #[inline(always)]
    fn get(&self, index: usize) -> u64 {
        // SAFETY: the pointer is to a map value, which stays readable for the length of the program, and the word is
        // aligned. Another CPU may write it meanwhile, as a whole.
        unsafe { (&raw const (*self.0).words[index & 3]).read_volatile() }
    }

    #[inline(always)]
    fn set(&self, index: usize, word: u64) {
        // SAFETY: as above; the store is one instruction.
        unsafe { (&raw mut (*self.0).words[index & 3]).write_volatile(word) }
    }
}

/// Begins to fetch the cell of a flow from memory ([`crate::ahead`]).
#[inline(always)]
pub(crate) fn ahead(hash: u64, mask: u32) {
    if let Some(cell) = TALK.get_ptr((hash >> 33) as u32 & mask) {
        ahead::fetch(cell.cast());
    }
}
