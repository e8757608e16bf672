//! Feed lists: which of them hold a source, and what comes of it.

use crate::allow::v4;
use crate::maps::{LIST_HITS, LIST_NET4, LIST_NET6, LIST4, LIST6, LISTS, longest};
use crate::stat::{Stat, atomic_add, atomic_add32};
use crate::verifier::forget;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use sentinel_common::hint::{HINT_LIST, HINT_LIST_NET, NO_EPOCH};
use sentinel_common::list::{NetSlot, Slot4, Slot6, buckets4, buckets6, in_force, lowest, number, words6};
use sentinel_common::packet::PacketMeta;
use sentinel_common::settings::{SETTING_ENFORCE, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// Whether the lists have a say after the entries of decisions. An entry that only counts hides no list that enforces.
#[inline(always)]
pub(crate) fn may_add(settings: &Settings, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Pass => true,
        Verdict::WouldDrop | Verdict::WouldLimit | Verdict::WouldRedirect => settings.flags & SETTING_ENFORCE != 0,
        _ => false,
    }
}

/// What comes of an entry's verdict and the lists': the lists' where it drops, or where the entry had nothing to say.
#[inline(always)]
pub(crate) fn stricter(entry: Verdict, lists: Verdict) -> Verdict {
    if lists.drops() || matches!(entry, Verdict::Pass) {
        lists
    } else {
        entry
    }
}

/// What the lists say of a packet from `meta.src`; `hints` are its source's.
#[inline(always)]
pub(crate) fn judge(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    hints: u32,
    bytes: u64,
    now: u64,
) -> Verdict {
    // SAFETY: a reference is readable. Read once: a list exchanged meanwhile counts from the next packet on.
    let versions = unsafe { (&raw const settings.list_versions).read_volatile() };
    let mut lists = 0;
    if hints & HINT_LIST != 0 {
        lists = exact(settings, meta, versions);
    }
    if hints & HINT_LIST_NET != 0 {
        lists |= if meta.ip_version == 4 {
            prefix(&LIST_NET4, Key::new(32, v4(&meta.src)), versions)
        } else {
            prefix(&LIST_NET6, Key::new(128, meta.src.0), versions)
        };
    }
    // However many slots were looked at, from here on it is one mask.
    let lists = forget(u64::from(lists), now) as u32;
    if lists == 0 {
        return Verdict::Pass;
    }
    stat.set_clear(NO_EPOCH);
    outcome(stat, settings, lists, versions, bytes, now)
}

/// The lists in force that have the very address.
#[inline(always)]
fn exact(settings: &Settings, meta: &PacketMeta, versions: u32) -> u32 {
    if meta.ip_version == 4 {
        let address = u32::from_ne_bytes(v4(&meta.src));
        let (one, two) = buckets4(address, settings.seed, settings.list4_mask);
        match bucket4(one, address, versions) {
            0 => bucket4(two, address, versions),
            lists => lists,
        }
    } else {
        let address = words6(&meta.src);
        let (one, two) = buckets6(address, settings.seed, settings.list6_mask);
        match bucket6(one, address, versions) {
            0 => bucket6(two, address, versions),
            lists => lists,
        }
    }
}

#[inline(always)]
fn bucket4(index: u32, address: u32, versions: u32) -> u32 {
    let Some(bucket) = LIST4.get_ptr_mut(index) else {
        return 0;
    };
    // SAFETY: the pointer is fresh from the map, and a bucket is four slots.
    unsafe {
        let first = (&raw mut (*bucket).slots).cast::<Slot4>();
        // Written out: see `sentinel_common::packet` on loops.
        match slot4(first, address, versions) {
            0 => match slot4(first.add(1), address, versions) {
                0 => match slot4(first.add(2), address, versions) {
                    0 => slot4(first.add(3), address, versions),
                    lists => lists,
                },
                lists => lists,
            },
            lists => lists,
        }
    }
}

