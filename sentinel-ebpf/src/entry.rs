//! The entries of decisions: exact source first, then prefixes; what an entry does to the packet it meets.

use crate::allow::v4;
use crate::emit;
use crate::limit;
use crate::maps::{BLOCK_NET4, BLOCK_NET6, BLOCK4, BLOCK6, longest};
use crate::stat::{Stat, atomic_add};
use aya_ebpf::maps::lpm_trie::Key;
use sentinel_common::addr::Addr;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, BlockEntry, FLAG_EGRESS, FLAG_SHADOW, Standing, verdict,
};
use sentinel_common::event::{Header, KIND_RETURN, ReturnRecord, VERSION};
use sentinel_common::names::PREFIX_TRIES;
use sentinel_common::packet::PacketMeta;
use sentinel_common::redirect::stays;
use sentinel_common::settings::{SETTING_ENFORCE, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// What the entries say of a packet from `meta.src`.
#[inline(always)]
pub(crate) fn judge(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    bytes: u64,
    ifindex: u32,
    now: u64,
) -> Verdict {
    let mut asked = Asked {
        stat,
        settings,
        meta,
        bytes,
        ifindex,
        now,
        enforce: settings.flags & SETTING_ENFORCE != 0,
        expired: false,
        would: None,
    };
    // SAFETY: the walk hands over pointers fresh from the maps.
    let decided = walk(&meta.src, meta.ip_version, |entry, exact| unsafe {
        asked.meet(entry, exact)
    });
    if asked.expired {
        asked.stat.count(Counter::Expired);
    }
    decided.or(asked.would).unwrap_or(Verdict::Pass)
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
    let mut would = false;
    let dropped = walk(&meta.dst, meta.ip_version, |entry, _| {
        // SAFETY: the walk hands over pointers fresh from the maps; see `Asked::meet` for who writes what.
        unsafe {
            let stands = (*entry).action == ACTION_DROP && (*entry).flags & FLAG_EGRESS != 0;
            if !stands || (*entry).standing(now) != Standing::Acts {
                return None;
            }
            let drops = enforce && (*entry).flags & FLAG_SHADOW == 0;
            if !drops && would {
                return None;
            }
            count(entry, drops, packets, bytes);
            touch(entry, now);
            would |= !drops;
            if drops || !enforce { Some(drops) } else { None }
        }
    });
    if would {
        stat.add(Counter::EgressWouldDrop, packets);
    }
    dropped == Some(true)
}

/// Shows `meet` every entry that covers an address, the exact one first, then prefixes from the longest on, until it
/// has an answer.
#[inline(always)]
fn walk<T>(address: &Addr, ip_version: u8, mut meet: impl FnMut(*mut BlockEntry, bool) -> Option<T>) -> Option<T> {
    let short = ip_version == 4;
    let mut entry = if short {
        BLOCK4.get_ptr_mut(v4(address))
    } else {
        BLOCK6.get_ptr_mut(address.0)
    };
    let mut width = if short { 32 } else { 128 };
    for step in 0..=PREFIX_TRIES {
        let exact = step == 0;
        if let Some(entry) = entry {
            let answer = meet(entry, exact);
            if answer.is_some() {
                return answer;
            }
            if !exact {
                // SAFETY: the pointer is fresh from the map.
                let prefix_len = unsafe { (*entry).prefix_len };
                if prefix_len == 0 {
                    return None;
                }
                width = u32::from(prefix_len) - 1;
            }
        } else if !exact {
            return None;
        }
        entry = if short {
            longest(&BLOCK_NET4, &Key::new(width, v4(address)))
        } else {
            longest(&BLOCK_NET6, &Key::new(width, address.0))
        };
    }
    None
}

/// What one packet asks of the block maps, and what it met there.
struct Asked<'a> {
    stat: &'a mut Stat,
    settings: &'a Settings,
    meta: &'a PacketMeta,
    bytes: u64,
    ifindex: u32,
    now: u64,
    enforce: bool,
    expired: bool,
    /// What the first entry that only counts would have done.
    would: Option<Verdict>,
}

