//! The one mapping from verdicts to XDP and tc codes.

use crate::verifier::forget;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use sentinel_common::verdict::Verdict;

/// The XDP code of a verdict.
#[inline(always)]
#[must_use]
pub(crate) const fn xdp_code(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Answer => XDP_TX,
        verdict if verdict.drops() => XDP_DROP,
        _ => XDP_PASS,
    }
}

/// The tc code of a verdict. To pass is to have no opinion: whoever else hangs from the hook has a say.
#[inline(always)]
#[must_use]
pub(crate) const fn tc_code(verdict: Verdict) -> i32 {
    // What only XDP can rewrite goes nowhere else either.
    if verdict.drops() || matches!(verdict, Verdict::Redirect) {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

/// The same verdict, of which the verifier knows nothing any more; `unknown` as in [`forget`].
#[inline(always)]
pub(crate) fn forgotten(verdict: Verdict, unknown: u64) -> Verdict {
    let code = forget(u64::from(verdict as u8), unknown) as u8;
    // SAFETY: it is the code of a verdict, as before.
    unsafe { core::mem::transmute::<u8, Verdict>(code) }
}
