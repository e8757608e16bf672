//! The order of decisions: settings, allow, block by exact source, block by prefix, pass.
//!
//! Native XDP sees packets as they arrive. Generic XDP comes after GRO has merged some, so packets count for less
//! there; bytes are right.

use crate::account;
use crate::allow::{allowed, v4};
use crate::frame::{self, Frame};
use crate::maps::{BLOCK_NET4, BLOCK_NET6, BLOCK4, BLOCK6, SETTINGS, longest, scratch};
use crate::stat::{Stat, atomic_add};
use crate::verdict::xdp_code;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::programs::XdpContext;
use sentinel_common::entry::{ACTION_DROP, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::flow::Direction;
use sentinel_common::names::PREFIX_TRIES;
use sentinel_common::packet::{PacketMeta, ParseError};
use sentinel_common::settings::{SETTING_ENFORCE, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// Body of the ingress programs; `FRAGS` where a frame may span buffers.
#[inline(always)]
pub(crate) fn ingress<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let (Some(settings), Some(mut stat), Some(meta)) = (SETTINGS.get(0), Stat::of(ifindex), scratch(0)) else {
        return XDP_PASS;
    };
    let frame = Frame::new(ctx.data(), ctx.data_end());
    let bytes = if FRAGS {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_xdp_get_buff_len(ctx.ctx) }
    } else {
        frame.len()
    };
    if let Err(error) = frame::parse(frame, meta) {
        stat.count(match error {
            ParseError::NotIp => Counter::NotIp,
            ParseError::Truncated => Counter::Truncated,
            ParseError::Malformed | ParseError::Mapped => Counter::Malformed,
            ParseError::TooDeep => Counter::TooDeep,
        });
        if error.hides_source() && settings.flags & SETTING_ENFORCE != 0 {
            stat.count(Counter::DropHidden);
            stat.add(Counter::DropHiddenBytes, bytes);
            return XDP_DROP;
        }
        stat.count(Counter::PassOther);
        stat.add(Counter::PassOtherBytes, bytes);
        return XDP_PASS;
    }
    if meta.too_deep {
        stat.count(Counter::TooDeep);
    }
    let now = stat.now();
    let verdict = judge(&mut stat, settings, meta, bytes, now);
    count(&mut stat, verdict, meta.ip_version, bytes);
    #[cfg(feature = "kernel-debug")]
    crate::debug::judged(ctx, meta, verdict);
    if !verdict.drops() {
        let allowed = Some(matches!(verdict, Verdict::PassAllowed));
        account::packet(&mut stat, settings, meta, Direction::Ingress, allowed, ifindex, now);
    }
    xdp_code(verdict)
}

/// What becomes of a packet from `meta.src`.
#[inline(always)]
fn judge(stat: &mut Stat, settings: &Settings, meta: &PacketMeta, bytes: u64, now: u64) -> Verdict {
    if allowed(&meta.src, meta.ip_version, now) {
        return Verdict::PassAllowed;
    }
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

/// Counts a verdict, by address family and by reason.
#[inline(always)]
fn count(stat: &mut Stat, verdict: Verdict, ip_version: u8, bytes: u64) {
    let (packets, octets) = match (verdict.drops(), ip_version == 4) {
        (false, true) => (Counter::PassV4, Counter::PassV4Bytes),
        (false, false) => (Counter::PassV6, Counter::PassV6Bytes),
        (true, true) => (Counter::DropV4, Counter::DropV4Bytes),
        (true, false) => (Counter::DropV6, Counter::DropV6Bytes),
    };
    stat.count(packets);
    stat.add(octets, bytes);
    match verdict {
        Verdict::Pass => {}
        Verdict::PassAllowed => stat.count(Counter::PassAllowed),
        Verdict::WouldDrop => stat.count(Counter::WouldDrop),
        Verdict::DropExact => stat.count(Counter::DropExact),
        Verdict::DropPrefix => stat.count(Counter::DropPrefix),
    }
}