impl Asked<'_> {
    /// Meets an entry; an answer where it decides. The counters of what only counts move in one entry at most.
    ///
    /// # Safety
    /// `entry` points to a map value; those stay readable and writable for the length of the program's run.
    #[inline(always)]
    unsafe fn meet(&mut self, entry: *mut BlockEntry, exact: bool) -> Option<Verdict> {
        // SAFETY: the caller vouches for the pointer. Counters and TATs are added to atomically; times of hits and of
        // the return are single aligned stores; the rest is the agent's, and replaced as a whole.
        unsafe {
            let acts = match (*entry).standing(self.now) {
                Standing::Silent => return None,
                Standing::Over => false,
                Standing::Acts => true,
                Standing::Returns { until_ns } => {
                    self.returned(entry, until_ns);
                    until_ns != 0
                }
            };
            if !acts {
                self.expired = true;
                return None;
            }
            let shadow = !self.enforce || (*entry).flags & FLAG_SHADOW != 0;
            if shadow && self.would.is_some() {
                return None;
            }
            let action = (*entry).action;
            let strikes = if action == ACTION_LIMIT {
                !limit::conforms(self.stat, self.settings, entry, self.meta, self.bytes, self.now)
            } else {
                action != ACTION_REDIRECT || !stays(self.meta)
            };
            if strikes {
                count(entry, !shadow, 1, self.bytes);
            }
            touch(entry, self.now);
            let verdict = verdict(action, exact, strikes, shadow);
            if shadow {
                self.would = Some(verdict);
                if self.enforce {
                    return None;
                }
            }
            Some(verdict)
        }
    }

    /// Tells of a return, and notes it where that could be done: a return that was lost is told by the next packet.
    /// Two CPUs may tell of one return.
    ///
    /// # Safety
    /// As [`Asked::meet`].
    #[inline(always)]
    unsafe fn returned(&mut self, entry: *mut BlockEntry, until_ns: u64) {
        // SAFETY: as `meet`.
        unsafe {
            let shadow = !self.enforce || (*entry).flags & FLAG_SHADOW != 0;
            let told = emit::record(self.stat, |record: &mut ReturnRecord| {
                record.header = Header {
                    kind: KIND_RETURN,
                    version: VERSION,
                    len: size_of::<ReturnRecord>() as u32,
                };
                record.now_ns = self.now;
                record.remote = self.meta.src;
                record.decision = (*entry).decision;
                record.reapplied_until_ns = until_ns;
                record.ifindex = self.ifindex;
                record.prefix_len = u32::from((*entry).prefix_len);
                record.action = u32::from((*entry).action);
                record.shadow = u32::from(shadow);
                record.pad = 0;
            });
            if told {
                self.stat.count(Counter::Returned);
                (*entry).returned_ns = self.now;
            }
        }
    }
}

/// Counts packets that an entry struck, or would have.
///
/// # Safety
/// As [`Asked::meet`].
#[inline(always)]
unsafe fn count(entry: *mut BlockEntry, real: bool, packets: u64, bytes: u64) {
    // SAFETY: as `Asked::meet`.
    unsafe {
        let (hits, octets) = if real {
            (&raw mut (*entry).hits, &raw mut (*entry).hit_bytes)
        } else {
            (&raw mut (*entry).would_hits, &raw mut (*entry).would_bytes)
        };
        atomic_add(hits, packets);
        atomic_add(octets, bytes);
    }
}

/// Notes when an entry was met.
///
/// # Safety
/// As [`Asked::meet`].
#[inline(always)]
unsafe fn touch(entry: *mut BlockEntry, now: u64) {
    // SAFETY: as `Asked::meet`.
    unsafe {
        if (*entry).first_hit_ns == 0 {
            (*entry).first_hit_ns = now;
        }
        if (*entry).last_hit_ns != now {
            (*entry).last_hit_ns = now;
        }
    }
}
