//! What the verifier is better not told.
//!
//! It follows every value it knows through the rest of the program, once for each value. Where a few outcomes of one
//! step meet again, it is enough that it walks on once, not knowing which it was.

/// One step of a sum that the compiler neither takes apart nor puts off: beyond the next branch, where it would keep all that
/// goes into the sum instead, or into several branches.
macro_rules! step {
    ($(#[$doc:meta])* $name:ident, $operand:ident: $type:ty, $bpf:literal, |$value:ident| $host:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name<const $operand: $type>(value: u64) -> u64 {
            #[cfg(target_arch = "bpf")]
            {
                let mut value = value;
                // SAFETY: one instruction on one register.
                unsafe {
                    core::arch::asm!($bpf, inout(reg) value, const $operand, options(nomem, nostack));
                }
                value
            }
            #[cfg(not(target_arch = "bpf"))]
            {
                let $value = value;
                $host
            }
        }
    };
}

step!(
    /// The product with a constant.
    times, FACTOR: i32, "{0} *= {1}", |value| value.wrapping_mul(i64::from(FACTOR).cast_unsigned())
);
step!(
    /// The value with some bits turned over.
    flipped, BITS: i32, "{0} ^= {1}", |value| value ^ i64::from(BITS).cast_unsigned()
);
step!(
    /// The value moved down.
    shifted, BY: u32, "{0} >>= {1}", |value| value >> BY
);

/// The same value in a register of its own: on this side of it the compiler need not keep it where the other side has it, such
/// as in one of the few that outlast a call. One instruction, for ways that few packets go.
#[inline(always)]
pub(crate) fn moved(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let moved: u64;
        // SAFETY: one instruction on one register.
        unsafe {
            core::arch::asm!("{0} = {1}", lateout(reg) moved, in(reg) value, options(nomem, nostack));
        }
        moved
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        value
    }
}

/// Whether any of these bits is set, by the one instruction there is for that; the compiler knows another way, of three. Where
/// none is, the program goes straight on.
#[inline(always)]
pub(crate) fn any<const BITS: i32>(value: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    {
        // SAFETY: one instruction that only jumps.
        unsafe {
            core::arch::asm!(
                "if {0} & {1} goto {2}",
                in(reg) value,
                const BITS,
                label {
                    return true;
                },
                options(nomem, nostack)
            );
        }
        false
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        value & i64::from(BITS).cast_unsigned() != 0
    }
}

/// The same value, of which the verifier knows nothing any more; `unknown` is anything it does not know, such as a word
/// read from a map. Two instructions.
#[inline(always)]
pub(crate) fn forget(value: u64, unknown: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: two exclusive ors with one word cancel out, and touch nothing else.
        unsafe {
            core::arch::asm!(
                "{0} ^= {1}",
                "{0} ^= {1}",
                inout(reg) value,
                in(reg) unknown,
                options(pure, nomem, nostack)
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = unknown;
        value
    }
}
