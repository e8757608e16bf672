//! The entries of decisions: exact source first, then prefixes; what an entry does to the packet it meets.

use crate::allow::v4;
use crate::emit;
use crate::exact;
use crate::limit;
use crate::maps::{BLOCK_NET4, BLOCK_NET6, SETTINGS, longest};
use crate::stat::{Stat, atomic_add_at};
use crate::verifier::forget;
use aya_ebpf::maps::lpm_trie::Key;
use core::mem::offset_of;
use sentinel_common::addr::Addr;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, ACTION_WATCH, BlockEntry, FLAG_EGRESS, FLAG_OPENINGS, FLAG_SHADOW,
    NEVER_NS, Standing, verdict,
};
use sentinel_common::event::{Header, KIND_RETURN, ReturnRecord, VERSION};
use sentinel_common::hint::NO_EPOCH;
use sentinel_common::names::PREFIX_TRIES;
use sentinel_common::packet::PacketMeta;
use sentinel_common::redirect::stays;
use sentinel_common::reflex::opens;
use sentinel_common::settings::{SETTING_ENFORCE, SETTINGS_PLAIN, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// What an entry answers, in one word: bit for one that is over.
const OVER: u64 = 1;
/// Bit of it: the entry has a say, and its action stands in the byte above.
const SAYS: u64 = 2;
/// Bit of it: it strikes.
const STRIKES: u64 = 4;
/// Bit of it: it only counts.
const SHADOW: u64 = 8;
/// Bit of it: it is the exact source's.
const EXACT: u64 = 16;
/// Where the action stands.
const ACTION_SHIFT: u32 = 8;

/// Whether an exact source's entry drops the packet and leaves nothing to ask; then it has counted it. [`judge`] would
/// come to the same, by a longer way.
#[inline(always)]
pub(crate) fn strikes(settings: &Settings, entry: *mut BlockEntry, bytes: u64, now: u64) -> bool {
    // SAFETY: the pointer is fresh from the map; the rest as in `meet`. The flags are read for this question alone, lest
    // the verifier carries its answer on into `judge` and walks that once for each.
    unsafe {
        let enforces = (&raw const settings.flags).read_volatile() & SETTING_ENFORCE;
        let plain = (*entry).action == ACTION_DROP && (*entry).flags & FLAG_SHADOW == 0;
        if forget(u64::from(plain && enforces != 0 && !(*entry).expired(now)), now) == 0 {
            return false;
        }
        count(entry, true, 1, bytes);
        touch(entry, now);
    }
    true
}

/// The same where plain packets take the short way, by as few questions as there are: whichever is answered otherwise, the
/// whole way begins.
#[inline(always)]
pub(crate) fn drops(settings: &Settings, entry: *mut BlockEntry, bytes: u64, now: u64) -> bool {
    const FLAGS: u32 = SETTINGS_PLAIN | SETTING_ENFORCE;
    const { assert!(offset_of!(BlockEntry, flags) == offset_of!(BlockEntry, action) + 1) };
    const { assert!(offset_of!(BlockEntry, action) % 2 == 0 && NEVER_NS == u64::MAX) };
    // SAFETY: as in `strikes`; action and flags are two bytes of the entry that lie as one word.
    unsafe {
        let order = entry.byte_add(offset_of!(BlockEntry, action)).cast::<u16>().read();
        if settings.flags & FLAGS != FLAGS
            || order & u16::from_ne_bytes([0xff, FLAG_SHADOW]) != u16::from_ne_bytes([ACTION_DROP, 0])
            || now >= (*entry).expires_ns
        {
            return false;
        }
        count(entry, true, 1, bytes);
        touch(entry, now);
    }
    true
}

/// What the entries say of a packet from `meta.src`, whose own is `exact`.
#[inline(always)]
pub(crate) fn judge(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    exact: Option<*mut BlockEntry>,
    bytes: u64,
    ifindex: u32,
    now: u64,
) -> Verdict {
    let enforce = settings.flags & SETTING_ENFORCE != 0;
    let size = bytes | u64::from(ifindex) << 32;
    let mut over = forget(0, now);
    // The first answer that counts for nothing else, or the one that decides.
    let mut says = forget(0, now);
    walk(&meta.src, meta.ip_version, exact, |entry, exact| {
        // SAFETY: the walk hands over pointers fresh from the maps.
        let answer = unsafe { meet(stat, meta, entry, size, now & !1 | says >> 1 & 1) };
        stat.set_clear(NO_EPOCH);
        over |= answer;
        if answer & SAYS == 0 {
            return false;
        }
        says = if exact { answer | EXACT } else { answer };
        !enforce || answer & SHADOW == 0
    });
    if over & OVER != 0 {
        stat.count(Counter::Expired);
    }
    if says & SAYS == 0 {
        return Verdict::Pass;
    }
    verdict(
        (says >> ACTION_SHIFT) as u8,
        says & EXACT != 0,
        says & STRIKES != 0,
        says & SHADOW != 0,
    )
}

/// Meets an entry. The counters of what only counts move in one entry at most: the lowest bit of `now` says whether
/// another has (a nanosecond is below what the clock can tell). `size` is the frame's bytes, with the interface's index
/// above them.
///
/// A function of its own, with no more arguments than there are registers, because it is called from each turn of an
/// unrolled loop, and because what it keeps on its stack is then not kept on the caller's.
///
/// # Safety
/// `entry` points to a map value; those stay readable and writable for the length of the program's run.
#[inline(never)]
unsafe fn meet(stat: &mut Stat, meta: &PacketMeta, entry: *mut BlockEntry, size: u64, now: u64) -> u64 {
    let settings = SETTINGS.get();
    let enforce = settings.flags & SETTING_ENFORCE != 0;
    let (counted, now) = (now & 1 != 0, now & !1);
    let (bytes, ifindex) = (size & 0xffff_ffff, (size >> 32) as u32);
    // SAFETY: the caller vouches for the pointer. Counters and TATs are added to atomically; times of hits and of the
    // return are single aligned stores; the rest is the agent's, and replaced as a whole.
    unsafe {
        let shadow = !enforce || (*entry).flags & FLAG_SHADOW != 0;
        let action = (*entry).action;
        let acts = match (*entry).standing(now) {
            Standing::Silent => return 0,
            Standing::Over => false,
            Standing::Acts => true,
            Standing::Returns { until_ns } => {
                returned(stat, meta, entry, ifindex, now, until_ns, shadow);
                if action == ACTION_WATCH {
                    return 0;
                }
                until_ns != 0
            }
        };
        if !acts {
            return OVER;
        }
        if shadow && counted {
            return 0;
        }
        let strikes = if action == ACTION_LIMIT {
            let spared = (*entry).flags & FLAG_OPENINGS != 0 && !opens(meta);
            !spared && !limit::conforms(stat, settings, entry, meta, bytes, now)
        } else {
            action != ACTION_REDIRECT || !stays(meta)
        };
        if strikes {
            count(entry, !shadow, 1, bytes);
        }
        touch(entry, now);
        let answer = SAYS | if strikes { STRIKES } else { 0 } | if shadow { SHADOW } else { 0 };
        forget(answer | u64::from(action) << ACTION_SHIFT, now)
    }
}

/// Tells of a return, and notes it where that could be done: a return that was lost is told by the next packet. Two
/// CPUs may tell of one return.
///
/// # Safety
/// As [`meet`].
#[inline(always)]
unsafe fn returned(
    stat: &mut Stat,
    meta: &PacketMeta,
    entry: *mut BlockEntry,
    ifindex: u32,
    now: u64,
    until_ns: u64,
    shadow: bool,
) {
    // SAFETY: as `meet`.
    unsafe {
        let told = emit::record(stat, |record: &mut ReturnRecord| {
            record.header = Header {
                kind: KIND_RETURN,
                version: VERSION,
                len: size_of::<ReturnRecord>() as u32,
            };
            record.now_ns = now;
            record.remote = meta.src;
            record.decision = (*entry).decision;
            record.reapplied_until_ns = until_ns;
            record.ifindex = ifindex;
            record.prefix_len = u32::from((*entry).prefix_len);
            record.action = u32::from((*entry).action);
            record.shadow = u32::from(shadow);
            record.pad = 0;
        });
        if told {
            stat.count(Counter::Returned);
            (*entry).returned_ns = now;
        }
    }
}

/// Whether the entries drop what goes out to `meta.dst`: `packets` packets of together `bytes` bytes.
#[inline(always)]
pub(crate) fn leaving(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    packets: u64,
    bytes: u64,
    now: u64,
) -> bool {
    let enforce = settings.flags & SETTING_ENFORCE != 0;
    let mut says = forget(0, now);
    let own = exact::find(settings, &meta.dst, meta.ip_version);
    walk(&meta.dst, meta.ip_version, own, |entry, _| {
        // SAFETY: the walk hands over pointers fresh from the maps.
        let answer = unsafe { meet_leaving(entry, packets, bytes, now, says) };
        if answer & SAYS == 0 {
            return false;
        }
        says = answer;
        !enforce || answer & SHADOW == 0
    });
    if says & SHADOW != 0 {
        stat.add(Counter::EgressWouldDrop, packets);
    }
    says & SAYS != 0 && says & SHADOW == 0
}

/// Meets an entry on the way out; see [`meet`].
///
/// # Safety
/// As [`meet`].
#[inline(never)]
unsafe fn meet_leaving(entry: *mut BlockEntry, packets: u64, bytes: u64, now: u64, said: u64) -> u64 {
    let settings = SETTINGS.get();
    // SAFETY: as `meet`.
    unsafe {
        let stands = (*entry).action == ACTION_DROP && (*entry).flags & FLAG_EGRESS != 0;
        if !stands || (*entry).standing(now) != Standing::Acts {
            return 0;
        }
        let shadow = settings.flags & SETTING_ENFORCE == 0 || (*entry).flags & FLAG_SHADOW != 0;
        if shadow && said & SAYS != 0 {
            return 0;
        }
        count(entry, !shadow, packets, bytes);
        touch(entry, now);
        forget(if shadow { SAYS | SHADOW } else { SAYS }, now)
    }
}

/// Shows `meet` every entry that covers an address, its own first, then prefixes from the longest on, until it
/// has heard enough.
#[inline(always)]
fn walk(
    address: &Addr,
    ip_version: u8,
    own: Option<*mut BlockEntry>,
    mut meet: impl FnMut(*mut BlockEntry, bool) -> bool,
) {
    let short = ip_version == 4;
    let mut entry = own;
    let mut width = if short { 32 } else { 128 };
    for step in 0..=PREFIX_TRIES {
        let exact = step == 0;
        if let Some(entry) = entry {
            if meet(entry, exact) {
                return;
            }
            if !exact {
                // SAFETY: the pointer is fresh from the map.
                let prefix_len = unsafe { (*entry).prefix_len };
                if prefix_len == 0 {
                    return;
                }
                width = u32::from(prefix_len) - 1;
            }
        } else if !exact {
            return;
        }
        entry = if short {
            longest(&BLOCK_NET4, &Key::new(width, v4(address)))
        } else {
            longest(&BLOCK_NET6, &Key::new(width, address.0))
        };
    }
}

/// Counts packets that an entry struck, or would have.
///
/// # Safety
/// As [`meet`].
#[inline(always)]
unsafe fn count(entry: *mut BlockEntry, real: bool, packets: u64, bytes: u64) {
    // SAFETY: as `meet`.
    unsafe {
        if real {
            atomic_add_at::<{ offset_of!(BlockEntry, hits) }, _>(entry, packets);
            atomic_add_at::<{ offset_of!(BlockEntry, hit_bytes) }, _>(entry, bytes);
        } else {
            atomic_add_at::<{ offset_of!(BlockEntry, would_hits) }, _>(entry, packets);
            atomic_add_at::<{ offset_of!(BlockEntry, would_bytes) }, _>(entry, bytes);
        }
    }
}

/// Notes when an entry was met.
///
/// # Safety
/// As [`meet`].
#[inline(always)]
unsafe fn touch(entry: *mut BlockEntry, now: u64) {
    // SAFETY: as `meet`.
    unsafe {
        if (*entry).first_hit_ns == 0 {
            (*entry).first_hit_ns = now;
        }
        if (*entry).last_hit_ns != now {
            (*entry).last_hit_ns = now;
        }
    }
}
