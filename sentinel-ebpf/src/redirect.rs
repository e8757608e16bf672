//! To the honeypot and back: programs of their own, which the gate and the egress program hand packets to.
//!
//! On the way in XDP rewrites the destination (and the source port, where another conversation has it) in the frame;
//! the stack then delivers or forwards it as any other. On the way out tc puts the original address and ports back.
//! Checksums are changed by what changed. A packet that cannot be rewritten is dropped: it was not to reach the host.

use crate::account;
use crate::frame::Frame;
use crate::maps::{HONEYPOTS, REDIRECTS, SETTINGS, STAGES_EGRESS, parsed};
use crate::stat::Stat;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_UNSPEC};
use aya_ebpf::helpers::{bpf_csum_diff, bpf_xdp_get_buff_len};
use aya_ebpf::programs::{TcContext, XdpContext};
use core::mem::size_of;
use sentinel_common::addr::Addr;
use sentinel_common::flow::{Direction, PROTO_UDP};
use sentinel_common::hint::NO_EPOCH;
use sentinel_common::names::STAGE_REDIRECT;
use sentinel_common::packet::PacketMeta;
use sentinel_common::redirect::{
    CANDIDATES, Change, HONEYPOT_ADDRESS, HONEYPOT_SET, Honeypot, RedirectKey, Redirected, candidate, checksum_offset,
    rewritable, same,
};
use sentinel_common::settings::Settings;
use sentinel_common::stat::Counter;

/// Hands an answer of the honeypot over to the program that restores it; returns where there is nothing to restore.
#[inline(always)]
pub(crate) fn hand_back(ctx: &TcContext, meta: &PacketMeta) {
    let Some(honeypot) = of(meta) else { return };
    let from_it = meta.src_port == honeypot.port
        && (honeypot.flags & HONEYPOT_ADDRESS == 0 || same(&meta.src, &honeypot.address));
    if from_it && rewritable(meta) {
        // SAFETY: as above.
        unsafe { STAGES_EGRESS.tail_call(ctx, STAGE_REDIRECT) };
    }
}

/// Body of the programs that send a packet on to the honeypot; it is in this CPU's scratch record.
#[inline(always)]
pub(crate) fn redirect<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let settings = SETTINGS.get();
    let (Some(mut stat), Some(meta)) = (Stat::of(ifindex), parsed(0)) else {
        return XDP_DROP;
    };
    let frame = Frame::new(ctx.data(), ctx.data_end());
    let bytes = if FRAGS {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_xdp_get_buff_len(ctx.ctx) }
    } else {
        frame.len()
    };
    let now = stat.now();
    if send_on(frame, settings, meta, now).is_none() {
        return failed(&mut stat, meta, bytes);
    }
    let (packets, octets) = if meta.ip_version == 4 {
        (Counter::RedirectV4, Counter::RedirectV4Bytes)
    } else {
        (Counter::RedirectV6, Counter::RedirectV6Bytes)
    };
    stat.count(packets);
    stat.add(octets, bytes);
    account::packet(
        &mut stat,
        settings,
        meta,
        Direction::Ingress,
        Some(false),
        NO_EPOCH,
        ifindex,
        now,
    );
    XDP_PASS
}

/// Body of the program that restores the honeypot's answers and lets them go as any other packet.
#[inline(always)]
pub(crate) fn restore(ctx: &TcContext) -> i32 {
    // SAFETY: the context is the kernel's and valid for the length of the program.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let (Some(mut stat), Some(meta)) = (Stat::of(ifindex), parsed(1)) else {
        return TC_ACT_UNSPEC;
    };
    if put_back(ctx, meta).is_some() {
        stat.add(Counter::Restored, u64::from(meta.segments));
    }
    account::egress::<true>(ctx)
}

/// The honeypot of a packet's family, where there is one.
#[inline(always)]
fn of(meta: &PacketMeta) -> Option<&'static Honeypot> {
    HONEYPOTS
        .get(u32::from(meta.ip_version != 4))
        .filter(|honeypot| honeypot.flags & HONEYPOT_SET != 0)
}

/// Drops what was to be redirected and could not be.
#[inline(always)]
pub(crate) fn failed(stat: &mut Stat, meta: &PacketMeta, bytes: u64) -> u32 {
    let (packets, octets) = if meta.ip_version == 4 {
        (Counter::DropV4, Counter::DropV4Bytes)
    } else {
        (Counter::DropV6, Counter::DropV6Bytes)
    };
    stat.count(packets);
    stat.add(octets, bytes);
    stat.count(Counter::RedirectFailed);
    XDP_DROP
}

/// Rewrites a frame for the honeypot; `None` where that cannot be done.
#[inline(always)]
fn send_on(frame: Frame, settings: &Settings, meta: &PacketMeta, now: u64) -> Option<()> {
    let honeypot = of(meta)?;
    if !rewritable(meta) {
        return None;
    }
    let address = honeypot.address_for(meta);
    let addressed = meta.dst_port == honeypot.port && same(&meta.dst, &address);
    let port = conversation(settings, meta, now, addressed)?;
    if addressed {
        // It is on its way there already, be it by its own will or because it was redirected before it came here.
        return Some(());
    }
    let l4 = usize::from(meta.l4_offset);
    let ports = frame.place::<2>(l4)?;
    let checksum = frame.place::<1>(l4 + checksum_offset(meta.proto))?;
    // SAFETY: both lie within the frame (see `Frame::at`), and nothing else refers to it.
    unsafe {
        let old = *ports;
        let new = [port.to_be(), honeypot.port.to_be()];
        let change = readdress(frame, meta, &address)?.words(old, new);
        *ports = new;
        *checksum = if meta.proto == PROTO_UDP {
            [change.apply_udp((*checksum)[0])]
        } else {
            [change.apply((*checksum)[0])]
        };
    }
    Some(())
}

