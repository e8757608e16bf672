//! Flows: find or create the entry, update it in place, report when the rule says so.
//!
//! Egress sees what the stack hands to the device. Headers are read from the linear part of a packet, where the stack
//! keeps them; super-packets that the card will cut up (TSO, GSO) are counted as the packets that leave. A jumbo
//! payload length of zero ("BIG TCP", off unless asked for) is counted as it stands: one packet without ports.

use crate::ahead;
use crate::allow::{allowed, hinted as is_allowed};
use crate::emit;
use crate::entry;
use crate::frame::{self, Frame};
use crate::hint;
use crate::maps::{FLOWS, SETTINGS, TAKEN, scratch};
use crate::redirect;
use crate::reflex;
use crate::stat::Stat;
use crate::talk;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use core::mem::offset_of;
use sentinel_common::flow::{Direction, STATE_HANDSHAKE};
use sentinel_common::hash::{beside, hash, place};
use sentinel_common::hint::{HINT_ALLOW, HINT_ENTRY, NO_EPOCH};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_SYN};
use sentinel_common::reflex::source_word;
use sentinel_common::settings::{SETTING_FLOWS, Settings};
use sentinel_common::slot::{HEAD_BESIDE, Head, Slot, WAYS};
use sentinel_common::stat::Counter;
pub(crate) use sentinel_common::table::Learned;
use sentinel_common::table::{Host, Pass};

/// The kernel around the table.
struct Kernel<'a> {
    stat: &'a mut Stat,
    settings: &'a Settings,
    packet: &'a PacketMeta,
    direction: Direction,
    /// Of the bucket.
    index: u32,
    now: u64,
}

/// Whether a packet that came in belongs to a connection that this CPU knows to be proven; rarely, one that only looks so.
#[inline(always)]
pub(crate) fn known(stat: &Stat, settings: &Settings, meta: &PacketMeta) -> bool {
    let (bucket, tag) = place(hash(&settings.keys, meta, Direction::Ingress), Direction::Ingress);
    let index = stat.bucket(settings, bucket);
    let heads = |index| -> Option<&[Head; WAYS]> {
        // SAFETY: the element is this CPU's, and the program does not nest in itself.
        FLOWS.get_ptr(index).map(|bucket| unsafe { &(*bucket).heads })
    };
    let proven = |heads: &[Head; WAYS]| {
        let proven = |head: &Head| head.tag == tag && u32::from(head.state) & STATE_HANDSHAKE != 0;
        heads.iter().any(proven)
    };
    heads(index).is_some_and(|own| {
        proven(own)
            || own[0].state & HEAD_BESIDE != 0 && heads(beside(index, tag, settings.flow_mask)).is_some_and(proven)
    })
}

impl Host for Kernel<'_> {
    type Words = talk::Shared;

    #[inline(always)]
    fn words(&mut self, hash: u64) -> Option<talk::Shared> {
        talk::cell(hash, self.settings.talk_mask)
    }

    #[inline(always)]
    fn allowed(&mut self) -> bool {
        let remote = match self.direction {
            Direction::Ingress => &self.packet.src,
            Direction::Egress => &self.packet.dst,
        };
        is_allowed(self.settings, remote, self.packet.ip_version, self.now)
    }

    #[inline(always)]
    fn report(&mut self, head: &Head, slot: &Slot, way: usize, cause: u32) -> bool {
        let number = self.index * WAYS as u32 + way as u32;
        emit::flow(self.stat, self.settings, head, slot, number, cause, self.now)
    }

    #[inline(always)]
    fn taken(&mut self, way: usize) -> u64 {
        let Some(word) = TAKEN.get_ptr(self.index * WAYS as u32 + way as u32) else {
            return 0;
        };
        // SAFETY: a map value is readable for the length of the program; the agent writes it as a whole.
        unsafe { word.read_volatile() }
    }

    #[inline(always)]
    fn evicted(&mut self, packets: u32, told: bool) {
        self.stat.count(Counter::FlowEvicted);
        if !told {
            self.stat.add(Counter::FlowLost, u64::from(packets));
        }
    }

    #[inline(always)]
    fn moved(&mut self, tag: u32) {
        self.index = self.hide(u64::from(beside(self.index, tag, self.settings.flow_mask))) as u32;
    }

    #[inline(always)]
    fn clear(&mut self, slot: &mut Slot) {
        const {
            assert!(offset_of!(Slot, lately) == 32 && offset_of!(Slot, lately_bytes) == 48);
            assert!(offset_of!(Slot, len_min) == 54 && offset_of!(Slot, len_max) == 56);
            assert!(offset_of!(Slot, bytes) == 64 && offset_of!(Slot, first) == 88);
            assert!(offset_of!(Slot, zero_payload) == 104 && size_of::<Slot>() == 128);
        }
        let words = core::ptr::from_mut(slot).cast::<u64>();
        // SAFETY: all words are the slot's and aligned. They are what `Slot::clear` sets to zero.
        unsafe {
            words.add(4).write_volatile(0);
            words.cast::<u32>().add(12).write_volatile(0);
            words.cast::<u16>().add(27).write_volatile(0);
            words.add(7).write_volatile(0);
            words.add(8).write_volatile(0);
            words.add(9).write_volatile(0);
            words.add(10).write_volatile(0);
            words.cast::<u32>().add(22).write_volatile(0);
            words.add(13).write_volatile(0);
            words.add(14).write_volatile(0);
            words.add(15).write_volatile(0);
        }
    }

    #[inline(always)]
    fn hide(&self, word: u64) -> u64 {
        self.stat.opaque(word)
    }
}

