//! The short way, which most packets go: a plain packet of a running flow from a source nobody listed is counted and
//! passes; a packet of a blocked source is counted and dropped.
//!
//! Every question is the whole way's own (`gate`), asked in its order of the packet where it lies, and whatever is not as
//! most packets are goes the whole way, with nothing done yet. What the two come to is the same: what fits is said in
//! `sentinel_common::plain`, and a test runs both beside each other.

use crate::ahead;
use crate::entry;
use crate::frame::{Frame, Window};
use crate::gate;
use crate::hint;
use crate::hook::Hook;
use crate::maps::{BLOCK4, BLOCK6, FLOWS};
use crate::reflex;
use crate::stat::Stat;
use crate::verifier::forget;
use sentinel_common::entry::BlockEntry;
use sentinel_common::flow::{Direction, PROTO_TCP, PROTO_UDP};
use sentinel_common::hash::{ends, hash4, hash6, place};
use sentinel_common::hint::{HINT_ALLOW, HINT_ENTRY};
use sentinel_common::packet::{TCP_ACK, TCP_PSH};
use sentinel_common::plain::Plain;
use sentinel_common::reflex::{source_word4, source_word6};
use sentinel_common::settings::{SETTING_FLOWS, SETTING_SHORT, Settings};
use sentinel_common::slot::{Head, SLOT_V4, Slot, WAYS};
use sentinel_common::verdict::Verdict;

const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();
const ETHERTYPE_VLAN: u16 = 0x8100_u16.to_be();
/// Ethernet, IPv4 without options, a TCP header without.
const SPAN4: usize = 14 + 20 + 20;
/// The same with IPv6.
const SPAN6: usize = 14 + 40 + 20;
/// Where the IP header stands, in a window that begins so that the EtherType is at 12.
const L3: usize = 14;

/// What the short way does with a packet; `None` to let it go the whole way.
#[inline(always)]
pub(crate) fn verdict<H: Hook>(hook: &H, stat: &mut Stat, settings: &Settings, frame: Frame) -> Option<i32> {
    const BOTH: u32 = SETTING_SHORT | SETTING_FLOWS;
    if settings.flags & BOTH != BOTH {
        return None;
    }
    let mut at = 0;
    let mut window = frame.window::<SPAN4>(0)?;
    let mut ethertype = window.half::<12>();
    if ethertype == ETHERTYPE_VLAN {
        at = 4;
        window = frame.window::<SPAN4>(4)?;
        ethertype = window.half::<12>();
    }
    if ethertype == ETHERTYPE_IPV4 {
        ipv4(hook, stat, settings, frame, window)
    } else if ethertype == ETHERTYPE_IPV6 {
        ipv6(hook, stat, settings, frame, frame.window::<SPAN6>(at)?)
    } else {
        None
    }
}

#[inline(always)]
fn ipv4<H: Hook>(hook: &H, stat: &mut Stat, settings: &Settings, frame: Frame, window: Window) -> Option<i32> {
    let len = u32::from(u16::from_be(window.half::<{ L3 + 2 }>()));
    // Without options, whole, and no shorter than its header.
    if window.byte::<L3>() != 0x45 || window.half::<{ L3 + 6 }>() & 0x3fff_u16.to_be() != 0 || len < 20 {
        return None;
    }
    let now = stat.now();
    let source = window.word::<{ L3 + 12 }>();
    let hints = hint::of4(u32::from_be(source));
    if hints != 0 {
        let entry = own(hints, || BLOCK4.get_ptr_mut(window.bytes::<{ L3 + 12 }, 4>()))?;
        return dropped::<H>(stat, settings, entry, 4, hook.bytes(frame), now);
    }
    let proto = window.byte::<{ L3 + 9 }>();
    let ends = ends(window.word::<{ L3 + 20 }>(), proto, SLOT_V4);
    let hash = hash4(&settings.keys, source, window.word::<{ L3 + 16 }>(), ends);
    let (head, slot) = place_of(stat, settings, hash, source_word4(source), now)?;
    if !slot.is4(window.word::<{ L3 + 12 }>(), window.word::<{ L3 + 16 }>(), ends) {
        return None;
    }
    let plain = transport(window.skip(L3 + 20), proto, len, len - 20, now)?;
    passed(hook, frame, stat, head, slot, &plain, 4)
}

#[inline(always)]
fn ipv6<H: Hook>(hook: &H, stat: &mut Stat, settings: &Settings, frame: Frame, window: Window) -> Option<i32> {
    let source = [window.quad::<{ L3 + 8 }>(), window.quad::<{ L3 + 16 }>()];
    let target = [window.quad::<{ L3 + 24 }>(), window.quad::<{ L3 + 32 }>()];
    // An address whose first half is zero may be an IPv4-mapped one.
    if window.byte::<L3>() & 0xf0 != 0x60 || source[0] == 0 || target[0] == 0 {
        return None;
    }
    let payload_len = u32::from(u16::from_be(window.half::<{ L3 + 4 }>()));
    let mut proto = window.byte::<{ L3 + 6 }>();
    let mut carried = window.skip(L3 + 40);
    let mut l4_len = payload_len;
    let now = stat.now();
    if proto != PROTO_TCP && proto != PROTO_UDP {
        let walked;
        (proto, walked) = extensions(frame, carried, proto, payload_len, now)?;
        carried = frame.behind::<20>(carried, walked)?;
        l4_len -= walked;
    }
    let hints = hint::of6(u64::from_be(source[0]), settings.seed);
    if hints != 0 {
        let entry = own(hints, || BLOCK6.get_ptr_mut(window.bytes::<{ L3 + 8 }, 16>()))?;
        return dropped::<H>(stat, settings, entry, 6, hook.bytes(frame), now);
    }
    let ends = ends(carried.word::<0>(), proto, 0);
    let hash = hash6(&settings.keys, source, target, ends);
    let (head, slot) = place_of(stat, settings, hash, source_word6(source[0]), now)?;
    let source = [window.quad::<{ L3 + 8 }>(), window.quad::<{ L3 + 16 }>()];
    let target = [window.quad::<{ L3 + 24 }>(), window.quad::<{ L3 + 32 }>()];
    if !slot.is6(source, target, ends) {
        return None;
    }
    let plain = transport(carried, proto, payload_len + 40, l4_len, now)?;
    passed(hook, frame, stat, head, slot, &plain, 6)
}

