//! What each source did lately, and what the kernel does about it before user space can answer.
//!
//! A slot is touched when a flow begins and now and then while it lasts, not by every packet; whether a source is
//! limited is asked of one word that stays in the cache, and only while some source is, of a byte per 65,536th of
//! them. The table is shared by CPUs without locks (see `sentinel_common::reflex`).

use crate::account::Learned;
use crate::ahead;
use crate::emit;
use crate::maps::{ALARM, LIMITED, PORTS, SETTINGS, SOURCES};
use crate::stat::{Stat, atomic_add};
use crate::verifier::forget;
use core::mem::size_of;
use sentinel_common::event::{Header, KIND_REFLEX, ReflexRecord, VERSION};
use sentinel_common::packet::{PacketMeta, TCP_SYN};
use sentinel_common::reflex::{
    Bucket, CELLS, Seen, Source, WAYS, cell, cell_holds, cell_later, opens, port_bit, source_key, source_word,
};
use sentinel_common::settings::{SETTING_ENFORCE, SETTING_REFLEX, SETTING_REFLEX_LIMIT, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// Whether nothing here and no SYN cookie concerns a packet: no source is limited, no port is under flood, and it does
/// not open a TCP connection.
#[inline(always)]
pub(crate) fn calm(meta: &PacketMeta, now: u64) -> bool {
    meta.tcp_flags & TCP_SYN == 0 && quiet(now)
}

/// Whether no source is limited and no port is under flood.
#[inline(always)]
pub(crate) fn quiet(now: u64) -> bool {
    !limiting(now) && !flooded(now)
}

/// Whether some source is limited.
#[inline(always)]
pub(crate) fn limiting(now: u64) -> bool {
    ALARM.get().limited_until_ns > now
}

/// Whether some port is under flood.
#[inline(always)]
pub(crate) fn flooded(now: u64) -> bool {
    ALARM.get().flood_until_ns > now
}

/// Whether the packet is over the limit the kernel set on its source by itself, and what comes of it.
#[inline(always)]
pub(crate) fn limit(settings: &Settings, meta: &PacketMeta, bytes: u64, now: u64) -> Verdict {
    // However that was found out, there are two ways on.
    if forget(u64::from(over(settings, meta, bytes, now)), now) == 0 {
        Verdict::Pass
    } else if settings.flags & SETTING_ENFORCE == 0 {
        Verdict::WouldLimit
    } else {
        Verdict::DropReflex
    }
}

/// Whether the packet is over it.
#[inline(always)]
fn over(settings: &Settings, meta: &PacketMeta, bytes: u64, now: u64) -> bool {
    if settings.flags & SETTING_REFLEX_LIMIT == 0 {
        return false;
    }
    if ALARM.get().limited_until_ns <= now {
        return false;
    }
    let Some(cells) = LIMITED.get(0) else {
        return false;
    };
    let word = source_word(&meta.src, meta.ip_version);
    if !cell_holds(cells[cell(word, settings.seed) & (CELLS - 1)], now) {
        return false;
    }
    let key = source_key(word, settings.seed);
    let Some(bucket) = bucket(settings, key) else {
        return false;
    };
    let at = forget(bucket.find(key) as u64, now) as usize;
    at < WAYS && bucket.slots[at & (WAYS - 1)].over(opens(meta), bytes, &settings.reflex, now)
}

/// Takes note of a packet that passed; raises what it crosses, and limits its source.
#[inline(always)]
pub(crate) fn note(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    learned: Learned,
    allowed: bool,
    ifindex: u32,
    now: u64,
) {
    if learned.completed
        && let Some(port) = PORTS.get_ptr_mut(u32::from(meta.dst_port))
    {
        // SAFETY: the pointer is fresh from the map.
        unsafe { atomic_add(&raw mut (*port).completed, 1) };
    }
    let nothing = learned.packets == 0 && !learned.created && !learned.syn && !learned.completed;
    if nothing || allowed || settings.flags & SETTING_REFLEX == 0 {
        return;
    }
    let opens = learned.created || learned.syn;
    let flags = u64::from(learned.syn) << SYN | u64::from(learned.completed) << COMPLETED | u64::from(opens) << OPENS;
    let counts = flags | u64::from(learned.packets & 0xffff) << 16 | u64::from(learned.bytes) << 32;
    let link = u64::from(ifindex);
    count(stat, meta, forget(counts, now), forget(link, now), now);
}

/// Bits of what [`count`] is told; packets stand from bit 16 on, bytes from bit 32.
const SYN: u32 = 0;
const COMPLETED: u32 = 1;
const OPENS: u32 = 2;

/// Counts, raises, limits.
///
/// A function of its own, with what it is told in one word: whatever way led here, the verifier walks it once.
#[inline(never)]
fn count(stat: &mut Stat, meta: &PacketMeta, told: u64, ifindex: u64, now: u64) {
    let settings = SETTINGS.get();
    let seen = Seen {
        packets: (told >> 16) as u32 & 0xffff,
        syns: (told >> SYN) as u32 & 1,
        completed: (told >> COMPLETED) as u32 & 1,
        bytes: told >> 32,
        port: if told >> OPENS & 1 != 0 {
            port_bit(meta, told >> SYN & 1 != 0, settings.seed)
        } else {
            0
        },
    };
    let word = source_word(&meta.src, meta.ip_version);
    let key = source_key(word, settings.seed);
    let Some(bucket) = bucket(settings, key) else { return };
    let mut at = forget(bucket.find(key) as u64, now) as usize;
    if at >= WAYS {
        at = bucket.victim(&settings.reflex, now, |worth| forget(worth, now)) as usize & (WAYS - 1);
        bucket.slots[at] = Source::first(key, &seen, now);
    } else {
        bucket.slots[at].add(&seen, &settings.reflex, now);
    }
    let source = &mut bucket.slots[forget(at as u64, now) as usize & (WAYS - 1)];
    let crossed = source.crossed(&settings.reflex);
    if crossed != 0 {
        raise(stat, settings, meta, source, crossed, word, ifindex as u32, now);
    }
}

/// The bucket of a source.
#[inline(always)]
fn bucket(settings: &Settings, key: u64) -> Option<&'static mut Bucket> {
    let pointer = SOURCES.get_ptr_mut(key as u32 & settings.source_mask)?;
    // SAFETY: a value of an array lives as long as the map. CPUs may write one slot at once; what that can cost is
    // said in `sentinel_common::reflex`.
    Some(unsafe { &mut *pointer })
}

