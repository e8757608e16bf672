//! What `nft` is told. Pure: numbers, addresses and words of our own go in, so nothing in it is anybody else's text.
//!
//! The language and not JSON: JSON knows timeouts of whole seconds only, and would end a block up to one too late.

use super::plan::{Kind, SetId, comment, kinds};
use crate::types::Ktime;
use ipnet::IpNet;
use sentinel_common::entry::{AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::rate::BURST_MIN_NS;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Our table.
pub(super) const TABLE: &str = "sentinel";
/// What its comment says, by which it is known as ours and of this layout.
pub(super) const MARK: &str = "made by sentinel, layout 1";
/// How long after a block's end its element lapses by itself, ms: the agent takes it away on time, and must not find it
/// gone before.
pub(super) const LATE_MS: u64 = 200;
/// Chains of our own, in the order they are made.
const CHAINS: [&str; 8] = ["in4", "in6", "act4", "act6", "would4", "would6", "out4", "out6"];
/// What opens nothing ([`sentinel_common::reflex::opens`]): over TCP, and over IPv6 besides.
const OPENS_NOTHING: [&str; 2] = [
    "tcp flags & ack == ack",
    "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }",
];
/// Largest burst the kernel can be told.
const BURST_MAX: u64 = u32::MAX as u64;

/// What an element has counted so far: packets, bytes.
pub(super) type Counted = (u64, u64);

/// Makes the table and its chains where they are not, and asks the given sets; nothing is asked before the allow sets.
pub(super) fn skeleton(sets: &BTreeSet<SetId>, size: u64, enforce: bool) -> String {
    let mut out = format!("add table inet {TABLE} {{ comment \"{MARK}\"; }}\n");
    for set in sets {
        out.push_str(&declare(*set, size));
    }
    for chain in CHAINS {
        let _ = writeln!(out, "add chain inet {TABLE} {chain}");
    }
    for (chain, hook) in [("arriving", "prerouting"), ("sent", "output"), ("forwarded", "forward")] {
        let _ = writeln!(
            out,
            "add chain inet {TABLE} {chain} {{ type filter hook {hook} priority -300; policy accept; }}"
        );
    }
    out.push_str(&rules(sets, enforce));
    out
}

/// Writes all rules anew.
pub(super) fn rules(sets: &BTreeSet<SetId>, enforce: bool) -> String {
    let mut out = String::new();
    for chain in CHAINS.iter().chain(&["arriving", "sent", "forwarded"]) {
        let _ = writeln!(out, "flush chain inet {TABLE} {chain}");
    }
    let mut rule = |chain: &str, what: &str| {
        let _ = writeln!(out, "add rule inet {TABLE} {chain} {what}");
    };
    for (family, digit, v6) in [("ipv4", 4, false), ("ipv6", 6, true)] {
        rule("arriving", &format!("meta nfproto {family} jump in{digit}"));
        rule("sent", &format!("meta nfproto {family} jump out{digit}"));
        rule("forwarded", &format!("meta nfproto {family} jump out{digit}"));
        let asked = |side: &str, set: &SetId, verdict: &str| format!("{} @{set} {verdict}", masked(side, *set));
        // The longest first: the more specific decision wins.
        let of = |kind: Kind| sets.iter().rev().filter(move |set| set.kind == kind && set.v6 == v6);
        let lengths: BTreeSet<u8> = sets.iter().filter(|set| set.v6 == v6).map(|set| set.len).collect();
        for set in of(Kind::Allow) {
            rule(&format!("in{digit}"), &asked("saddr", set, "accept"));
            rule(&format!("out{digit}"), &asked("daddr", set, "accept"));
        }
        rule(&format!("in{digit}"), &format!("jump act{digit}"));
        rule(&format!("in{digit}"), &format!("jump would{digit}"));
        let drop = if enforce { "drop" } else { "return" };
        for (chain, standing, limits, block, verdict) in [
            (
                "act",
                Kind::Standing,
                [Kind::Packets, Kind::Bytes, Kind::Both],
                Kind::Block,
                drop,
            ),
            (
                "would",
                Kind::WouldStanding,
                [Kind::WouldPackets, Kind::WouldBytes, Kind::WouldBoth],
                Kind::Would,
                "return",
            ),
        ] {
            for len in lengths.iter().rev() {
                let there = |kind| Some(SetId { kind, v6, len: *len }).filter(|set| sets.contains(set));
                if let Some(set) = there(standing) {
                    for what in OPENS_NOTHING.iter().take(if v6 { 2 } else { 1 }) {
                        rule(
                            &format!("{chain}{digit}"),
                            &asked("saddr", &set, &format!("{what} return")),
                        );
                    }
                }
                for set in limits.into_iter().filter_map(there) {
                    rule(&format!("{chain}{digit}"), &asked("saddr", &set, "return"));
                }
                if let Some(set) = there(block) {
                    rule(&format!("{chain}{digit}"), &asked("saddr", &set, verdict));
                }
            }
        }
        for set in of(Kind::Out) {
            rule(&format!("out{digit}"), &asked("daddr", set, drop));
        }
        for set in of(Kind::WouldOut) {
            rule(&format!("out{digit}"), &asked("daddr", set, "return"));
        }
    }
    out
}

fn declare(set: SetId, size: u64) -> String {
    let kind = if set.v6 { "ipv6_addr" } else { "ipv4_addr" };
    let each = match set.kind {
        Kind::Allow | Kind::Standing | Kind::WouldStanding => "",
        kind if kind.counts() => " counter;",
        Kind::Packets | Kind::WouldPackets => " limit rate 1/second;",
        Kind::Bytes | Kind::WouldBytes => " limit rate 1 bytes/second;",
        _ => " limit rate 1/second limit rate 1 bytes/second;",
    };
    format!("add set inet {TABLE} {set} {{ type {kind}; size {size}; flags timeout;{each} }}\n")
}

/// The question for an address, cut to the set's length.
fn masked(side: &str, set: SetId) -> String {
    match (set.v6, set.len) {
        (false, 32) => format!("ip {side}"),
        (true, 128) => format!("ip6 {side}"),
        (false, len) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            format!("ip {side} & {}", Ipv4Addr::from(mask))
        }
        (true, len) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            format!("ip6 {side} & {}", Ipv6Addr::from(mask))
        }
    }
}