/// Writes the new destination address, and says by how much that changes a checksum over it.
///
/// # Safety
/// Nothing else refers to the frame.
#[inline(always)]
unsafe fn readdress(frame: Frame, meta: &PacketMeta, address: &Addr) -> Option<Change> {
    let l3 = usize::from(meta.l3_offset);
    // SAFETY: all lie within the frame (see `Frame::at`).
    unsafe {
        if meta.ip_version == 4 {
            let [.., a, b, c, d] = address.0;
            let new = [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])];
            let place = frame.place::<2>(l3 + 16)?;
            let checksum = frame.place::<1>(l3 + 10)?;
            let change = Change::default().words(*place, new);
            *place = new;
            *checksum = [change.apply((*checksum)[0])];
            Some(change)
        } else {
            let new = words(address);
            let place = frame.place::<8>(l3 + 24)?;
            let change = Change::default().words(*place, new);
            *place = new;
            Some(change)
        }
    }
}

/// An address as words in memory order.
#[inline(always)]
const fn words(address: &Addr) -> [u16; 8] {
    // SAFETY: sixteen bytes are eight u16, and any bits are valid.
    unsafe { core::mem::transmute::<[u8; 16], [u16; 8]>(address.0) }
}

/// The source port a conversation goes to the honeypot under; `None` where none is to be had. What was `addressed` to
/// the honeypot itself keeps its own.
#[inline(always)]
fn conversation(settings: &Settings, meta: &PacketMeta, now: u64, addressed: bool) -> Option<u16> {
    let wanted = Redirected::of(meta, now);
    let mut key = RedirectKey {
        remote: meta.src,
        port: meta.src_port,
        proto: meta.proto,
        pad: [0; 5],
    };
    let mut free = None;
    for n in 0..CANDIDATES {
        key.port = candidate(settings.seed, meta, n);
        match REDIRECTS.get_ptr_mut(&key) {
            Some(held) => {
                // SAFETY: the pointer is fresh from the map; a stamp that another CPU writes too is as good as ours.
                unsafe {
                    if (*held).same(&wanted) {
                        if (*held).seen_ns != now {
                            (*held).seen_ns = now;
                        }
                        return Some(key.port);
                    }
                    if free.is_none() && (*held).idle(now) {
                        free = Some(key.port);
                    }
                }
            }
            None => {
                if free.is_none() {
                    free = Some(key.port);
                }
            }
        }
        if addressed {
            break;
        }
    }
    if addressed && free.is_none() {
        return Some(meta.src_port);
    }
    key.port = free?;
    // Two CPUs may take one free port for two conversations. The next packet of the one that lost it finds another.
    REDIRECTS.insert(&key, &wanted, 0).ok()?;
    Some(key.port)
}

/// Puts the original address and ports into an answer; `None` where it answers nobody who was redirected.
#[inline(always)]
fn put_back(ctx: &TcContext, meta: &PacketMeta) -> Option<()> {
    let key = RedirectKey {
        remote: meta.dst,
        port: meta.dst_port,
        proto: meta.proto,
        pad: [0; 5],
    };
    let held = REDIRECTS.get_ptr_mut(&key)?;
    // SAFETY: the pointer is fresh from the map, and what is read is written once, before the record is there.
    let (mut address, port, remote_port) = unsafe { ((*held).address, (*held).port, (*held).remote_port) };
    let (l3, l4) = (usize::from(meta.l3_offset), usize::from(meta.l4_offset));
    let sum = l4 + checksum_offset(meta.proto);
    // UDP's "no checksum" stays, and a sum of zero gets its other form.
    let udp = if meta.proto == PROTO_UDP {
        u64::from(BPF_F_MARK_MANGLED_0)
    } else {
        0
    };
    // The first call makes the headers writable, or fails with nothing changed; the others cannot fail after it.
    let change = |from: u16, to: u16| ctx.l4_csum_replace(sum, u64::from(from.to_be()), u64::from(to.to_be()), udp | 2);
    change(meta.src_port, port).ok()?;
    change(meta.dst_port, remote_port).ok()?;
    let ports = [port.to_be(), remote_port.to_be()];
    ctx.store(l4, &ports, 0).ok()?;
    if same(&address, &meta.src) {
        return Some(());
    }
    let pseudo = udp | u64::from(BPF_F_PSEUDO_HDR);
    if meta.ip_version == 4 {
        let number = |address: &Addr| {
            let [.., a, b, c, d] = address.0;
            u32::from_ne_bytes([a, b, c, d])
        };
        let (from, to) = (number(&meta.src), number(&address));
        ctx.l4_csum_replace(sum, u64::from(from), u64::from(to), pseudo | 4)
            .ok()?;
        ctx.l3_csum_replace(l3 + 10, u64::from(from), u64::from(to), 4).ok()?;
        ctx.store(l3 + 12, &to, 0).ok()?;
    } else {
        let mut old = meta.src;
        let size = size_of::<Addr>() as u32;
        // SAFETY: both are 16 bytes on this stack.
        let difference = unsafe { bpf_csum_diff((&raw mut old).cast(), size, (&raw mut address).cast(), size, 0) };
        ctx.l4_csum_replace(sum, 0, difference as u64, pseudo).ok()?;
        ctx.store(l3 + 8, &address, 0).ok()?;
    }
    Some(())
}
