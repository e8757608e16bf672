//! The short way, which most packets go: a plain packet of a running flow from a source nobody listed is counted and
//! passes; a packet of a blocked source is counted and dropped. Where something is listed near a source and nothing for
//! itself, the whole way notes so with its flow, and that holds until the lists change.
//!
//! Every question is the whole way's own (`gate`), asked in its order of the packet where it lies, and whatever is not as
//! most packets are goes the whole way, with nothing done yet. What the two come to is the same: what fits is said in
//! `sentinel_common::plain`, and a test runs both beside each other.

use crate::ahead;
use crate::entry;
use crate::exact;
use crate::frame::{Frame, Window};
use crate::gate;
use crate::hint;
use crate::hook::{Hook, leave};
use crate::maps::{FLOWS, at};
use crate::reflex;
use crate::stat::Stat;
use crate::verifier::{any, flipped, forget, moved, shifted, times};
use core::convert::Infallible;
use core::hint::cold_path;
use sentinel_common::entry::BlockEntry;
use sentinel_common::flow::{Direction, PROTO_TCP, PROTO_UDP};
use sentinel_common::hash::{MIX, folded4, folded6, kind, place};
use sentinel_common::hint::{HINT_ALLOW, HINT_ENTRY, NEVER_EPOCH, NO_EPOCH};
use sentinel_common::packet::{TCP_ACK, TCP_PSH};
use sentinel_common::plain::{PSH_SHIFT, Plain};
use sentinel_common::reflex::{source_word4, source_word6};
use sentinel_common::settings::Settings;
use sentinel_common::slot::{Bucket, Head, SLOT_V4, Slot, WAYS};
use sentinel_common::table::TELL;
use sentinel_common::verdict::Verdict;

const ETHERTYPE_IPV4: u64 = 0x0800_u16.to_be() as u64;
const ETHERTYPE_IPV6: u64 = 0x86dd_u16.to_be() as u64;
const ETHERTYPE_VLAN: u64 = 0x8100_u16.to_be() as u64;
/// Of the first eight bytes of an IPv4 header, as they stand: version and length, and what fragments have.
const SHAPE: u64 = u64::from_ne_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
/// One without options, of a packet that is whole.
const PLAIN: u64 = u64::from_ne_bytes([0x45, 0, 0, 0, 0, 0, 0, 0]);
/// Ethernet, IPv4 without options, a TCP header without.
const SPAN4: usize = 14 + 20 + 20;
/// The same with IPv6.
const SPAN6: usize = 14 + 40 + 20;
/// The kind of an IPv4 flow, but for its protocol.
const V4: u64 = kind(0, SLOT_V4) as u64;
const TCP: u64 = PROTO_TCP as u64;
const UDP: u64 = PROTO_UDP as u64;
/// Of the two bytes of a TCP header behind its numbers, as they stand: where the payload begins, and the flags asked.
const OFFSET: u64 = two(0xf0, 0);
const FLAGS: u64 = two(0, !TCP_PSH);
/// A header without options, and a segment that acknowledges.
const BARE: u64 = two(0x50, 0);
const ACK: u64 = two(0, TCP_ACK);
/// Shift that makes words of 32 bits beyond a bare header into bytes.
const OPTIONS_SHIFT: u32 = BARE.trailing_zeros() - 2;
/// Where the flag PSH stands.
const PSH_BIT: u32 = two(0, TCP_PSH).trailing_zeros();
/// Where the IP header stands, in a window that begins so that the EtherType is at 12.
const L3: usize = 14;

/// Two bytes of a packet as they stand in a register.
const fn two(first: u8, second: u8) -> u64 {
    u16::from_ne_bytes([first, second]) as u64
}

/// Takes a packet the short way, at whose end the program does; comes back with those that go the whole one, with nothing done
/// yet.
#[inline(always)]
pub(crate) fn verdict<H: Hook>(hook: &H, stat: &mut Stat, settings: &Settings, frame: Frame) -> Option<Infallible> {
    let mut window = frame.window::<SPAN4>(0)?;
    let mut ethertype = window.half::<12>();
    if ethertype != ETHERTYPE_IPV4 {
        // Read anew, lest the compiler makes a table of it together with the question before, which is to come first.
        ethertype = window.half::<12>();
        if ethertype != ETHERTYPE_IPV6 {
            if window.half::<12>() != ETHERTYPE_VLAN {
                return None;
            }
            window = frame.window::<SPAN4>(4)?;
            ethertype = window.half::<12>();
        }
        if ethertype == ETHERTYPE_IPV6 {
            return ipv6(hook, stat, settings, frame.wider::<SPAN6>(window)?);
        }
        if ethertype != ETHERTYPE_IPV4 {
            return None;
        }
    }
    ipv4(hook, stat, settings, window)
}

