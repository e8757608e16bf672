//! The one mapping from verdicts to XDP codes.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
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
