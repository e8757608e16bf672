//! The places a packet can be met on its way in: XDP, XDP for multi-buffer frames, tc.

use crate::frame::Frame;
use crate::maps::{STAGES, STAGES_FRAGS};
use crate::verdict::{tc_code, xdp_code};
use crate::verifier::moved;
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::{TcContext, XdpContext};
use sentinel_common::verdict::Verdict;

/// Bytes that tc must have in one piece: what the parser reads of any real chain of headers.
const LINEAR: u32 = 256;

/// Ends the program here. Where it returns is shared by all ways through it, and the way there would cost a plain packet
/// three instructions.
#[inline(always)]
pub(crate) fn leave(code: i32) {
    // Where no instruction follows, the compiler takes the way there for one that is never gone: it is told of one.
    #[cfg(target_arch = "bpf")]
    // SAFETY: this is inlined into a program, whose code is in this register when it exits; nothing on its stack needs
    // dropping.
    unsafe {
        core::arch::asm!("exit /* {0} */", label {}, in("r0") i64::from(code), options(noreturn, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    std::process::exit(code)
}

/// A packet that comes in, wherever it is met.
pub(crate) trait Hook: Sized {
    /// Interface it came in on.
    fn ifindex(&self) -> u32;
    /// Its linear part, from the Ethernet header on.
    fn frame(&self) -> Frame;
    /// The end of that part, read anew.
    fn end(&self) -> usize;
    /// Length of the whole frame, bytes.
    fn bytes(&self) -> u64;
    /// The XDP context, for what only XDP can do (rewriting into another frame, answering); `None` on tc.
    #[cfg_attr(
        not(feature = "kernel-debug"),
        expect(dead_code, reason = "for what only XDP can do")
    )]
    fn xdp(&self) -> Option<&XdpContext>;
    /// The same packet, to whoever does not care which register it is in: what the short way keeps at hand, the whole one
    /// need not.
    fn anew(&self) -> Self;
    /// Hands the packet to the program of a stage, which has the last word on it; comes back, with all as it was, where
    /// there is none.
    fn hand_over(&self, stage: u32);
    /// The hook's code of a verdict.
    fn code(verdict: Verdict) -> i32;
}

/// XDP; `FRAGS` where a frame may span buffers.
pub(crate) struct Xdp<const FRAGS: bool>(pub(crate) XdpContext);

impl<const FRAGS: bool> Hook for Xdp<FRAGS> {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn frame(&self) -> Frame {
        Frame::new(self.0.data(), self.0.data_end())
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.0.data_end()
    }

    #[inline(always)]
    fn bytes(&self) -> u64 {
        if FRAGS {
            // SAFETY: the context is the kernel's own.
            unsafe { bpf_xdp_get_buff_len(self.0.ctx) }
        } else {
            (self.0.data_end() - self.0.data()) as u64
        }
    }

    #[inline(always)]
    fn xdp(&self) -> Option<&XdpContext> {
        Some(&self.0)
    }

    #[inline(always)]
    fn anew(&self) -> Self {
        Self(XdpContext::new(moved(self.0.ctx as u64) as *mut _))
    }

    #[inline(always)]
    fn hand_over(&self, stage: u32) {
        let stages = if FRAGS { &STAGES_FRAGS } else { &STAGES };
        // SAFETY: nothing on the stack of the programs needs dropping.
        unsafe {
            stages.tail_call(&self.0, stage);
        }
    }

    #[inline(always)]
    fn code(verdict: Verdict) -> i32 {
        xdp_code(verdict) as i32
    }
}

/// tc ingress: after GRO, with an outer VLAN tag already taken off.
pub(crate) struct Tc(pub(crate) TcContext);

impl Hook for Tc {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the kernel's and valid for the length of the program.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    #[inline(always)]
    fn frame(&self) -> Frame {
        let linear = (self.0.data_end() - self.0.data()) as u32;
        if linear < LINEAR && linear < self.0.len() {
            // Drivers may leave all but the Ethernet header in pages. A packet that cannot be gathered is judged by
            // what is there.
            let _ = self.0.pull_data(LINEAR.min(self.0.len()));
        }
        Frame::new(self.0.data(), self.0.data_end())
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.0.data_end()
    }

    #[inline(always)]
    fn bytes(&self) -> u64 {
        u64::from(self.0.len())
    }

    #[inline(always)]
    fn xdp(&self) -> Option<&XdpContext> {
        None
    }

    #[inline(always)]
    fn anew(&self) -> Self {
        Self(TcContext::new(moved(self.0.skb.skb as u64) as *mut _))
    }

    #[inline(always)]
    fn hand_over(&self, _stage: u32) {
        // All stages are XDP's.
    }

    #[inline(always)]
    fn code(verdict: Verdict) -> i32 {
        tc_code(verdict)
    }
}
