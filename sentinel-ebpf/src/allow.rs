//! The allowlist: asked before any block, for every packet.

use crate::hint;
use crate::maps::{ALLOW4, ALLOW6};
use aya_ebpf::maps::LpmTrie;
use aya_ebpf::maps::lpm_trie::Key;
use sentinel_common::addr::Addr;
use sentinel_common::entry::AllowEntry;
use sentinel_common::hint::{HINT_ALLOW, low32};
use sentinel_common::names::PREFIX_TRIES;
use sentinel_common::settings::Settings;

/// Whether an address is allowlisted at `now`; asks only where the hints say that something may be.
#[inline(always)]
pub(crate) fn hinted(settings: &Settings, address: &Addr, ip_version: u8, now: u64) -> bool {
    hint::of(settings, address, ip_version) & HINT_ALLOW != 0 && allowed(address, ip_version, now)
}

/// Whether an address is allowlisted at `now`.
#[inline(always)]
pub(crate) fn allowed(address: &Addr, ip_version: u8, now: u64) -> bool {
    if ip_version == 4 {
        holds(&ALLOW4, v4(address), 32, now)
    } else {
        holds(&ALLOW6, address.0, 128, now)
    }
}

/// The last four bytes: the IPv4 address of a mapped one.
#[inline(always)]
pub(crate) const fn v4(address: &Addr) -> [u8; 4] {
    low32(address).to_be_bytes()
}

/// Whether the longest prefix that has not expired exists. An expired entry hides none shorter.
#[inline(always)]
fn holds<K: Copy>(map: &LpmTrie<K, AllowEntry>, address: K, width: u32, now: u64) -> bool {
    let mut key = Key::new(width, address);
    for _ in 0..PREFIX_TRIES {
        match map.get(&key) {
            None => return false,
            Some(entry) if !entry.expired(now) => return true,
            Some(entry) if entry.prefix_len == 0 => return false,
            Some(entry) => key.prefix_len = u32::from(entry.prefix_len) - 1,
        }
    }
    false
}