#[inline(always)]
fn ipv4<H: Hook>(hook: &H, stat: &mut Stat, settings: &Settings, window: Window) -> Option<Infallible> {
    // Without options, and whole.
    if window.quad::<L3>() & SHAPE != PLAIN {
        return None;
    }
    stat.tick();
    let source = u32::from_be(window.word::<{ L3 + 12 }>() as u32);
    let near = hint::near4(source)?;
    if near != 0 {
        cold_path();
        // Asked anew, lest it is kept for the few that come here.
        let hints = hint::within4(near, u32::from_be(window.word::<{ L3 + 12 }>() as u32));
        if hints != 0 {
            if let Some(entry) = own(hints, || exact::find4(settings, window.word::<{ L3 + 12 }>())) {
                // One that says it is shorter than its header is none.
                if len4(window) < 20 {
                    return None;
                }
                return dropped(hook, stat, settings, entry, 4);
            }
            stat.note_beside(lists()?);
        }
    }
    alarmed(stat)?;
    let hash = times::<MIX>(folded4(
        |n| key(settings, n),
        || window.word::<{ L3 + 12 }>(),
        || window.word::<{ L3 + 16 }>(),
        || window.word::<{ L3 + 20 }>(),
        || window.byte::<{ L3 + 9 }>(),
    ));
    let (bucket, tag) = bucket_of(stat, settings, hash)?;
    if bucket.heads[0].tag == tag {
        let (head, slot) = (&mut bucket.heads[0], &mut bucket.slots[0]);
        return counted4(hook, stat, window, head, slot);
    }
    let (head, slot) = other(bucket, tag, hash, || source_word4(window.word::<{ L3 + 12 }>() as u32))?;
    counted4(hook, stat, window, head, slot)
}

#[inline(always)]
fn counted4<H: Hook>(
    hook: &H,
    stat: &mut Stat,
    window: Window,
    head: &mut Head,
    slot: &mut Slot,
) -> Option<Infallible> {
    if window.quad::<{ L3 + 12 }>() != slot.ends[0]
        || window.word::<{ L3 + 20 }>() != u64::from(slot.ports)
        || !stat.is_clear(|| slot.clear)
    {
        return None;
    }
    let len = len4(window);
    let proto = window.byte::<{ L3 + 9 }>();
    let bits = || window.half::<{ L3 + 32 }>();
    let plain = transport(bits, proto, slot.kind, V4, len, len.wrapping_sub(20), stat)?;
    passed(hook, stat, head, slot, &plain, 4)
}

/// While a port is under flood, cookies may answer, and nothing else comes of a packet. While a source is limited, there is
/// more to ask than here; but what a new flow needs is fetched ahead.
#[inline(always)]
fn alarmed(stat: &mut Stat) -> Option<()> {
    let now = stat.clock();
    if reflex::flooded(now) {
        return None;
    }
    if reflex::limiting(now) {
        stat.note_beside(NEVER_EPOCH);
    }
    Some(())
}

/// The length an IPv4 header says.
#[inline(always)]
fn len4(window: Window) -> u64 {
    u64::from(u16::from_be(window.half::<{ L3 + 2 }>() as u16))
}

/// The number of the lists' latest change, if there was one.
#[inline(always)]
fn lists() -> Option<u32> {
    hint::epoch().filter(|epoch| *epoch != NO_EPOCH)
}

#[inline(always)]
fn ipv6<H: Hook>(hook: &H, stat: &mut Stat, settings: &Settings, window: Window) -> Option<Infallible> {
    stat.tick();
    // An address whose first half is zero may be an IPv4-mapped one.
    if window.byte::<L3>() & 0xf0 != 0x60 || window.quad::<{ L3 + 8 }>() == 0 || window.quad::<{ L3 + 24 }>() == 0 {
        return None;
    }
    let proto = window.byte::<{ L3 + 6 }>();
    if proto == TCP || proto == UDP {
        return carried6(hook, stat, settings, window, &window);
    }
    let first = window.skip(L3 + 40);
    // Most packets have none of these headers, and no register to keep an end in.
    let frame = Frame::new(0, hook.end());
    let (proto, walked) = extensions(frame, first, proto, payload6(window), stat.clock())?;
    let behind = Behind {
        window: frame.behind::<20>(first, walked)?,
        proto,
        walked,
    };
    carried6(hook, stat, settings, window, &behind)
}

/// How much an IPv6 header says is behind it.
#[inline(always)]
fn payload6(window: Window) -> u64 {
    u64::from(u16::from_be(window.half::<{ L3 + 4 }>() as u16))
}

