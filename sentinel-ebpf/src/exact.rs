//! Finds the entry of an exact address: `sentinel_common::exact` says where it lies.

use crate::maps::{BLOCK4, BLOCK6, ENTRY4, ENTRY6};
use crate::verifier::forget;
use aya_ebpf::maps::Array;
use sentinel_common::addr::Addr;
use sentinel_common::entry::BlockEntry;
use sentinel_common::exact::{Bucket, Place, cell, tag};
use sentinel_common::settings::Settings;

/// The entry of an address.
#[inline(always)]
pub(crate) fn find(settings: &Settings, address: &Addr, ip_version: u8) -> Option<*mut BlockEntry> {
    if ip_version == 4 {
        find4(settings, u64::from(address.tail()))
    } else {
        find6(settings, address.halves())
    }
}

/// That of an IPv4 address as it stands in memory.
#[inline(always)]
pub(crate) fn find4(settings: &Settings, address: u64) -> Option<*mut BlockEntry> {
    let place = Place::v4_wide(&settings.keys, address);
    let mask = settings.block4_mask;
    let slot = match slot(&BLOCK4, place.one & mask, address) {
        0 => slot(&BLOCK4, place.two & mask, address),
        found => found,
    };
    if slot == 0 {
        return None;
    }
    // Whichever it was, from here on it is one.
    let cell = ENTRY4.get_ptr_mut(cell(forget(slot, address)))?;
    // SAFETY: the pointer is fresh from the map.
    Some(unsafe { &raw mut (*cell).entry })
}

/// That of an IPv6 address by halves as they stand in memory.
#[inline(always)]
pub(crate) fn find6(settings: &Settings, address: [u64; 2]) -> Option<*mut BlockEntry> {
    let place = Place::v6(&settings.keys, address);
    let mask = settings.block6_mask;
    let seed = settings.seed;
    let tag = u64::from(place.tag);
    let first = forget(slot(&BLOCK6, place.one & mask, tag), seed);
    match own6(cell(first), address) {
        None => own6(cell(forget(slot(&BLOCK6, place.two & mask, tag), seed)), address),
        entry => entry,
    }
}

/// The entry in a cell, if it is that of this address.
#[inline(always)]
fn own6(number: u32, address: [u64; 2]) -> Option<*mut BlockEntry> {
    if number == 0 {
        return None;
    }
    let cell = ENTRY6.get_ptr_mut(number)?;
    // SAFETY: the pointer is fresh from the map; the agent writes a cell before any slot names it.
    unsafe {
        let [high, low] = (*cell).key.halves();
        (high ^ address[0] | low ^ address[1] == 0).then_some(&raw mut (*cell).entry)
    }
}

/// The slot of a tag in a bucket; 0 for none.
#[inline(always)]
fn slot(map: &Array<Bucket>, index: u32, wanted: u64) -> u64 {
    let Some(bucket) = map.get_ptr(index) else { return 0 };
    // SAFETY: the pointer is fresh from the map, and a bucket is four words; the agent writes each by one store.
    unsafe {
        let first = bucket.cast::<u64>();
        macro_rules! each {
            ($($at:literal)*) => {
                $(
                    let slot = first.add($at).read_volatile();
                    if u64::from(tag(slot)) == wanted {
                        return slot;
                    }
                )*
            };
        }
        // Written out: see `sentinel_common::packet` on loops.
        each!(0 1 2 3);
    }
    0
}