/// The entry of the source itself, where nothing but entries is listed near it.
#[inline(always)]
fn own(hints: u32, entry: impl FnOnce() -> Option<*mut BlockEntry>) -> Option<*mut BlockEntry> {
    if hints & HINT_ALLOW != 0 || hints & HINT_ENTRY == 0 {
        return None;
    }
    entry()
}

/// Drops the packet, if that is all its source's own entry has to say.
#[inline(always)]
fn dropped<H: Hook>(
    stat: &mut Stat,
    settings: &Settings,
    entry: *mut BlockEntry,
    ip_version: u8,
    bytes: u64,
    now: u64,
) -> Option<i32> {
    if !entry::strikes(settings, entry, bytes, now) {
        return None;
    }
    gate::count(stat, Verdict::DropExact, ip_version, bytes);
    Some(H::code(Verdict::DropExact))
}

/// Counts the packet and lets it pass, if that is all there is to do in its flow's slot.
#[inline(always)]
fn passed<H: Hook>(
    hook: &H,
    frame: Frame,
    stat: &mut Stat,
    head: &mut Head,
    slot: &mut Slot,
    plain: &Plain,
    ip_version: u8,
) -> Option<i32> {
    if !plain.fits(head, slot) {
        return None;
    }
    plain.count(head, slot);
    gate::count(stat, Verdict::Pass, ip_version, hook.bytes(frame));
    Some(H::code(Verdict::Pass))
}

/// The place where a flow of this hash is counted, if it has one: whose it is, is still to be asked. Nothing while a
/// source is limited or a port under flood, since then there is more to ask.
#[inline(always)]
fn place_of(
    stat: &Stat,
    settings: &Settings,
    hash: u64,
    source: u64,
    now: u64,
) -> Option<(&'static mut Head, &'static mut Slot)> {
    // Cookies may answer, and nothing else comes of it.
    if reflex::flooded(now) {
        return None;
    }
    let (bucket, tag) = place(hash, Direction::Ingress);
    let index = stat.bucket(settings, bucket);
    // SAFETY: the element is this CPU's and lives as long as the map, the program does not nest in itself, and the agent
    // only reads it.
    let bucket = unsafe { &mut *FLOWS.get_ptr_mut(index)? };
    let way = bucket.find(tag) as usize & (WAYS - 1);
    if bucket.heads[way].tag != tag {
        ahead::new_flow(settings, bucket, hash, source);
        return None;
    }
    if reflex::limiting(now) {
        return None;
    }
    Some((&mut bucket.heads[way], &mut bucket.slots[way]))
}

/// Walks over up to two extension headers of kinds that change nothing (hop-by-hop, routing, destination options): the
/// protocol behind them, TCP or UDP, and their length.
#[inline(always)]
fn extensions(frame: Frame, first: Window, proto: u8, payload_len: u32, now: u64) -> Option<(u8, u32)> {
    let (mut proto, mut walked) = step(first, proto, 0, payload_len)?;
    if proto != PROTO_TCP && proto != PROTO_UDP {
        (proto, walked) = step(frame.behind::<8>(first, walked)?, proto, walked, payload_len)?;
        if proto != PROTO_TCP && proto != PROTO_UDP {
            return None;
        }
    }
    // However many there were, from here on it is one length.
    Some((proto, forget(u64::from(walked), now) as u32))
}

/// Steps over one of them, at the beginning of a window.
#[inline(always)]
fn step(window: Window, proto: u8, walked: u32, payload_len: u32) -> Option<(u8, u32)> {
    if !matches!(proto, 0 | 43 | 60) {
        return None;
    }
    let word = window.half::<0>().to_ne_bytes();
    let walked = walked + (u32::from(word[1]) + 1) * 8;
    (walked <= payload_len).then_some((word[0], walked))
}

/// What is to be counted of a packet whose L4 header is at the beginning of a window.
#[inline(always)]
fn transport(window: Window, proto: u8, len: u32, l4_len: u32, now_ns: u64) -> Option<Plain> {
    let (payload_len, psh) = if proto == PROTO_TCP {
        let bits = window.byte::<13>();
        let header_len = u32::from(window.byte::<12>()) >> 2 & 0x3c;
        if l4_len < 20 || l4_len < header_len || bits & !TCP_PSH != TCP_ACK {
            return None;
        }
        (l4_len - header_len, u32::from(bits) >> 3 & 1)
    } else if proto == PROTO_UDP && l4_len >= 8 {
        (l4_len - 8, 0)
    } else {
        return None;
    };
    Some(Plain {
        len,
        payload_len,
        psh,
        now_ns,
    })
}