/// What an IPv6 packet carries: right behind its header, where a window of the whole has it too.
trait Carried {
    /// TCP or UDP.
    fn proto(&self) -> u64;
    /// The ports as they stand.
    fn ports(&self) -> u64;
    /// Of a TCP header the two bytes behind its numbers.
    fn bits(&self) -> u64;
    /// Bytes in front of it.
    fn walked(&self) -> u64;
}

impl Carried for Window {
    #[inline(always)]
    fn proto(&self) -> u64 {
        self.byte::<{ L3 + 6 }>()
    }

    #[inline(always)]
    fn ports(&self) -> u64 {
        self.word::<{ L3 + 40 }>()
    }

    #[inline(always)]
    fn bits(&self) -> u64 {
        self.half::<{ L3 + 52 }>()
    }

    #[inline(always)]
    fn walked(&self) -> u64 {
        0
    }
}

/// Behind extension headers.
struct Behind {
    window: Window,
    proto: u64,
    walked: u64,
}

impl Carried for Behind {
    #[inline(always)]
    fn proto(&self) -> u64 {
        self.proto
    }

    #[inline(always)]
    fn ports(&self) -> u64 {
        self.window.word::<0>()
    }

    #[inline(always)]
    fn bits(&self) -> u64 {
        self.window.half::<12>()
    }

    #[inline(always)]
    fn walked(&self) -> u64 {
        self.walked
    }
}

#[inline(always)]
fn carried6<H: Hook>(
    hook: &H,
    stat: &mut Stat,
    settings: &Settings,
    window: Window,
    carried: &impl Carried,
) -> Option<Infallible> {
    let high = u64::from_be(window.quad::<{ L3 + 8 }>());
    if hint::near6(settings, high) {
        cold_path();
        let hints = hint::of6(settings, u64::from_be(window.quad::<{ L3 + 8 }>()));
        if hints != 0 {
            if let Some(entry) = own(hints, || {
                exact::find6(settings, [window.quad::<{ L3 + 8 }>(), window.quad::<{ L3 + 16 }>()])
            }) {
                return dropped(hook, stat, settings, entry, 6);
            }
            stat.note_beside(lists()?);
        }
    }
    alarmed(stat)?;
    let word = |n| match n {
        0 => window.word::<{ L3 + 8 }>(),
        1 => window.word::<{ L3 + 12 }>(),
        2 => window.word::<{ L3 + 16 }>(),
        3 => window.word::<{ L3 + 20 }>(),
        4 => window.word::<{ L3 + 24 }>(),
        5 => window.word::<{ L3 + 28 }>(),
        6 => window.word::<{ L3 + 32 }>(),
        _ => window.word::<{ L3 + 36 }>(),
    };
    let hash = times::<MIX>(folded6(
        |n| key(settings, n),
        word,
        || carried.ports(),
        || carried.proto(),
    ));
    let (bucket, tag) = bucket_of(stat, settings, hash)?;
    if bucket.heads[0].tag == tag {
        let (head, slot) = (&mut bucket.heads[0], &mut bucket.slots[0]);
        return counted6(hook, stat, window, carried, head, slot);
    }
    let (head, slot) = other(bucket, tag, hash, || source_word6(window.quad::<{ L3 + 8 }>()))?;
    counted6(hook, stat, window, carried, head, slot)
}

#[inline(always)]
fn counted6<H: Hook>(
    hook: &H,
    stat: &mut Stat,
    window: Window,
    carried: &impl Carried,
    head: &mut Head,
    slot: &mut Slot,
) -> Option<Infallible> {
    if window.quad::<{ L3 + 8 }>() != slot.ends[0]
        || window.quad::<{ L3 + 16 }>() != slot.ends[1]
        || window.quad::<{ L3 + 24 }>() != slot.ends[2]
        || window.quad::<{ L3 + 32 }>() != slot.ends[3]
        || carried.ports() != u64::from(slot.ports)
        || !stat.is_clear(|| slot.clear)
    {
        return None;
    }
    let (bits, proto) = (|| carried.bits(), carried.proto());
    let payload_len = payload6(window);
    let l4_len = payload_len - carried.walked();
    let plain = transport(bits, proto, slot.kind, 0, payload_len + 40, l4_len, stat)?;
    passed(hook, stat, head, slot, &plain, 6)
}

/// One of the keys of the hash, read when it is needed.
#[inline(always)]
fn key(settings: &Settings, n: usize) -> u64 {
    // SAFETY: a word of the settings, which the agent stores whole.
    unsafe { (&raw const settings.keys.words[n]).read_volatile() }
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
    hook: &H,
    stat: &mut Stat,
    settings: &Settings,
    entry: *mut BlockEntry,
    ip_version: u8,
) -> Option<Infallible> {
    let bytes = hook.bytes();
    if !entry::drops(settings, entry, bytes, stat.clock()) {
        return None;
    }
    gate::count(stat, Verdict::DropExact, ip_version, bytes);
    leave(H::code(Verdict::DropExact));
    None
}

