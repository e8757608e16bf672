//! Flows: find or create the entry, update it in place, report when the rule says so.
//!
//! Egress sees what the stack hands to the device. Headers are read from the linear part of a packet, where the stack
//! keeps them; super-packets that the card will cut up (TSO, GSO) are counted as the packets that leave. A jumbo
//! payload length of zero ("BIG TCP", off unless asked for) is counted as it stands: one packet without ports.

use crate::allow::{allowed, hinted as is_allowed};
use crate::emit;
use crate::entry;
use crate::frame::{self, Frame};
use crate::hint;
use crate::maps::{FLOWS, SETTINGS, scratch};
use crate::redirect;
use crate::stat::Stat;
use aya_ebpf::bindings::{BPF_NOEXIST, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use sentinel_common::flow::{Direction, FlowKey, FlowValue, PROTO_TCP, STATE_ALLOWED, STATE_HANDSHAKE};
use sentinel_common::hint::{HINT_ALLOW, HINT_ENTRY};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_SYN};
use sentinel_common::settings::{SETTING_FLOWS, Settings};
use sentinel_common::stat::Counter;

/// What a flow begins with. In read-only data: the map copies it from there, not from the stack.
static EMPTY: FlowValue = FlowValue::EMPTY;

/// What accounting learned of a packet, for the counters per source.
#[derive(Clone, Copy, Default)]
pub(crate) struct Learned {
    /// It is the first of its flow.
    pub(crate) created: bool,
    /// It is a SYN, without ACK.
    pub(crate) syn: bool,
    /// With it the remote side completed a handshake.
    pub(crate) completed: bool,
    /// Packets from the remote side since the last time this was not 0.
    pub(crate) packets: u32,
    /// Their L3 bytes.
    pub(crate) bytes: u32,
}

/// Whether a packet that came in belongs to a flow that is accounted for.
#[inline(always)]
pub(crate) fn known(meta: &PacketMeta) -> bool {
    FLOWS.get_ptr(&FlowKey::of(meta, Direction::Ingress)).is_some()
}

/// Accounts a packet that passes.
#[inline(always)]
pub(crate) fn packet(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    direction: Direction,
    allowed: Option<bool>,
    ifindex: u32,
    now: u64,
) -> Learned {
    if settings.flags & SETTING_FLOWS == 0 {
        return Learned::default();
    }
    let key = FlowKey::of(meta, direction);
    let (pointer, fresh) = if let Some(pointer) = FLOWS.get_ptr_mut(&key) {
        (pointer, false)
    } else {
        let created = FLOWS.insert(&key, &EMPTY, u64::from(BPF_NOEXIST)).is_ok();
        // Another CPU may have been first; then its entry is the one to update.
        let Some(pointer) = FLOWS.get_ptr_mut(&key) else {
            stat.count(Counter::FlowRefused);
            return Learned::default();
        };
        if created {
            stat.count(Counter::FlowNew);
        }
        (pointer, created)
    };
    // SAFETY: a map value stays readable and writable for the length of the program even if it is evicted meanwhile.
    // Two CPUs may update one flow at once and lose an increment; see the note on accuracy in `FlowValue::update`.
    let value = unsafe { &mut *pointer };
    let allowed = match allowed {
        Some(allowed) => allowed,
        None if fresh => is_allowed(settings, &key.remote, meta.ip_version, now),
        None => value.state & STATE_ALLOWED != 0,
    };
    if fresh {
        value.ifindex = ifindex;
    }
    let state = if allowed {
        value.state | STATE_ALLOWED
    } else {
        value.state & !STATE_ALLOWED
    };
    if state != value.state {
        value.state = state;
    }
    let proven = value.state & STATE_HANDSHAKE;
    let cause = value.update(meta, direction, now, settings.report_interval_ns);
    let learned = Learned {
        created: fresh,
        syn: meta.proto == PROTO_TCP && meta.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
        completed: value.state & STATE_HANDSHAKE != proven,
        packets: 1,
        bytes: meta.l3_len,
    };
    if let Some(cause) = cause {
        emit::flow(stat, settings, &key, value, cause, now);
    }
    learned
}

/// Body of the egress programs: counts, accounts, lets go; `RESTORED` where the packet's destination has been judged
/// and its source is what it is to be.
#[inline(always)]
pub(crate) fn egress<const RESTORED: bool>(ctx: &TcContext) -> i32 {
    // SAFETY: the context is the kernel's and valid for the length of the program.
    let (ifindex, segments) = unsafe { ((*ctx.skb.skb).ifindex, (*ctx.skb.skb).gso_segs) };
    let (Some(settings), Some(mut stat), Some(meta)) = (SETTINGS.get(0), Stat::of(ifindex), scratch(1)) else {
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
    packet(&mut stat, settings, meta, Direction::Egress, None, ifindex, now);
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
