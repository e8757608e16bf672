//! Counters and the cached clock: one per-CPU element per interface, one look-up per packet.
//!
//! XDP runs in soft interrupts and tc egress with soft interrupts off, so nothing else touches this CPU's block meanwhile.

use crate::maps::{EVENTS, SLOTS, STATS};
use crate::verifier::moved;
use aya_ebpf::bindings::BPF_RB_AVAIL_DATA;
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use core::hint::cold_path;
use sentinel_common::names::SLOT_TABLE;
use sentinel_common::settings::{BUDGET_CARRY, BUDGET_WINDOW_SHIFT, Settings};
use sentinel_common::slot::{UNIT_SHIFT, units};
use sentinel_common::stat::{Counter, CpuBlock};

/// This CPU's block of an interface.
pub(crate) struct Stat(&'static mut CpuBlock);

impl Stat {
    /// The block of the interface with this index; slot 0 where the agent assigned none.
    #[inline(always)]
    pub(crate) fn of(ifindex: u32) -> Option<Self> {
        let slot = &SLOTS.get()[(ifindex & (SLOT_TABLE - 1)) as usize];
        // SAFETY: the first argument is the map's definition, which the loader replaces by the map; the key is read where
        // it stands, in another map's memory.
        let block = unsafe {
            bpf_map_lookup_elem(
                core::ptr::from_ref(&STATS).cast_mut().cast(),
                core::ptr::from_ref(slot).cast(),
            )
        };
        let block = block.cast::<CpuBlock>();
        if block.is_null() {
            return None;
        }
        // SAFETY: the pointer is to this CPU's element, which lives as long as the map and is not shared (see above).
        Some(Self(unsafe { &mut *block }))
    }

    /// The same block, in whichever register.
    #[inline(always)]
    pub(crate) fn anew(self) -> Self {
        let block = moved(core::ptr::from_mut(self.0) as u64) as *mut CpuBlock;
        // SAFETY: the pointer is the one it was.
        Self(unsafe { &mut *block })
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

    /// `CLOCK_BOOTTIME`, ns, read once per jiffy: a clock read costs more than the whole rest of the path. In whole units
    /// of the flow table, so that it needs to keep no more of a time.
    #[inline(always)]
    pub(crate) fn now(&mut self) -> u64 {
        self.tick();
        self.clock()
    }

    /// Sees to it that [`Stat::clock`] is right.
    #[inline(always)]
    pub(crate) fn tick(&mut self) {
        // SAFETY: takes nothing, reads a kernel variable.
        let jiffies = unsafe { bpf_jiffies64() };
        if self.0.clock_jiffies != jiffies {
            cold_path();
            self.0.clock_jiffies = jiffies;
            // SAFETY: takes nothing, reads the clock.
            let now = unsafe { bpf_ktime_get_boot_ns() } >> UNIT_SHIFT << UNIT_SHIFT;
            self.0.clock_ns = now;
            self.0.clock_units = units(now);
        }
    }

    /// What [`Stat::now`] gave before, read anew: a register that kept it would be missing elsewhere.
    #[inline(always)]
    pub(crate) fn clock(&self) -> u64 {
        // SAFETY: the field is this CPU's own, aligned and initialised.
        unsafe { (&raw const self.0.clock_ns).read_volatile() }
    }

    /// The same in the units of flow slots.
    #[inline(always)]
    pub(crate) fn clock_units(&self) -> u64 {
        // SAFETY: the field is this CPU's own, aligned and initialised.
        u64::from(unsafe { (&raw const self.0.clock_units).read_volatile() })
    }

    /// Where the key of a look-up stands: in the map's memory, from where it need not be fetched by an address on the stack.
    #[inline(always)]
    pub(crate) fn key(&mut self, key: u32) -> *const u32 {
        let at = (&raw mut self.0.opaque).cast::<u32>();
        // SAFETY: the field is this CPU's own and aligned.
        unsafe { at.write_volatile(key) };
        at
    }

    /// The same word, by way of memory: the verifier takes it as unknown and walks what follows once.
    #[inline(always)]
    pub(crate) fn opaque(&self, word: u64) -> u64 {
        // SAFETY: the field is this CPU's own, aligned and initialised.
        unsafe {
            let at = (&raw const self.0.opaque).cast_mut();
            at.write_volatile(word);
            at.read_volatile()
        }
    }

    /// Sets the number of the lists under which nothing has been found so far for this packet's source.
    #[inline(always)]
    pub(crate) fn set_clear(&mut self, epoch: u32) {
        // SAFETY: the field is this CPU's own and aligned.
        unsafe { (&raw mut self.0.clear).write_volatile(epoch) };
    }

    /// That number. It is kept in memory, where the verifier does not follow what was found.
    #[inline(always)]
    pub(crate) fn clear(&self) -> u32 {
        // SAFETY: the field is this CPU's own, aligned and initialised.
        unsafe { (&raw const self.0.clear).read_volatile() }
    }

    /// Notes that something is listed near the source of this packet, and the number of the lists' latest change: in memory,
    /// lest the few packets it concerns cost all others a register.
    #[inline(always)]
    pub(crate) fn note_beside(&mut self, epoch: u32) {
        self.0.beside = epoch;
    }

    /// Whether nothing is listed near the source of this packet, or `clear` is the number under which nothing was found for
    /// itself. What is left of an earlier packet, rarely, has one packet more go the whole way.
    #[inline(always)]
    pub(crate) fn is_clear(&mut self, clear: impl FnOnce() -> u32) -> bool {
        // SAFETY: the field is this CPU's own, aligned and initialised.
        let beside = unsafe { (&raw const self.0.beside).read_volatile() };
        if beside == 0 {
            return true;
        }
        cold_path();
        self.0.beside = 0;
        beside == clear()
    }

    /// The bucket of the flow table that a hash leads to on this CPU.
    #[inline(always)]
    pub(crate) const fn bucket(&self, settings: &Settings, bucket: u32) -> u32 {
        self.0.cpu * (settings.flow_mask + 1) + (bucket & settings.flow_mask)
    }

    /// The same, where there are so many buckets ([`Settings::plain_buckets`]).
    #[inline(always)]
    pub(crate) fn plain_bucket(&self, settings: &Settings, buckets: u64, bucket: u64) -> u32 {
        (u64::from(self.0.cpu) * buckets + (bucket & u64::from(settings.flow_mask))) as u32
    }

    /// Takes one record out of the budget, which fills up by `budget` a window and holds [`BUDGET_CARRY`] windows;
    /// false when it is spent.
    #[inline(always)]
    pub(crate) fn spend(&mut self, now: u64, budget: u32) -> bool {
        const FULL: u64 = BUDGET_CARRY << BUDGET_WINDOW_SHIFT;
        if now > self.0.budget_ns {
            let passed = now - self.0.budget_ns;
            let passed = if passed > FULL { FULL } else { passed };
            let most = FULL * u64::from(budget);
            let filled = self.0.budget + passed * u64::from(budget);
            self.0.budget = if filled > most { most } else { filled };
            self.0.budget_ns = now;
        }
        if self.0.budget < 1 << BUDGET_WINDOW_SHIFT {
            return false;
        }
        self.0.budget -= 1 << BUDGET_WINDOW_SHIFT;
        true
    }

    /// Whether the ring was filled beyond `high` bytes when it was last asked: once a jiffy, and every 64 records.
    #[inline(always)]
    pub(crate) fn ring_tight(&mut self, now: u64, high: u32) -> bool {
        self.0.ring_asked += 1;
        if self.0.ring_ns != now || self.0.ring_asked >= 64 {
            self.0.ring_ns = now;
            self.0.ring_asked = 0;
            self.0.ring_tight = u16::from(EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(high));
        }
        self.0.ring_tight != 0
    }
}

/// Adds to a counter that CPUs share. The plain `xadd` instruction, which every kernel with BPF knows; Rust's own
/// atomics offer no addition on a target without compare-and-swap.
///
/// # Safety
/// `counter` points to an aligned `u64` in a map value.
#[inline(always)]
pub(crate) unsafe fn atomic_add(counter: *mut u64, n: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe { atomic_add_at::<0, _>(counter, n) };
}

/// As [`atomic_add`], `AT` bytes behind `start`: what is known of the place stands in the instruction.
///
/// # Safety
/// `start` points into a map value, in which an aligned `u64` is there.
#[inline(always)]
pub(crate) unsafe fn atomic_add_at<const AT: usize, T>(start: *mut T, n: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller vouches for the pointer, and the instruction touches nothing else.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + {2}) += {1}", in(reg) start, in(reg) n, const AT, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering};
        AtomicU64::from_ptr(start.byte_add(AT).cast()).fetch_add(n, Ordering::Relaxed);
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