/// Counts the packet and lets it pass, if that is all there is to do in its flow's slot.
#[inline(always)]
fn passed<H: Hook>(
    hook: &H,
    stat: &mut Stat,
    head: &mut Head,
    slot: &mut Slot,
    plain: &Plain,
    ip_version: u8,
) -> Option<Infallible> {
    let packets = u64::from(head.packets) + 1;
    if !plain.fits(slot) || !any::<{ TELL as i32 - 1 }>(packets) {
        return None;
    }
    plain.count(head, slot, packets);
    gate::count(stat, Verdict::Pass, ip_version, hook.bytes());
    leave(H::code(Verdict::Pass));
    None
}

/// The bucket a flow of this hash belongs in, and its tag there.
#[inline(always)]
fn bucket_of(stat: &mut Stat, settings: &Settings, hash: u64) -> Option<(&'static mut Bucket, u32)> {
    let buckets = settings.plain_buckets;
    if buckets == 0 {
        return None;
    }
    let (bucket, tag) = place(hash, Direction::Ingress);
    let index = stat.plain_bucket(settings, u64::from(buckets), u64::from(bucket));
    // SAFETY: the element is this CPU's and lives as long as the map, the program does not nest in itself, and the agent
    // only reads it.
    Some((unsafe { &mut *at(&FLOWS, stat.key(index))? }, tag))
}

/// Another place with this tag.
#[inline(always)]
fn other(
    bucket: &'static mut Bucket,
    tag: u32,
    hash: u64,
    source: impl FnOnce() -> u64,
) -> Option<(&'static mut Head, &'static mut Slot)> {
    cold_path();
    // SAFETY: the pointer is the one it was.
    let bucket = unsafe { &mut *(moved(core::ptr::from_mut(bucket) as u64) as *mut Bucket) };
    let way = bucket.find(tag) as usize & (WAYS - 1);
    if bucket.heads[way].tag != tag {
        ahead::new_flow(bucket, hash, source());
        return None;
    }
    Some((&mut bucket.heads[way], &mut bucket.slots[way]))
}

/// Walks over up to two extension headers of kinds that change nothing (hop-by-hop, routing, destination options): the
/// protocol behind them, TCP or UDP, and their length.
#[inline(always)]
fn extensions(frame: Frame, first: Window, proto: u64, payload_len: u64, now: u64) -> Option<(u64, u64)> {
    let (mut proto, mut walked) = step(first, proto, 0, payload_len)?;
    if proto != TCP && proto != UDP {
        (proto, walked) = step(frame.behind::<8>(first, walked)?, proto, walked, payload_len)?;
        if proto != TCP && proto != UDP {
            return None;
        }
    }
    // However many there were, from here on it is one length: of two at most, in steps of eight. Linux 6.1 keeps a bound on
    // the stack only where it knows it before.
    Some((proto, forget(walked, now) & 0x1ff8))
}

/// Steps over one of them, at the beginning of a window.
#[inline(always)]
fn step(window: Window, proto: u64, walked: u64, payload_len: u64) -> Option<(u64, u64)> {
    if !matches!(proto, 0 | 43 | 60) {
        return None;
    }
    let walked = walked + (window.byte::<1>() + 1) * 8;
    (walked <= payload_len).then_some((window.byte::<0>(), walked))
}

/// What is to be counted of a packet. Of a TCP header, `bits` are the two bytes behind its numbers.
#[inline(always)]
fn transport(
    bits: impl FnOnce() -> u64,
    proto: u64,
    kind: u16,
    family: u64,
    len: u64,
    l4_len: u64,
    stat: &Stat,
) -> Option<Plain> {
    let kind = u64::from(kind);
    let (options, psh) = if proto == TCP {
        let bits = flipped::<{ ACK as i32 }>(bits());
        if kind != TCP | family || any::<{ FLAGS as i32 }>(bits) {
            return None;
        }
        // Of a header that says it is shorter than one, this is more than any packet has.
        let options = shifted::<OPTIONS_SHIFT>((bits & OFFSET).wrapping_sub(BARE));
        (options, bits << (PSH_SHIFT - PSH_BIT) & 1 << PSH_SHIFT)
    } else {
        cold_path();
        if proto != UDP || kind != UDP | family {
            return None;
        }
        // A header that is shorter than one of TCP.
        (8_u64.wrapping_sub(20), 0)
    };
    let payload_len = l4_len.wrapping_sub(20).wrapping_sub(options);
    if payload_len > 0xffff {
        return None;
    }
    Some(Plain {
        len,
        payload_len,
        psh,
        now: stat.clock_units(),
    })
}
