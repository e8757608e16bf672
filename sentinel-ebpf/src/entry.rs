//! The entries of decisions: exact source first, then prefixes; what an entry does to the packet it meets.

use crate::allow::v4;
use crate::maps::{BLOCK_NET4, BLOCK_NET6, BLOCK4, BLOCK6, longest};
use crate::stat::{Stat, atomic_add};
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use sentinel_common::entry::{ACTION_DROP, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::names::PREFIX_TRIES;
use sentinel_common::packet::PacketMeta;
use sentinel_common::settings::{SETTING_ENFORCE, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// What the entries say of a packet from `meta.src`.
#[inline(always)]
pub(crate) fn judge(stat: &mut Stat, settings: &Settings, meta: &PacketMeta, bytes: u64, now: u64) -> Verdict {
    let mut asked = Asked {
        enforce: settings.flags & SETTING_ENFORCE != 0,
        bytes,
        now,
        expired: false,
        would: false,
    };
    let verdict = if meta.ip_version == 4 {
        let source = v4(&meta.src);
        asked.blocked(BLOCK4.get_ptr_mut(source), &BLOCK_NET4, source, 32)
    } else {
        let source = meta.src.0;
        asked.blocked(BLOCK6.get_ptr_mut(source), &BLOCK_NET6, source, 128)
    };
    if asked.expired {
        stat.count(Counter::Expired);
    }
    verdict
}

/// What one packet asks of the block maps, and what it met there.
struct Asked {
    enforce: bool,
    bytes: u64,
    now: u64,
    expired: bool,
    would: bool,
}

impl Asked {
    /// Exact entry first, then prefixes, longest first. Entries that expired or only simulate hide none shorter.
    #[inline(always)]
    fn blocked<K: Copy>(
        &mut self,
        exact: Option<*mut BlockEntry>,
        prefixes: &LpmTrie<K, BlockEntry>,
        source: K,
        width: u32,
    ) -> Verdict {
        if let Some(entry) = exact {
            // SAFETY: the pointer is fresh from the map.
            if unsafe { self.meet(entry) } {
                return Verdict::DropExact;
            }
        }
        if !self.would || self.enforce {
            let mut key = Key::new(width, source);
            for _ in 0..PREFIX_TRIES {
                let Some(entry) = longest(prefixes, &key) else { break };
                // SAFETY: as above.
                if unsafe { self.meet(entry) } {
                    return Verdict::DropPrefix;
                }
                // SAFETY: as above.
                let prefix_len = unsafe { (*entry).prefix_len };
                if prefix_len == 0 || self.would && !self.enforce {
                    break;
                }
                key.prefix_len = u32::from(prefix_len) - 1;
            }
        }
        if self.would { Verdict::WouldDrop } else { Verdict::Pass }
    }

    /// Meets an entry: true if it drops the packet. Its counters move, the would-counters of one entry at most.
    ///
    /// # Safety
    /// `entry` points to a map value; those stay readable and writable for the length of the program's run.
    #[inline(always)]
    unsafe fn meet(&mut self, entry: *mut BlockEntry) -> bool {
        // SAFETY: the caller vouches for the pointer. Counters are only added to atomically; the hit times are single
        // aligned stores, which the agent takes as hints; the rest is the agent's, and replaced as a whole.
        unsafe {
            if (*entry).action != ACTION_DROP {
                return false;
            }
            let expires = (*entry).expires_ns;
            if expires != NEVER_NS && self.now >= expires {
                self.expired = true;
                return false;
            }
            let drops = self.enforce && (*entry).flags & FLAG_SHADOW == 0;
            if !drops && self.would {
                return false;
            }
            let (hits, octets) = if drops {
                (&raw mut (*entry).hits, &raw mut (*entry).hit_bytes)
            } else {
                (&raw mut (*entry).would_hits, &raw mut (*entry).would_bytes)
            };
            atomic_add(hits, 1);
            atomic_add(octets, self.bytes);
            if (*entry).first_hit_ns == 0 {
                (*entry).first_hit_ns = self.now;
            }
            if (*entry).last_hit_ns != self.now {
                (*entry).last_hit_ns = self.now;
            }
            self.would |= !drops;
            drops
        }
    }
}
