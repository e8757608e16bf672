//! SYN floods: counted per port in the gate, answered with the stack's own cookies by a stage of its own.
//!
//! Blocks do not help against forged sources. The stage asks the stack for a cookie of the very listener the SYN would
//! reach (`bpf_tcp_gen_syncookie`, Linux 5.4), which makes one only where the stack would (`net.ipv4.tcp_syncookies`)
//! and remembers that it did, so that what the client brings back is taken. Without a listener, or while the stack can
//! take the SYN itself, it goes to the stack as ever.

use crate::account::{self, Learned};
use crate::emit;
use crate::frame::Frame;
use crate::gate;
use crate::hook::Hook;
use crate::maps::{ALARM, COOKIE_MUTE, COOKIE_PORTS, PORTS, SETTINGS, parsed};
use crate::reflex;
use crate::stat::{Stat, atomic_add};
use crate::talk;
use crate::verdict::xdp_code;
use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::helpers::{
    bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie, bpf_xdp_adjust_tail,
    bpf_xdp_get_buff_len,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use core::mem::size_of;
use sentinel_common::event::{Header, KIND_SYN_FLOOD, SynFloodRecord, VERSION};
use sentinel_common::flow::{Direction, PROTO_TCP};
use sentinel_common::hash::hash;
use sentinel_common::hint::NO_EPOCH;
use sentinel_common::names::{SLOT_TABLE, STAGE_COOKIE};
use sentinel_common::packet::{PacketMeta, PacketView, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use sentinel_common::reflex::{PORT_CALM_NS, Turn};
use sentinel_common::settings::{SETTING_COOKIES, SETTING_ENFORCE, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::talk::vouch;
use sentinel_common::verdict::Verdict;

/// `TCP_LISTEN` (`include/net/tcp_states.h`).
const LISTEN: u32 = 10;
/// Largest segment offered, over IPv4: what fits Ethernet.
const MSS4: u16 = 1460;
/// Over IPv6.
const MSS6: u16 = 1440;
/// Window offered with a cookie: a first flight (RFC 6928), which every listener has room for. What the stack says
/// next corrects it.
const WINDOW: u16 = 14_600;

/// In the gate: counts a handshake begun, and hands to the stage what it is for: a SYN to a port under flood, and an
/// ACK to one that belongs to no proven connection. Comes back with everything else, and where there is no stage.
#[inline(always)]
pub(crate) fn consider<H: Hook>(
    hook: &H,
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    verdict: Verdict,
    ifindex: u32,
    now: u64,
) {
    if meta.proto != PROTO_TCP || settings.syn_flood_half_open == 0 {
        return;
    }
    let flags = meta.tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);
    if flags == TCP_SYN {
        if !begun(stat, settings, meta, ifindex, now) {
            return;
        }
    } else if flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_ACK {
        if settings.flags & SETTING_COOKIES == 0 || ALARM.get().flood_until_ns <= now {
            return;
        }
        let flooded = PORTS
            .get(u32::from(meta.dst_port))
            .is_some_and(|port| port.under_flood(now));
        if !flooded || account::known(stat, settings, meta) {
            return;
        }
    } else {
        return;
    }
    if !matches!(verdict, Verdict::Pass) || meta.fragment || !answers(settings, meta.dst_port, ifindex) {
        return;
    }
    hook.hand_over(STAGE_COOKIE);
}

/// Whether cookies answer for a port while it is under flood, to what comes in here.
#[inline(always)]
fn answers(settings: &Settings, port: u16, ifindex: u32) -> bool {
    const BOTH: u32 = SETTING_COOKIES | SETTING_ENFORCE;
    settings.flags & BOTH == BOTH
        && COOKIE_PORTS
            .get(u32::from(port) >> 6)
            .is_some_and(|word| word >> (port & 63) & 1 != 0)
        && COOKIE_MUTE
            .get((ifindex & (SLOT_TABLE - 1)) >> 6)
            .is_some_and(|word| word >> (ifindex & 63) & 1 == 0)
}

/// Counts a handshake begun; whether its port is under flood. Tells where that turns.
#[inline(always)]
fn begun(stat: &mut Stat, settings: &Settings, meta: &PacketMeta, ifindex: u32, now: u64) -> bool {
    let Some(pointer) = PORTS.get_ptr_mut(u32::from(meta.dst_port)) else {
        return false;
    };
    // SAFETY: a value of an array lives as long as the map. CPUs share it: the counts are added to atomically, the rest
    // are single stores, and two CPUs at the turn of a window at worst tell of it twice.
    let port = unsafe { &mut *pointer };
    let turn = port.begun(u64::from(settings.syn_flood_half_open), now);
    // SAFETY: as above.
    unsafe { atomic_add(&raw mut (*pointer).syns, 1) };
    if port.under_flood(now) {
        let alarm = ALARM.pointer();
        // SAFETY: as above. Not with every SYN: all CPUs read it.
        unsafe {
            if (*alarm).flood_until_ns < now + PORT_CALM_NS / 2 {
                (*alarm).flood_until_ns = now + PORT_CALM_NS;
            }
        }
    }
    if let Some(turn) = turn {
        tell(stat, settings, meta, turn, ifindex, now);
    }
    port.under_flood(now)
}

#[inline(always)]
fn tell(stat: &mut Stat, settings: &Settings, meta: &PacketMeta, turn: Turn, ifindex: u32, now: u64) {
    let (under, syns, completed) = match turn {
        Turn::Begins { syns, completed } => (1, syns + 1, completed),
        Turn::Over { syns, completed } => (0, syns, completed),
    };
    emit::record::<SynFloodRecord>(stat, |record| {
        record.header = Header {
            kind: KIND_SYN_FLOOD,
            version: VERSION,
            len: size_of::<SynFloodRecord>() as u32,
        };
        record.now_ns = now;
        record.local = meta.dst;
        record.syns = syns as u32;
        record.completed = completed as u32;
        record.ifindex = ifindex;
        record.port = meta.dst_port;
        record.under_flood = under;
        record.answered = u8::from(answers(settings, meta.dst_port, ifindex));
        record.pad = [0; 2];
    });
}

/// Headers as the helpers want them, and the answer in the making. Not on the stack, which has no room for them.
#[repr(C, align(8))]
struct Work {
    ip: [u8; 40],
    tcp: [u8; 60],
    tuple: [u8; 36],
    /// IP and TCP header of the answer, in host order.
    out: [u16; 32],
}

#[map]
static COOKIE_WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// What the stack says of a packet.
enum Said {
    /// Nothing: no socket, one that is connected, or a listener that takes the SYN itself.
    Own,
    /// A cookie, and the segment size it holds.
    Cookie(u32, u16),
    /// The packet brings a cookie back.
    Valid,
    /// It reached a listener, of no connection, and brings none.
    Invalid,
}

/// Body of the stage: the rest of the gate for the packets it is called with.
#[inline(always)]
pub(crate) fn stage<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let settings = SETTINGS.get();
    let (Some(mut stat), Some(meta)) = (Stat::of(ifindex), parsed(0)) else {
        return XDP_PASS;
    };
    let frame = Frame::new(ctx.data(), ctx.data_end());
    let bytes = if FRAGS {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_xdp_get_buff_len(ctx.ctx) }
    } else {
        frame.len()
    };
    let now = stat.now();
    let mut learned = Learned {
        counted: false,
        created: true,
        syn: true,
        completed: false,
        packets: 1,
        bytes: meta.l3_len,
    };
    let mut proven = false;
    let verdict = match ask(ctx, frame, meta) {
        Some((Said::Cookie(cookie, mss), l3)) if answer(ctx, meta, bytes, l3, cookie, mss) => {
            if let Some(port) = PORTS.get_ptr_mut(u32::from(meta.dst_port)) {
                // SAFETY: the pointer is fresh from the map; single stores, of which another CPU's may stay.
                unsafe { ((*port).answered_ns, (*port).answered_for) = (now, meta.dst.folded()) };
            }
            Verdict::Answer
        }
        Some((Said::Valid, _)) => {
            proven = true;
            let hash = hash(&settings.keys, meta, Direction::Ingress);
            if let Some(cell) = talk::cell(hash, settings.talk_mask) {
                vouch(&cell, meta, hash);
            }
            stat.count(Counter::CookieValid);
            Verdict::Pass
        }
        Some((Said::Invalid, _)) if given_out(meta, now) => Verdict::DropCookie,
        _ => Verdict::Pass,
    };
    gate::count(&mut stat, verdict, meta.ip_version, bytes);
    if verdict.drops() {
        return xdp_code(verdict);
    }
    if matches!(verdict, Verdict::Pass) {
        learned = account::packet(
            &mut stat,
            settings,
            meta,
            Direction::Ingress,
            Some(false),
            NO_EPOCH,
            ifindex,
            now,
        );
        learned.completed |= proven;
    }
    reflex::note(&mut stat, settings, meta, learned, false, ifindex, now);
    xdp_code(verdict)
}