/// # Safety
/// `slot` lies in a map value.
#[inline(always)]
unsafe fn slot4(slot: *mut Slot4, address: u32, versions: u32) -> u32 {
    // SAFETY: the caller vouches for the pointer; the agent writes aligned words, an address before its masks.
    unsafe {
        if (&raw const (*slot).address).read_volatile() != address {
            return 0;
        }
        let even = (&raw const (*slot).even).read_volatile();
        let odd = (&raw const (*slot).odd).read_volatile();
        let lists = in_force(even, odd, versions);
        if lists != 0 {
            atomic_add32(&raw mut (*slot).hits, 1);
        }
        lists
    }
}

#[inline(always)]
fn bucket6(index: u32, address: [u64; 2], versions: u32) -> u32 {
    let Some(bucket) = LIST6.get_ptr_mut(index) else {
        return 0;
    };
    // SAFETY: as in `bucket4`.
    unsafe {
        let first = (&raw mut (*bucket).slots).cast::<Slot6>();
        match slot6(first, address, versions) {
            0 => match slot6(first.add(1), address, versions) {
                0 => match slot6(first.add(2), address, versions) {
                    0 => slot6(first.add(3), address, versions),
                    lists => lists,
                },
                lists => lists,
            },
            lists => lists,
        }
    }
}

/// # Safety
/// As [`slot4`].
#[inline(always)]
unsafe fn slot6(slot: *mut Slot6, address: [u64; 2], versions: u32) -> u32 {
    // SAFETY: as in `slot4`.
    unsafe {
        let words = (&raw const (*slot).address).cast::<u64>();
        if words.add(1).read_volatile() != address[1] || words.read_volatile() != address[0] {
            return 0;
        }
        let even = (&raw const (*slot).even).read_volatile();
        let odd = (&raw const (*slot).odd).read_volatile();
        let lists = in_force(even, odd, versions);
        if lists != 0 {
            atomic_add(&raw mut (*slot).hits, 1);
        }
        lists
    }
}

/// The lists in force that have a prefix of the source: the longest match carries those of all shorter ones.
#[inline(always)]
fn prefix<K: Copy>(map: &LpmTrie<K, NetSlot>, key: Key<K>, versions: u32) -> u32 {
    let Some(slot) = longest(map, &key) else { return 0 };
    // SAFETY: the pointer is fresh from the map; masks change only when the agent replaces the value.
    unsafe {
        let lists = in_force((*slot).even, (*slot).odd, versions);
        if lists != 0 {
            atomic_add32(&raw mut (*slot).hits, 1);
        }
        lists
    }
}

/// What these lists do together: one that expired or only counts hides none other.
#[inline(always)]
fn outcome(stat: &mut Stat, settings: &Settings, lists: u32, versions: u32, bytes: u64, now: u64) -> Verdict {
    let (Some(even), Some(odd)) = (LISTS.get(0), LISTS.get(1)) else {
        return Verdict::Pass;
    };
    let mut lists = lists;
    if now >= even.next_expiry_ns || now >= odd.next_expiry_ns {
        let expired = in_force(even.expired(now), odd.expired(now), versions);
        if lists & expired != 0 {
            stat.count(Counter::Expired);
            lists &= !expired;
        }
        if lists == 0 {
            return Verdict::Pass;
        }
    }
    let enforced = if settings.flags & SETTING_ENFORCE != 0 {
        lists & !in_force(even.shadow, odd.shadow, versions)
    } else {
        0
    };
    // One list answers for a packet, the lowest: they share its cost otherwise.
    let answering = lowest(if enforced != 0 { enforced } else { lists });
    if let Some(hits) = LIST_HITS.get_ptr_mut(number(answering)) {
        // SAFETY: the element is this CPU's and only ingress writes it.
        unsafe {
            if enforced != 0 {
                (*hits).hits += 1;
                (*hits).hit_bytes += bytes;
            } else {
                (*hits).would_hits += 1;
                (*hits).would_bytes += bytes;
            }
        }
    }
    if enforced != 0 {
        Verdict::DropList
    } else {
        Verdict::WouldDrop
    }
}
