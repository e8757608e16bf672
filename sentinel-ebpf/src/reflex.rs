//! What each source did lately, and what the kernel does about it before user space can answer.
//!
//! A slot is touched when a flow begins and now and then while it lasts, not by every packet; whether a source is
//! limited is asked of one word that stays in the cache, and only while some source is, of a byte per 65,536th of
//! them. The table is shared by CPUs without locks (see `sentinel_common::reflex`).

use crate::account::Learned;
use crate::emit;
use crate::maps::{ALARM, LIMITED, PORTS, SOURCES};
use crate::stat::{Stat, atomic_add};
use core::mem::size_of;
use sentinel_common::event::{Header, KIND_REFLEX, ReflexRecord, VERSION};
use sentinel_common::packet::PacketMeta;
use sentinel_common::reflex::{
    Bucket, CELLS, Seen, Source, WAYS, cell, cell_holds, cell_mark, opens, port_bit, source_key, source_word,
};
use sentinel_common::settings::{SETTING_ENFORCE, SETTING_REFLEX, SETTING_REFLEX_LIMIT, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// Whether the packet is over the limit the kernel set on its source by itself, and what comes of it.
#[inline(always)]
pub(crate) fn limit(settings: &Settings, meta: &PacketMeta, bytes: u64, now: u64) -> Verdict {
    if settings.flags & SETTING_REFLEX_LIMIT == 0 {
        return Verdict::Pass;
    }
    let Some(alarm) = ALARM.get(0) else {
        return Verdict::Pass;
    };
    if alarm.limited_until_ns <= now {
        return Verdict::Pass;
    }
    let Some(cells) = LIMITED.get(0) else {
        return Verdict::Pass;
    };
    let word = source_word(&meta.src, meta.ip_version);
    if !cell_holds(cells[cell(word, settings.seed) & (CELLS - 1)], now) {
        return Verdict::Pass;
    }
    let key = source_key(word, settings.seed);
    let Some(bucket) = bucket(settings, key) else {
        return Verdict::Pass;
    };
    let at = bucket.find(key);
    if at >= WAYS || !bucket.slots[at & (WAYS - 1)].over(opens(meta), bytes, &settings.reflex, now) {
        return Verdict::Pass;
    }
    if settings.flags & SETTING_ENFORCE == 0 {
        Verdict::WouldLimit
    } else {
        Verdict::DropReflex
    }
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
    let seen = Seen {
        packets: learned.packets,
        syns: u32::from(learned.syn),
        completed: u32::from(learned.completed),
        bytes: u64::from(learned.bytes),
        port: if learned.created || learned.syn {
            port_bit(meta, learned.syn, settings.seed)
        } else {
            0
        },
    };
    let word = source_word(&meta.src, meta.ip_version);
    let key = source_key(word, settings.seed);
    let Some(bucket) = bucket(settings, key) else { return };
    let mut at = bucket.find(key);
    if at >= WAYS {
        at = bucket.victim(&settings.reflex, now);
        bucket.slots[at & (WAYS - 1)] = Source::new(key, now);
    }
    let source = &mut bucket.slots[at & (WAYS - 1)];
    source.add(&seen, &settings.reflex, now);
    let crossed = source.crossed(&settings.reflex);
    if crossed != 0 {
        raise(stat, settings, meta, source, crossed, word, ifindex, now);
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
        // SAFETY: the pointers are fresh from the maps; each is written as a whole. Every limit lasts equally long, so
        // that the later one is never the shorter.
        unsafe {
            if let Some(cells) = LIMITED.get_ptr_mut(0) {
                (*cells)[cell(word, settings.seed) & (CELLS - 1)] = cell_mark(until);
            }
            if let Some(alarm) = ALARM.get_ptr_mut(0) {
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
