//! What the verifier is better not told.
//!
//! It follows every value it knows through the rest of the program, once for each value. Where a few outcomes of one
//! step meet again, it is enough that it walks on once, not knowing which it was.

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
