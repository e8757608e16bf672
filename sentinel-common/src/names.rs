//! Names and default capacities of maps and programs.

/// Single-element array of [`crate::settings::Settings`].
pub const MAP_SETTINGS: &str = "SETTINGS";
/// Array: interface index modulo [`SLOT_TABLE`] to that interface's slot in `STATS`.
pub const MAP_SLOTS: &str = "SLOTS";
/// Per-CPU array of [`crate::stat::CpuBlock`], one element per interface slot.
pub const MAP_STATS: &str = "STATS";
/// LPM trie of IPv4 prefixes never to be touched.
pub const MAP_ALLOW4: &str = "ALLOW4";
/// LPM trie of IPv6 prefixes never to be touched.
pub const MAP_ALLOW6: &str = "ALLOW6";
/// Hash of exact IPv4 sources (4 bytes, network order) to [`crate::entry::BlockEntry`].
pub const MAP_BLOCK4: &str = "BLOCK4";
/// Hash of exact IPv6 sources (16 bytes, network order).
pub const MAP_BLOCK6: &str = "BLOCK6";
/// LPM trie of blocked IPv4 prefixes.
pub const MAP_BLOCK_NET4: &str = "BLOCK_NET4";
/// LPM trie of blocked IPv6 prefixes.
pub const MAP_BLOCK_NET6: &str = "BLOCK_NET6";
/// LRU hash of [`crate::flow::FlowKey`] to [`crate::flow::FlowValue`].
pub const MAP_FLOWS: &str = "FLOWS";
/// Ring buffer of [`crate::event`] records.
pub const MAP_EVENTS: &str = "EVENTS";

/// Per-CPU array of [`crate::packet::PacketMeta`]: element 0 is what ingress parsed last, 1 what egress did.
pub const MAP_SCRATCH: &str = "SCRATCH";

/// XDP ingress program.
pub const PROG_XDP: &str = "sentinel_xdp";
/// The same for drivers that hand over multi-buffer frames (large MTU).
pub const PROG_XDP_FRAGS: &str = "sentinel_xdp_frags";
/// tc/tcx egress program.
pub const PROG_EGRESS: &str = "sentinel_egress";

/// Interfaces one agent can watch: elements of `STATS`.
pub const MAX_INTERFACES: u32 = 16;
/// Elements of `SLOTS`, a power of two. Large enough that watched interfaces hardly ever share an element;
/// where two would, attaching the second is refused.
pub const SLOT_TABLE: u32 = 4096;
/// Default capacity of each exact block map.
pub const BLOCK_CAPACITY: u32 = 131_072;
/// Default capacity of each prefix block map.
pub const BLOCK_NET_CAPACITY: u32 = 32_768;
/// Capacity of each allow map.
pub const ALLOW_CAPACITY: u32 = 16_384;
/// Default capacity of the flow map.
pub const FLOW_CAPACITY: u32 = 131_072;
/// Default size of the ring, bytes; a power of two.
pub const RING_BYTES: u32 = 16 * 1024 * 1024;
/// Tries of a prefix look-up that met expired entries before it gives up (and passes).
pub const PREFIX_TRIES: u32 = 4;
