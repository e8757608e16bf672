//! The header of pinned maps: what an agent asks before it takes over the maps of the one before.

use crate::entry::{AllowEntry, BlockEntry};
use crate::exact::{Bucket as ExactBucket, Cell};
use crate::list::{Bucket4, Bucket6, ListHits, NetSlot, Slot4, Slot6, Standing};
use crate::names::WATCHED_INTERFACES;
use crate::rate::{Bucket as RateBucket, Set as RateSet};
use crate::redirect::{RedirectKey, Redirected};
use crate::reflex::{Alarm, Bucket as SourceBucket, Port, Source};
use crate::settings::{Reflex, Settings};
use crate::stat::{Counter, CpuBlock};
use core::mem::{offset_of, size_of};

/// First field of every [`PinHeader`]: "sentinel" in ASCII.
pub const MAGIC: u64 = u64::from_be_bytes(*b"sentinel");

/// Version of what the kept maps *mean*. Raise it when a value keeps its layout and changes its sense; layouts
/// themselves are in [`LAYOUT`], by their making.
pub const POLICY: u32 = 1;

/// The one element of the pinned `HEADER` array. 128 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`LAYOUT`] of the agent that made the maps.
    pub layout: u64,
    /// Its [`POLICY`].
    pub policy: u32,
    /// Zero.
    pub pad: u32,
    /// Indexes of the interfaces watched, 0 for none. `SLOTS` says in which element of `STATS` each counts.
    pub watched: [u32; WATCHED_INTERFACES as usize],
    /// Version of the agent that wrote this last, UTF-8, padded with zeros.
    pub agent: [u8; 40],
}

impl PinHeader {
    /// The header of this build, of an agent of that version.
    pub fn new(agent: &str) -> Self {
        let mut text = [0; 40];
        for (to, from) in text.iter_mut().zip(agent.bytes()) {
            *to = from;
        }
        Self {
            magic: MAGIC,
            layout: LAYOUT,
            policy: POLICY,
            pad: 0,
            watched: [0; WATCHED_INTERFACES as usize],
            agent: text,
        }
    }

    /// Whether the maps behind `other` can be read and written as ours.
    pub const fn fits(&self, other: &Self) -> bool {
        self.magic == other.magic && self.layout == other.layout && self.policy == other.policy
    }

    /// The version of the agent that wrote it; what is no text is left out.
    pub fn agent(&self) -> &str {
        let end = self
            .agent
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.agent.len());
        core::str::from_utf8(&self.agent[..end]).unwrap_or("?")
    }
}

/// FNV-1a, one step for each byte.
const fn fold(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const fn counters(mut hash: u64) -> u64 {
    let mut at = 0;
    while at < Counter::ALL.len() {
        hash = fold(hash, Counter::ALL[at].label().as_bytes());
        at += 1;
    }
    hash
}

/// Derives [`LAYOUT`] from the names, places and sizes of the fields. A field that is not listed does not compile.
macro_rules! layout {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {
        /// What the values of kept maps look like: a digest of every field's name and place, every size, and every
        /// counter's name, so that it changes with the layouts and with nothing else.
        pub const LAYOUT: u64 = {
            let mut hash = 0xcbf2_9ce4_8422_2325;
            $(
                hash = fold(hash, stringify!($name).as_bytes());
                hash = fold(hash, &(size_of::<$name>() as u32).to_le_bytes());
                $(
                    hash = fold(hash, stringify!($field).as_bytes());
                    hash = fold(hash, &(offset_of!($name, $field) as u32).to_le_bytes());
                )+
            )+
            counters(hash)
        };
        $(const _: fn($name) = |$name { $($field: _),+ }| {};)+
    };
}

layout! {
    BlockEntry {
        expires_ns, action, flags, prefix_len, pad, burst_ms, first_hit_ns, last_hit_ns, hits, hit_bytes, decision,
        packet_ns, byte_ns_q8, watch_until_ns, reapply_ns, would_hits, would_bytes, packet_tat_ns, byte_tat_ns,
        returned_ns,
    }
    ExactBucket { slots }
    Cell { key, entry, pad }
    AllowEntry { expires_ns, prefix_len, pad }
    CpuBlock {
        opaque, clock_jiffies, clock_ns, clock_units, cpu, beside, clear, counters, budget_ns, budget, ring_ns, ring_tight,
        ring_asked, pad,
    }
    Settings {
        flags, flow_mask, plain_buckets, pad, seed, keys, factors6, hinted6, report_interval_ns, event_budget, list_versions,
        list4_mask, list6_mask, source_mask, syn_flood_half_open, talk_mask, ring_high, block4_mask, block6_mask, reflex,
    }
    Reflex { window_ns, bytes, hold_ns, packets, syns, ports, half_open, packet_ns, byte_ns_q8, burst_ms, least }
    Slot4 { address, even, odd, hits }
    Bucket4 { slots }
    Slot6 { address, even, odd, hits }
    Bucket6 { slots }
    NetSlot { even, odd, own_even, own_odd, hits, prefix_len }
    Standing { next_expiry_ns, shadow, used, expires_ns, decisions }
    ListHits { hits, hit_bytes, would_hits, would_bytes }
    RateBucket { tag, packet_tat_ns, byte_tat_ns, pad }
    RateSet { buckets }
    Source {
        key, bytes, ports, packet_tat_ns, byte_tat_ns, window, packets, syns, completed, until, raised,
    }
    SourceBucket { slots }
    Alarm { limited_until_ns, flood_until_ns, pad }
    Port { window_ns, until_ns, syns, completed, answered_ns, answered_for }
    RedirectKey { remote, port, proto, pad }
    Redirected { seen_ns, address, port, remote_port, pad }
    PinHeader { magic, layout, policy, pad, watched, agent }
}

const _: () = assert!(size_of::<PinHeader>() == 128);

crate::pod!(PinHeader);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_another_layout_or_policy_does_not_fit() {
        let own = PinHeader::new("0.1.0");
        assert_eq!(own.agent(), "0.1.0");
        assert!(
            own.fits(&PinHeader::new("9.9.9")),
            "the agent's version alone decides nothing"
        );
        let layout = own.layout + 1;
        assert!(!own.fits(&PinHeader { layout, ..own }));
        assert!(!own.fits(&PinHeader {
            policy: POLICY + 1,
            ..own
        }));
        assert!(!own.fits(&PinHeader { magic: 0, ..own }));
        assert_eq!(
            PinHeader {
                agent: [0xff; 40],
                ..own
            }
            .agent(),
            "?"
        );
    }
}