/// Accounts a packet that passes, and says what that taught. `clear` is the number of the lists under which nothing was
/// found for its source, [`NO_EPOCH`] where something was, or nothing was looked for.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined")]
pub(crate) fn packet(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    direction: Direction,
    allowed: Option<bool>,
    clear: u32,
    ifindex: u32,
    now: u64,
) -> Learned {
    if settings.flags & SETTING_FLOWS == 0 {
        return Learned::default();
    }
    let hash = hash(&settings.keys, meta, direction);
    let (bucket, tag) = place(hash, direction);
    let index = stat.bucket(settings, bucket);
    let Some(pointer) = FLOWS.get_ptr_mut(index) else {
        refused(stat, meta);
        return Learned::default();
    };
    // SAFETY: the element is this CPU's, the program does not nest in itself, and the agent only reads it.
    let bucket = unsafe { &mut *pointer };
    // The short way, which looks ahead otherwise, is closed meanwhile.
    if matches!(direction, Direction::Ingress)
        && meta.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
        && reflex::flooded(now)
    {
        ahead::new_flow(bucket, hash, source_word(&meta.src, meta.ip_version));
    }
    let mut kernel = Kernel {
        stat,
        settings,
        packet: meta,
        direction,
        index,
        now,
    };
    let pass = Pass {
        packet: meta,
        direction,
        hash,
        now_ns: now,
        interval_ns: settings.report_interval_ns,
        ifindex,
        allowed,
        clear,
    };
    let beside = || {
        let other = beside(index, tag, settings.flow_mask);
        if other == index {
            return None;
        }
        // SAFETY: as above, and another element.
        FLOWS.get_ptr_mut(other).map(|bucket| unsafe { &mut *bucket })
    };
    let learned = pass.count(bucket, tag, beside, &mut kernel);
    if !learned.counted {
        refused(stat, meta);
    } else if learned.created {
        stat.count(Counter::FlowNew);
    }
    learned
}

/// Counts packets that found no slot.
#[inline(always)]
fn refused(stat: &mut Stat, meta: &PacketMeta) {
    let packets = if meta.segments > 1 { meta.segments } else { 1 };
    stat.add(Counter::FlowRefused, u64::from(packets));
}

/// Body of the egress programs: counts, accounts, lets go; `RESTORED` where the packet's destination has been judged
/// and its source is what it is to be.
#[inline(always)]
pub(crate) fn egress<const RESTORED: bool>(ctx: &TcContext) -> i32 {
    // SAFETY: the context is the kernel's and valid for the length of the program.
    let (ifindex, segments) = unsafe { ((*ctx.skb.skb).ifindex, (*ctx.skb.skb).gso_segs) };
    let settings = SETTINGS.get();
    let (Some(mut stat), Some(meta)) = (Stat::of(ifindex), scratch(1)) else {
        return TC_ACT_UNSPEC;
    };
    let frame = Frame::new(ctx.data(), ctx.data_end());
    if frame::parse(frame, meta).is_err() {
        stat.count(Counter::EgressOther);
        return TC_ACT_UNSPEC;
    }
    // A segmentation-offload frame leaves as several packets, each with its own headers.
    meta.segments = if segments > 1 { segments } else { 1 };
    let headers = ctx.len().saturating_sub(meta.payload_len);
    let bytes = u64::from(ctx.len()) + u64::from(meta.segments - 1) * u64::from(headers);
    let now = stat.now();
    if !RESTORED {
        if blocked(&mut stat, settings, meta, bytes, now) {
            return TC_ACT_SHOT;
        }
        redirect::hand_back(ctx, meta);
    }
    let (packets, octets) = if meta.ip_version == 4 {
        (Counter::EgressV4, Counter::EgressV4Bytes)
    } else {
        (Counter::EgressV6, Counter::EgressV6Bytes)
    };
    stat.add(packets, u64::from(meta.segments));
    stat.add(octets, bytes);
    let _ = packet(
        &mut stat,
        settings,
        meta,
        Direction::Egress,
        None,
        NO_EPOCH,
        ifindex,
        now,
    );
    TC_ACT_UNSPEC
}

/// Whether a packet is not to go out; then it has been counted.
#[inline(always)]
fn blocked(stat: &mut Stat, settings: &Settings, meta: &PacketMeta, bytes: u64, now: u64) -> bool {
    let packets = u64::from(meta.segments);
    let hints = hint::of(settings, &meta.dst, meta.ip_version);
    if hints & HINT_ENTRY == 0
        || hints & HINT_ALLOW != 0 && allowed(&meta.dst, meta.ip_version, now)
        || !entry::leaving(stat, settings, meta, packets, bytes, now)
    {
        return false;
    }
    let (dropped, octets) = if meta.ip_version == 4 {
        (Counter::EgressDropV4, Counter::EgressDropV4Bytes)
    } else {
        (Counter::EgressDropV6, Counter::EgressDropV6Bytes)
    };
    stat.add(dropped, packets);
    stat.add(octets, bytes);
    true
}
