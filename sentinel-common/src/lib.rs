//! The treaty: what the kernel programs and the agent must agree on, byte for byte.
//!
//! In: nothing. Out: `#[repr(C)]` records, the packet parser, and the pure update rules both sides run.
//! Invariant: integers and byte arrays only in shared structs, padding spelled out and zeroed, sizes asserted
//! at compile time. Deliberately elsewhere: maps (`sentinel-ebpf/src/maps.rs`) and everything that allocates.
#![cfg_attr(not(test), no_std)]
#![expect(
    clippy::inline_always,
    reason = "a kernel program has five argument registers and 512 bytes of stack: calls cost more than code"
)]

pub mod addr;
pub mod entry;
pub mod event;
pub mod exact;
pub mod flow;
pub mod hash;
pub mod hint;
pub mod list;
pub mod names;
pub mod packet;
pub mod pin;
pub mod plain;
pub mod rate;
pub mod redirect;
pub mod reflex;
pub mod room;
pub mod settings;
pub mod slot;
pub mod stat;
pub mod table;
pub mod talk;
pub mod verdict;

/// Implements `aya::Pod` (plain old data) where user space asks for it.
macro_rules! pod {
    ($($name:ty),+ $(,)?) => {
        $(
            // SAFETY: repr(C), integers and byte arrays only, no padding: any bit pattern is a value.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $name {}
        )+
    };
}
pub(crate) use pod;
