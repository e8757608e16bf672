//! What the benchmark measures the product against: programs that are no part of it.
//!
//! In: frames, and maps the benchmark fills. Out: floors (empty programs), one bare hash look-up, the packet filter of
//! the textbooks, two drivers that give every packet another source, and a teller of records, one a packet. Built into an object of its own
//! (`target/bpf/yardstick.o`), which the benchmark finds at run time. Deliberately elsewhere: what is measured.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    clippy::needless_pass_by_value,
    clippy::needless_borrows_for_generic_args,
    reason = "as in the kernel programs"
)]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the entry point macros generate public functions and drop their documentation"
)]

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns, bpf_redirect};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruPerCpuHashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use sentinel_common::event::FlowRecord;

/// A listed source as a plain blocklist would keep it: when it ends, who ordered it, what it has met.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Listed {
    /// `jiffies64` at which it ends.
    expires: u64,
    id: u64,
    hits: u64,
}

/// A flow as a plain accounting program would keep it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    packets: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
}

/// 5-tuple.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FlowKey {
    src: [u32; 4],
    dst: [u32; 4],
    ports: u32,
    proto: u32,
}

/// What goes to user space of a flow.
#[repr(C)]
pub struct FlowEvent {
    key: FlowKey,
    flow: Flow,
}

/// How the drivers choose a source; the benchmark writes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Draw {
    /// How many sources there are to choose among.
    sources: u32,
    /// The number of the first of them.
    first: u32,
    /// Bits set in every IPv4 source.
    base: u32,
    /// Bits of an IPv4 source that the scattered number fills.
    mask: u32,
    /// First word of every IPv6 source, as it stands in memory.
    prefix: u32,
    /// Where [`yard_send`] sends to.
    ifindex: u32,
    /// State of the generator of numbers (xorshift32).
    state: u32,
}

/// What became of the records of [`yard_tell`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Told {
    sent: u64,
    lost: u64,
}