/// Limits the source, where that is asked for, and tells of it.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined")]
fn raise(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    source: &mut Source,
    crossed: u32,
    word: u64,
    ifindex: u32,
    now: u64,
) {
    let mut until = 0;
    if settings.flags & SETTING_REFLEX_LIMIT != 0 {
        until = source.limit(crossed, &settings.reflex, now);
        // SAFETY: the pointers are fresh from the maps; each is written as a whole. The later end stays: the maps may be
        // of an agent whose limits last longer.
        unsafe {
            if let Some(cells) = LIMITED.get_ptr_mut(0) {
                let mark = &raw mut (*cells)[cell(word, settings.seed) & (CELLS - 1)];
                *mark = cell_later(*mark, until, now);
            }
            let alarm = ALARM.pointer();
            if (*alarm).limited_until_ns < until {
                (*alarm).limited_until_ns = until;
            }
        }
    }
    let sent = emit::record::<ReflexRecord>(stat, |record| {
        record.header = Header {
            kind: KIND_REFLEX,
            version: VERSION,
            len: size_of::<ReflexRecord>() as u32,
        };
        record.now_ns = now;
        record.remote = meta.src;
        record.limited_until_ns = until;
        record.bytes = source.bytes;
        record.window_ns = now - (u64::from(((now >> 20) as u32).wrapping_sub(source.window)) << 20);
        record.crossed = crossed;
        record.ifindex = ifindex;
        record.packets = source.packets;
        record.syns = source.syns;
        record.ports = source.port_estimate();
        record.half_open = source.half_open();
        record.shadow = u32::from(settings.flags & SETTING_ENFORCE == 0);
        record.pad = 0;
    });
    // What could not be told is told with the next packet.
    if sent {
        source.raised |= crossed;
        stat.count(Counter::ReflexRaised);
    }
}

/// Begins to fetch the bucket of a source ([`source_word`]) from memory ([`crate::ahead`]).
#[inline(always)]
pub(crate) fn ahead(settings: &Settings, word: u64) {
    if let Some(bucket) = SOURCES.get_ptr(source_key(word, settings.seed) as u32 & settings.source_mask) {
        ahead::fetch(bucket.cast());
        ahead::fetch(bucket.cast::<u64>().wrapping_add(8));
        ahead::fetch(bucket.cast::<u64>().wrapping_add(16));
        ahead::fetch(bucket.cast::<u64>().wrapping_add(24));
    }
}