/// Whether a cookie of the address and port that a packet goes to may be under way. Else what it lacks is no fault: its
/// connection may be somebody else's, behind NAT or a route, whose port is also listened on here.
#[inline(always)]
fn given_out(meta: &PacketMeta, now: u64) -> bool {
    PORTS
        .get(u32::from(meta.dst_port))
        .is_some_and(|port| port.answered(meta.dst.folded(), now))
}

/// Puts a packet to the stack; with where its IP header begins. Nothing where its headers are out of the ordinary.
#[inline(always)]
fn ask(ctx: &XdpContext, frame: Frame, meta: &PacketMeta) -> Option<(Said, usize)> {
    let work = COOKIE_WORK.get_ptr_mut(0)?;
    // SAFETY: the element is this CPU's, and XDP does not nest.
    let work = unsafe { &mut *work };
    let l3 = l3(frame)?;
    let v4 = meta.ip_version == 4;
    let (l4, ip_len, tuple_len) = if v4 {
        let ip = frame.octets16(l3)?;
        work.ip[..16].copy_from_slice(&ip);
        work.ip[16..20].copy_from_slice(&frame.octets4(l3 + 16)?);
        work.tuple[..4].copy_from_slice(&ip[12..]);
        work.tuple[4..8].copy_from_slice(&frame.octets4(l3 + 16)?);
        (l3 + 4 * usize::from(ip[0] & 15), 20, 12)
    } else {
        work.ip[..4].copy_from_slice(&frame.octets4(l3)?);
        work.ip[4..8].copy_from_slice(&frame.octets4(l3 + 4)?);
        // TCP follows at once; with extension headers in between the stack does it all.
        if work.ip[6] != PROTO_TCP {
            return None;
        }
        let (source, destination) = (frame.octets16(l3 + 8)?, frame.octets16(l3 + 24)?);
        work.ip[8..24].copy_from_slice(&source);
        work.ip[24..40].copy_from_slice(&destination);
        work.tuple[..16].copy_from_slice(&source);
        work.tuple[16..32].copy_from_slice(&destination);
        (l3 + 40, 40, 36)
    };
    work.tcp[..16].copy_from_slice(&frame.octets16(l4)?);
    work.tcp[16..20].copy_from_slice(&frame.octets4(l4 + 16)?);
    let tcp_len = u64::from(work.tcp[12] >> 4) * 4;
    let mut at = 20;
    while at < 60 {
        if tcp_len as usize > at {
            work.tcp[at..at + 4].copy_from_slice(&frame.octets4(l4 + at)?);
        }
        at += 4;
    }
    if v4 {
        work.tuple[8..12].copy_from_slice(&frame.octets4(l4)?);
    } else {
        work.tuple[32..36].copy_from_slice(&frame.octets4(l4)?);
    }
    // Bounded one side at a time, in the register that the helper is given: the verifier must see both.
    let tcp_len = opaque(tcp_len);
    if tcp_len < 20 {
        return None;
    }
    let tcp_len = opaque(tcp_len);
    if tcp_len > 60 {
        return None;
    }
    let tcp_len = tcp_len as u32;
    // SAFETY: every pointer is into this CPU's work area, for no more than its length; the socket is released on the
    // only way out.
    let said = unsafe {
        let socket = bpf_skc_lookup_tcp(ctx.ctx.cast(), (&raw mut work.tuple).cast(), tuple_len, u64::MAX, 0);
        if socket.is_null() {
            return Some((Said::Own, l3));
        }
        let mut code = 0;
        let syn = work.tcp[13] & TCP_SYN != 0;
        let listens = (*socket).state == LISTEN;
        if listens {
            let (ip, tcp) = ((&raw mut work.ip).cast(), (&raw mut work.tcp).cast());
            code = if syn {
                bpf_tcp_gen_syncookie(socket.cast(), ip, ip_len, tcp, tcp_len)
            } else {
                bpf_tcp_check_syncookie(socket.cast(), ip, ip_len, tcp, tcp_len)
            };
        }
        bpf_sk_release(socket.cast());
        match (listens, syn) {
            (true, true) if code > 0 => Said::Cookie(code as u32, (code >> 32) as u16),
            (true, false) if code == 0 => Said::Valid,
            // -ENOENT: no cookie, or none was given out lately.
            (true, false) if code == -2 => Said::Invalid,
            // Anything else is for the stack to say.
            _ => Said::Own,
        }
    };
    Some((said, l3))
}