#[map]
static YARD4: HashMap<[u8; 4], Listed> = HashMap::with_max_entries(1, 0);
#[map]
static YARD6: HashMap<[u8; 16], Listed> = HashMap::with_max_entries(1, 0);
#[map]
static YARD_NET4: LpmTrie<[u8; 4], Listed> = LpmTrie::with_max_entries(1, 1);
#[map]
static YARD_NET6: LpmTrie<[u8; 16], Listed> = LpmTrie::with_max_entries(1, 1);
#[map]
static YARD_FLOWS: LruPerCpuHashMap<FlowKey, Flow> = LruPerCpuHashMap::with_max_entries(131_072, 0);
#[map]
static YARD_EVENTS: RingBuf = RingBuf::with_byte_size(1 << 24, 0);
/// As large as the product's.
#[map]
static YARD_RING: RingBuf = RingBuf::with_byte_size(1 << 24, 0);
#[map]
static YARD_TOLD: PerCpuArray<Told> = PerCpuArray::with_max_entries(1, 0);
#[map]
static YARD_DRAW: Array<Draw> = Array::with_max_entries(1, 0);
#[map]
static YARD_NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The floor of a passed packet.
#[xdp]
pub fn yard_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// The floor of a dropped packet.
#[xdp]
pub fn yard_drop(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// One bare hash look-up: the source of an IPv4 packet, the entry's end, its hit counter.
#[xdp]
pub fn yard_bare(ctx: XdpContext) -> u32 {
    let Some(ethertype) = read::<u16>(&ctx, 12) else {
        return XDP_PASS;
    };
    if ethertype != 0x0800u16.to_be() {
        return XDP_PASS;
    }
    let Some(source) = read::<[u8; 4]>(&ctx, 26) else {
        return XDP_PASS;
    };
    if listed(YARD4.get_ptr_mut(&source)) {
        XDP_DROP
    } else {
        XDP_PASS
    }
}

/// The packet filter of the textbooks: parse, hash, LPM trie, LRU flow map, clock, events.
#[xdp]
pub fn yard_textbook(ctx: XdpContext) -> u32 {
    textbook(&ctx).unwrap_or(XDP_PASS)
}

/// Gives the packet another source, and goes on to the program in `YARD_NEXT`.
#[xdp]
pub fn yard_shuffle(ctx: XdpContext) -> u32 {
    if draw(&ctx).is_none() {
        return XDP_ABORTED;
    }
    // SAFETY: the context and the map are the kernel's; nothing here needs to be dropped.
    unsafe { YARD_NEXT.tail_call(&ctx, 0) };
    XDP_ABORTED
}

/// Gives the packet another source, and sends it out of an interface: a load generator, where frames live.
#[xdp]
pub fn yard_send(ctx: XdpContext) -> u32 {
    match draw(&ctx) {
        // SAFETY: takes numbers only.
        Some(ifindex) => (unsafe { bpf_redirect(ifindex, 0) }) as u32,
        None => XDP_ABORTED,
    }
}

/// Tells a record of a flow, as long as the product's and as it submits them, and does nothing else.
#[xdp]
pub fn yard_tell(_ctx: XdpContext) -> u32 {
    let Some(told) = YARD_TOLD.get_ptr_mut(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: this CPU's element, which lives as long as the map.
    let told = unsafe { &mut *told };
    let Some(mut entry) = YARD_RING.reserve::<FlowRecord>(0) else {
        told.lost += 1;
        return XDP_PASS;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the reservation is the size of the record; all of it is written, word by word, since the compiler would call a
    // function, and numbers are what all of it is.
    unsafe {
        macro_rules! words {
            ($($at:literal)*) => {
                $(record.cast::<u64>().add($at).write_volatile(told.sent);)*
            };
        }
        const { assert!(size_of::<FlowRecord>() == 24 * 8) };
        words!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);
        (&raw mut (*record).header).write(FlowRecord::HEADER);
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    told.sent += 1;
    XDP_PASS
}

/// `T` at `offset`, where the frame goes so far.
#[inline(always)]
fn read<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: between `data` and `data_end`; BPF loads need no alignment where the machine does not, and the
    // benchmark's machines do not.
    Some(unsafe { core::ptr::read_unaligned(start as *const T) })
}

/// Writes `T` at `offset`, where the frame goes so far.
#[inline(always)]
fn write<T>(ctx: &XdpContext, offset: usize, value: T) -> Option<()> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: as in `read`.
    unsafe { core::ptr::write_unaligned(start as *mut T, value) };
    Some(())
}

#[inline(always)]
fn draw(ctx: &XdpContext) -> Option<u32> {
    let draw = YARD_DRAW.get_ptr_mut(0)?;
    // SAFETY: one element that lives as long as the map; the benchmark runs one driver at a time.
    let draw = unsafe { &mut *draw };
    let mut state = draw.state;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    draw.state = state;
    let number = draw
        .first
        .wrapping_add(((u64::from(state) * u64::from(draw.sources)) >> 32) as u32);
    // As the benchmark scatters listed sources.
    let scattered = number.wrapping_mul(0x9e37_79b1);
    if read::<u16>(ctx, 12)? == 0x0800u16.to_be() {
        let [old, new] = [read::<u32>(ctx, 26)?, (draw.base | scattered & draw.mask).to_be()];
        write(ctx, 26, new)?;
        write(ctx, 24, adjusted(read::<u16>(ctx, 24)?, old, new))?;
    } else {
        write(ctx, 22, [draw.prefix, scattered.to_be(), 0, scattered.to_be()])?;
    }
    Some(draw.ifindex)
}

/// A header's checksum after one word of it changed (RFC 1624).
#[inline(always)]
const fn adjusted(check: u16, old: u32, new: u32) -> u16 {
    let mut sum = !check as u32 & 0xffff;
    sum += (!old & 0xffff) + (!old >> 16) + (new & 0xffff) + (new >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Whether an entry holds; it then counts a hit.
#[inline(always)]
fn listed(entry: Option<*mut Listed>) -> bool {
    let Some(entry) = entry else { return false };
    // SAFETY: fresh from the map, whose values stay readable and writable while the program runs.
    unsafe {
        if bpf_jiffies64() >= (*entry).expires {
            return false;
        }
        add(&raw mut (*entry).hits);
    }
    true
}

/// # Safety
/// `counter` points to an aligned `u64` in a map value.
#[inline(always)]
unsafe fn add(counter: *mut u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1u64, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        *counter += 1;
    }
}

#[inline(always)]
fn textbook(ctx: &XdpContext) -> Option<u32> {
    let mut at = 14;
    let mut ethertype = u16::from_be(read::<u16>(ctx, 12)?);
    if ethertype == 0x8100 || ethertype == 0x88a8 {
        ethertype = u16::from_be(read::<u16>(ctx, 16)?);
        at = 18;
    }
    let mut key = FlowKey {
        src: [0; 4],
        dst: [0; 4],
        ports: 0,
        proto: 0,
    };
    let (blocked, l4) = if ethertype == 0x0800 {
        let source = read::<[u8; 4]>(ctx, at + 12)?;
        key.src[3] = u32::from_ne_bytes(source);
        key.dst[3] = read::<u32>(ctx, at + 16)?;
        key.proto = u32::from(read::<u8>(ctx, at + 9)?);
        let blocked = listed(YARD4.get_ptr_mut(&source)) || YARD_NET4.get(&Key::new(32, source)).is_some();
        (blocked, at + 20)
    } else if ethertype == 0x86dd {
        let source = read::<[u8; 16]>(ctx, at + 8)?;
        key.src = read::<[u32; 4]>(ctx, at + 8)?;
        key.dst = read::<[u32; 4]>(ctx, at + 24)?;
        key.proto = u32::from(read::<u8>(ctx, at + 6)?);
        let blocked = listed(YARD6.get_ptr_mut(&source)) || YARD_NET6.get(&Key::new(128, source)).is_some();
        (blocked, at + 40)
    } else {
        return None;
    };
    if blocked {
        return Some(XDP_DROP);
    }
    if key.proto == 6 || key.proto == 17 {
        key.ports = read::<u32>(ctx, l4)?;
    }
    // SAFETY: takes nothing, reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    let bytes = (ctx.data_end() - ctx.data()) as u64;
    if let Some(flow) = YARD_FLOWS.get_ptr_mut(&key) {
        // SAFETY: this CPU's value, fresh from the map.
        let flow = unsafe { &mut *flow };
        flow.packets += 1;
        flow.bytes += bytes;
        flow.last_ns = now;
        if flow.packets % 1024 == 0 {
            event(&key, flow);
        }
    } else {
        let flow = Flow {
            packets: 1,
            bytes,
            first_ns: now,
            last_ns: now,
        };
        let _ = YARD_FLOWS.insert(&key, &flow, 0);
        event(&key, &flow);
    }
    Some(XDP_PASS)
}

#[inline(always)]
fn event(key: &FlowKey, flow: &Flow) {
    if let Some(mut entry) = YARD_EVENTS.reserve::<FlowEvent>(0) {
        entry.write(FlowEvent { key: *key, flow: *flow });
        entry.submit(0);
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program in which it could be.
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("yardstick holds kernel programs for the benchmark; build them with `cargo xtask build-ebpf`");
}
