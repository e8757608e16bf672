//! The kernel programs: entry points only.
//!
//! In: frames, and the maps the agent writes. Out: XDP and tc verdicts, counters, flow records.
//! Invariant: fail open and count; allow before block, always; every block expires against the boot clock.
//! Deliberately elsewhere: what a record means (`sentinel-common`), who writes the block maps (`sentinel/src/kernel`).
//!
//! The crate also compiles for the host, where it is a program that says what it is: clippy and rust-analyzer see it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    clippy::needless_pass_by_value,
    clippy::needless_borrows_for_generic_args,
    reason = "five argument registers and 512 bytes of stack: calls and copies cost more than code"
)]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the entry point macros generate public functions and drop their documentation"
)]

mod account;
mod ahead;
mod allow;
mod cookie;
#[cfg(feature = "kernel-debug")]
mod debug;
mod emit;
mod entry;
mod exact;
mod frame;
mod gate;
mod hint;
mod hook;
mod limit;
mod list;
mod maps;
mod redirect;
mod reflex;
mod short;
mod stat;
mod talk;
mod verdict;
mod verifier;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Ingress.
#[xdp]
#[inline(always)]
pub fn sentinel_xdp(ctx: XdpContext) -> u32 {
    gate::ingress(&hook::Xdp::<false>(ctx)) as u32
}

/// Ingress for drivers that hand over multi-buffer frames (large MTU); needs Linux 5.18.
#[xdp(frags)]
#[inline(always)]
pub fn sentinel_xdp_frags(ctx: XdpContext) -> u32 {
    gate::ingress(&hook::Xdp::<true>(ctx)) as u32
}

/// SYN cookies for a port under flood; called by [`sentinel_xdp`].
#[xdp]
pub fn sentinel_cookie(ctx: XdpContext) -> u32 {
    cookie::stage::<false>(&ctx)
}

/// The same; called by [`sentinel_xdp_frags`].
#[xdp(frags)]
pub fn sentinel_cookie_frags(ctx: XdpContext) -> u32 {
    cookie::stage::<true>(&ctx)
}

/// Ingress where the XDP hook is another's, or not to be had: the same gate, later on the packet's way.
#[classifier]
#[inline(always)]
pub fn sentinel_ingress(ctx: TcContext) -> i32 {
    gate::ingress(&hook::Tc(ctx))
}

/// Egress: accounts what goes out, and lets it go unless its destination is blocked.
#[classifier]
#[inline(always)]
pub fn sentinel_egress(ctx: TcContext) -> i32 {
    account::egress::<false>(&ctx)
}

/// To the honeypot: what [`sentinel_xdp`] hands packets of redirected sources to.
#[xdp]
pub fn sentinel_redirect(ctx: XdpContext) -> u32 {
    redirect::redirect::<false>(&ctx)
}

/// The same for [`sentinel_xdp_frags`].
#[xdp(frags)]
pub fn sentinel_redirect_frags(ctx: XdpContext) -> u32 {
    redirect::redirect::<true>(&ctx)
}

/// Back from the honeypot: what [`sentinel_egress`] hands its answers to.
#[classifier]
pub fn sentinel_restore(ctx: TcContext) -> i32 {
    redirect::restore(&ctx)
}

/// The floor of a passed packet: what the benchmark subtracts.
#[xdp]
pub fn floor_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// The floor of a dropped packet.
#[xdp]
pub fn floor_drop(_ctx: XdpContext) -> u32 {
    XDP_DROP
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
    eprintln!("sentinel-ebpf holds kernel programs; build them with `cargo xtask build-ebpf`");
}
