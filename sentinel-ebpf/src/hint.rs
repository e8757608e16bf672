//! Reads the hints of an address: on the way of a packet nobody listed, the only question asked of the lists.

use crate::maps::{EPOCH, HINT4, HINT6};
use crate::verifier::any;
use aya_ebpf::maps::Array;
use sentinel_common::addr::Addr;
use sentinel_common::hint::{HINT_ALL, cell4, cell6_short, high64, long, low32, middle, part, place, scattered};
use sentinel_common::settings::Settings;

/// The `HINT_*` bits of an address: what may be listed there.
#[inline(always)]
pub(crate) fn of(settings: &Settings, address: &Addr, ip_version: u8) -> u32 {
    if ip_version == 4 {
        of4(low32(address))
    } else {
        of6(settings, high64(address))
    }
}

/// Those of an IPv4 address as a host integer.
#[inline(always)]
pub(crate) fn of4(address: u32) -> u32 {
    cell(&HINT4, cell4(address))
}

/// The word of an IPv4 address, in which others have theirs.
#[inline(always)]
pub(crate) fn near4(address: u32) -> Option<u64> {
    word(&HINT4, place(cell4(address)).0)
}

/// Its hints in that word.
#[inline(always)]
pub(crate) fn within4(word: u64, address: u32) -> u32 {
    (word >> place(cell4(address)).1) as u32 & HINT_ALL
}

/// Those of an IPv6 address; `high` is its first half as a host integer.
#[inline(always)]
pub(crate) fn of6(settings: &Settings, high: u64) -> u32 {
    let [second, third] = scattered(high, settings.factors6);
    let mut hints = 0;
    if hinted6(settings, 0, high) {
        hints |= cell(&HINT6, cell6_short(high));
    }
    if hinted6(settings, 1, second) {
        hints |= cell(&HINT6, middle(second));
    }
    if hinted6(settings, 2, third) {
        hints |= cell(&HINT6, long(third));
    }
    hints
}

/// Whether there may be anything where one of them leads to; `high` as above.
#[inline(always)]
pub(crate) fn near6(settings: &Settings, high: u64) -> bool {
    let [second, third] = scattered(high, settings.factors6);
    any::<1>(parts6(settings, 0, high) | parts6(settings, 1, second) | parts6(settings, 2, third))
}

/// Whether there may be anything where an address or hash leads to.
#[inline(always)]
fn hinted6(settings: &Settings, region: usize, leads: u64) -> bool {
    parts6(settings, region, leads) & 1 != 0
}

/// The same as the lowest bit.
#[inline(always)]
fn parts6(settings: &Settings, region: usize, leads: u64) -> u64 {
    // SAFETY: the agent stores whole words.
    let parts = unsafe { (&raw const settings.hinted6[region]).read_volatile() };
    parts >> part(leads)
}

/// The number of the lists' latest change: as long as it stays, a source that nothing was found for stays one.
#[inline(always)]
pub(crate) fn epoch() -> Option<u32> {
    // SAFETY: the pointer is fresh from the map; the agent stores the whole word, after what it tells of.
    EPOCH.get_ptr(0).map(|word| unsafe { word.read_volatile() })
}

#[inline(always)]
fn cell(map: &Array<u64>, cell: u32) -> u32 {
    let (at, shift) = place(cell);
    // Every cell has its word; where it had none, what is listed would have to be looked up.
    word(map, at).map_or(HINT_ALL, |word| (word >> shift) as u32 & HINT_ALL)
}

#[inline(always)]
fn word(map: &Array<u64>, at: u32) -> Option<u64> {
    // SAFETY: the pointer is fresh from the map; the agent stores whole words.
    map.get_ptr(at).map(|word| unsafe { word.read_volatile() })
}