/// Takes elements out of a set, whether or not they are in it.
pub(super) fn take(out: &mut String, set: SetId, targets: &[IpNet]) {
    if targets.is_empty() {
        return;
    }
    let keys: Vec<String> = targets.iter().map(|net| net.network().to_string()).collect();
    let keys = keys.join(", ");
    let _ = writeln!(out, "add element inet {TABLE} {set} {{ {keys} }}");
    let _ = writeln!(out, "delete element inet {TABLE} {set} {{ {keys} }}");
}

/// Adds the elements of an entry, with what the first has counted. `now` is when the transaction begins.
pub(super) fn put(out: &mut String, target: IpNet, entry: &BlockEntry, counted: Counted, now: Ktime) {
    let left = entry.expires_ns.saturating_sub(now.0).div_ceil(1_000_000).max(1) + LATE_MS;
    for (at, kind) in kinds(entry).into_iter().enumerate() {
        let what = match kind {
            Kind::Standing | Kind::WouldStanding => String::new(),
            kind if kind.counts() => {
                let (packets, bytes) = if at == 0 { counted } else { (0, 0) };
                format!("counter packets {packets} bytes {bytes}")
            }
            _ => limits(entry),
        };
        let _ = writeln!(
            out,
            "add element inet {TABLE} {} {{ {} {what} timeout {left}ms comment \"{}\" }}",
            SetId::of(kind, target),
            target.network(),
            comment(entry),
        );
    }
}

/// Adds an allow entry.
pub(super) fn allow(out: &mut String, target: IpNet, entry: &AllowEntry, now: Ktime) {
    let timeout = if entry.expires_ns == NEVER_NS {
        String::new()
    } else {
        let left = entry.expires_ns.saturating_sub(now.0).div_ceil(1_000_000).max(1);
        format!(" timeout {left}ms")
    };
    let set = SetId::of(Kind::Allow, target);
    let _ = writeln!(
        out,
        "add element inet {TABLE} {set} {{ {}{timeout} comment \"{:x}\" }}",
        target.network(),
        entry.expires_ns
    );
}

/// The rates of an entry. The kernel's bucket holds the burst and is full at the beginning, as ours.
fn limits(entry: &BlockEntry) -> String {
    let burst_ns = (u64::from(entry.burst_ms) * 1_000_000).max(BURST_MIN_NS);
    let mut parts = Vec::new();
    if let Some(rate) = 1_000_000_000_u64.checked_div(u64::from(entry.packet_ns)) {
        let burst = (burst_ns / u64::from(entry.packet_ns)).clamp(1, BURST_MAX);
        parts.push(format!("limit rate {rate}/second burst {burst} packets"));
    }
    if let Some(rate) = 256_000_000_000_u64.checked_div(u64::from(entry.byte_ns_q8)) {
        // The kernel's bucket of bytes holds a second's worth and the burst (`net/netfilter/nft_limit.c`).
        let beyond = (rate.saturating_mul(burst_ns) / 1_000_000_000).saturating_sub(rate);
        let beyond = beyond.clamp(1, BURST_MAX);
        parts.push(format!("limit rate {rate} bytes/second burst {beyond} bytes"));
    }
    parts.join(" ")
}
