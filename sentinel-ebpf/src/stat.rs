//! Counters and the cached clock: one per-CPU element per interface, one look-up per packet.
//!
//! XDP runs in soft interrupts and tc egress with soft interrupts off, so nothing else touches this CPU's block meanwhile.

use crate::maps::{SLOTS, STATS};
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use sentinel_common::names::SLOT_TABLE;
use sentinel_common::stat::{Counter, CpuBlock};

/// This CPU's block of an interface.
pub(crate) struct Stat(&'static mut CpuBlock);

impl Stat {
    /// The block of the interface with this index; slot 0 where the agent assigned none.
    #[inline(always)]
    pub(crate) fn of(ifindex: u32) -> Option<Self> {
        let slot = SLOTS.get(ifindex & (SLOT_TABLE - 1)).copied().unwrap_or(0);
        let block = STATS.get_ptr_mut(slot)?;
        // SAFETY: the pointer is to this CPU's element, which lives as long as the map and is not shared (see above).
        Some(Self(unsafe { &mut *block }))
    }

    /// Adds one.
    #[inline(always)]
    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n`.
    #[inline(always)]
    pub(crate) fn add(&mut self, counter: Counter, n: u64) {
        self.0.counters[counter as usize] += n;
    }

    /// `CLOCK_BOOTTIME`, ns, read once per jiffy: a clock read costs more than the whole rest of the path.
    #[inline(always)]
    pub(crate) fn now(&mut self) -> u64 {
        // SAFETY: takes nothing, reads a kernel variable.
        let jiffies = unsafe { bpf_jiffies64() };
        if self.0.clock_jiffies != jiffies {
            self.0.clock_jiffies = jiffies;
            // SAFETY: takes nothing, reads the clock.
            self.0.clock_ns = unsafe { bpf_ktime_get_boot_ns() };
        }
        self.0.clock_ns
    }

    /// Takes one record out of the budget of `window`; false when it is spent.
    #[inline(always)]
    pub(crate) fn spend(&mut self, window: u64, budget: u64) -> bool {
        if self.0.budget_window != window {
            self.0.budget_window = window;
            self.0.budget_used = 0;
        }
        if self.0.budget_used >= budget {
            return false;
        }
        self.0.budget_used += 1;
        true
    }
}

/// Adds to a counter that CPUs share. The plain `xadd` instruction, which every kernel with BPF knows; Rust's own
/// atomics offer no addition on a target without compare-and-swap.
///
/// # Safety
/// `counter` points to an aligned `u64` in a map value.
#[inline(always)]
pub(crate) unsafe fn atomic_add(counter: *mut u64, n: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller vouches for the pointer, and the instruction touches nothing else.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) n, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering};
        AtomicU64::from_ptr(counter).fetch_add(n, Ordering::Relaxed);
    }
}

/// As [`atomic_add`], for 32 bits; it wraps.
///
/// # Safety
/// `counter` points to an aligned `u32` in a map value.
#[inline(always)]
pub(crate) unsafe fn atomic_add32(counter: *mut u32, n: u32) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: as in `atomic_add`.
    unsafe {
        core::arch::asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) counter, in(reg) u64::from(n), options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        use core::sync::atomic::{AtomicU32, Ordering};
        AtomicU32::from_ptr(counter).fetch_add(n, Ordering::Relaxed);
    }
}