/// The same value, of which the compiler knows nothing.
#[inline(always)]
fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: adds nothing. (No instruction at all would give two source lines to the next, which the kernel
        // refuses.)
        unsafe { core::arch::asm!("{0} += 0", inout(reg) value, options(pure, nomem, nostack)) };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(value)
}

/// Where the IP header begins: behind at most two VLAN tags.
#[inline(always)]
fn l3(frame: Frame) -> Option<usize> {
    let tag = |at| Some(matches!(frame.u16(at)?, 0x8100 | 0x88a8 | 0x9100));
    if !tag(12)? {
        Some(14)
    } else if !tag(16)? {
        Some(18)
    } else {
        Some(22)
    }
}

/// Turns the SYN into the SYN-ACK that brings its cookie; false, and nothing changed, where that cannot be.
///
/// No options but the segment size: the stack keeps the client's others in the low bits of a timestamp whose offset it
/// does not tell, so a connection begun by a cookie has no window scaling, selective acknowledgements or timestamps.
#[inline(always)]
fn answer(ctx: &XdpContext, meta: &PacketMeta, bytes: u64, l3: usize, cookie: u32, mss: u16) -> bool {
    let Some(work) = COOKIE_WORK.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: as in `ask`.
    let work = unsafe { &mut *work };
    let v4 = meta.ip_version == 4;
    let ip_words = if v4 { 10 } else { 20 };
    // A frame is only ever made shorter, which every driver can; one without room for the option came without options.
    let room = bytes >= (l3 + 2 * ip_words + 24) as u64;
    let tcp_len: u16 = if room { 24 } else { 20 };
    let mut sum = u32::from(PROTO_TCP) + u32::from(tcp_len);
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let out = &mut work.out;
    let tcp = if v4 {
        out[0] = 0x4500;
        out[1] = 20 + tcp_len;
        out[2] = 0;
        out[3] = 0x4000;
        out[4] = 64 << 8 | u16::from(PROTO_TCP);
        out[5] = 0;
        for n in 0..2 {
            out[6 + n] = word(&work.ip, 16 + 2 * n);
            out[8 + n] = word(&work.ip, 12 + 2 * n);
        }
        let mut header = 0;
        for (n, part) in out.iter().enumerate().take(10) {
            header += u32::from(*part);
            if n >= 6 {
                sum += u32::from(*part);
            }
        }
        out[5] = fold(header);
        10
    } else {
        out[0] = 0x6000;
        out[1] = 0;
        out[2] = tcp_len;
        out[3] = u16::from(PROTO_TCP) << 8 | 64;
        for n in 0..8 {
            out[4 + n] = word(&work.ip, 24 + 2 * n);
            out[12 + n] = word(&work.ip, 8 + 2 * n);
            sum += u32::from(out[4 + n]) + u32::from(out[12 + n]);
        }
        20
    };
    let seq = meta.tcp_seq.wrapping_add(1);
    let mss = mss.min(if v4 { MSS4 } else { MSS6 });
    let header = [
        meta.dst_port,
        meta.src_port,
        (cookie >> 16) as u16,
        cookie as u16,
        (seq >> 16) as u16,
        seq as u16,
        (tcp_len / 4) << 12 | u16::from(TCP_SYN | TCP_ACK),
        WINDOW,
        0,
        0,
        if room { 0x0204 } else { 0 },
        if room { mss } else { 0 },
    ];
    let mut n = 0;
    while n < 12 {
        sum += u32::from(header[n]);
        out[(tcp + n) & 31] = header[n];
        n += 1;
    }
    out[tcp + 8] = fold(sum);

    let length = l3 + 2 * ip_words + usize::from(tcp_len);
    // SAFETY: the context is the kernel's own.
    if bytes < length as u64 || unsafe { bpf_xdp_adjust_tail(ctx.ctx, length as i32 - bytes as i32) } != 0 {
        return false;
    }
    write(ctx, l3, v4, room, &work.out)
}

