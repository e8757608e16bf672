//! Diagnostics through aya-log. Compiled in by feature `kernel-debug` only: a line costs more than a packet.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{debug, info};
use sentinel_common::packet::PacketMeta;
use sentinel_common::verdict::Verdict;

/// A packet that was judged.
#[inline(always)]
pub(crate) fn judged(ctx: &XdpContext, meta: &PacketMeta, verdict: Verdict) {
    let [.., a, b, c, d] = meta.src.0;
    let tail = u32::from_be_bytes([a, b, c, d]);
    let (version, proto, port) = (meta.ip_version, meta.proto, meta.dst_port);
    if verdict.drops() {
        info!(
            ctx,
            "drop IPv{} source …{:i} proto {} port {}", version, tail, proto, port
        );
    } else {
        debug!(
            ctx,
            "pass IPv{} source …{:i} proto {} port {}", version, tail, proto, port
        );
    }
}