/// The sum of a checksum (RFC 1071), folded and complemented.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    !(((sum >> 16) + (sum & 0xffff)) as u16)
}

/// Writes the headers over those of the SYN, and turns the Ethernet addresses round.
#[inline(always)]
fn write(ctx: &XdpContext, l3: usize, v4: bool, room: bool, out: &[u16; 32]) -> bool {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + 14 > end {
        return false;
    }
    // SAFETY: the bounds were just checked; frames are aligned to two bytes.
    unsafe {
        let ethernet = data as *mut [u16; 6];
        let was = *ethernet;
        *ethernet = [was[3], was[4], was[5], was[0], was[1], was[2]];
    }
    match (v4, room) {
        (true, true) => put::<22>(data + l3, end, out),
        (true, false) => put::<20>(data + l3, end, out),
        (false, true) => put::<32>(data + l3, end, out),
        (false, false) => put::<30>(data + l3, end, out),
    }
}

/// Writes `N` words at `at`, in network order.
#[inline(always)]
fn put<const N: usize>(at: usize, end: usize, out: &[u16; 32]) -> bool {
    if at + 2 * N > end {
        return false;
    }
    let mut n = 0;
    while n < N {
        // SAFETY: the bounds were just checked; frames are aligned to two bytes, and the offset is even.
        unsafe { *((at + 2 * n) as *mut u16) = out[n].to_be() };
        n += 1;
    }
    true
}
