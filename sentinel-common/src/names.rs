//! Names and default capacities of maps and programs.

/// Single-element array of [`crate::settings::Settings`].
pub const MAP_SETTINGS: &str = ".bss.SETTINGS";
/// Single-element array of [`SLOT_TABLE`] slots: that of an interface in `STATS`, by its index modulo their number.
pub const MAP_SLOTS: &str = ".bss.SLOTS";
/// What a map is called where it is pinned: bpffs takes no dots, which the names of maps without a look-up begin with.
pub fn pinned_as(name: &str) -> &str {
    name.strip_prefix(GLOBAL).unwrap_or(name)
}

/// What the names of maps begin with that are reached without a look-up.
pub const GLOBAL: &str = ".bss.";
/// Per-CPU array of [`crate::stat::CpuBlock`], one element per interface slot.
pub const MAP_STATS: &str = "STATS";
/// LPM trie of IPv4 prefixes never to be touched.
pub const MAP_ALLOW4: &str = "ALLOW4";
/// LPM trie of IPv6 prefixes never to be touched.
pub const MAP_ALLOW6: &str = "ALLOW6";
/// Mappable array of [`crate::exact::Bucket`]: which exact IPv4 source has which cell of `ENTRY4`.
pub const MAP_BLOCK4: &str = "BLOCK4";
/// The same of IPv6.
pub const MAP_BLOCK6: &str = "BLOCK6";
/// Mappable array of [`crate::exact::Cell`]: the entries of exact IPv4 sources.
pub const MAP_ENTRY4: &str = "ENTRY4";
/// The same of IPv6.
pub const MAP_ENTRY6: &str = "ENTRY6";
/// LPM trie of blocked IPv4 prefixes.
pub const MAP_BLOCK_NET4: &str = "BLOCK_NET4";
/// LPM trie of blocked IPv6 prefixes.
pub const MAP_BLOCK_NET6: &str = "BLOCK_NET6";
/// Array of [`crate::slot::Bucket`], every CPU's part after that of the one before.
pub const MAP_FLOWS: &str = "FLOWS";
/// Array of [`crate::table::taken`], one per slot of `FLOWS`.
pub const MAP_TAKEN: &str = "TAKEN";
/// Array of [`crate::talk::Cell`]: what the CPUs tell each other of a conversation.
pub const MAP_TALK: &str = "TALK";
/// Ring buffer of [`crate::event`] records.
pub const MAP_EVENTS: &str = "EVENTS";
/// Mappable array of the IPv4 cells of [`crate::hint`].
pub const MAP_HINT4: &str = "HINT4";
/// Mappable array of the IPv6 cells of [`crate::hint`].
pub const MAP_HINT6: &str = "HINT6";
/// Mappable array of one `u32`: the number of the lists' latest change ([`crate::hint::NO_EPOCH`]).
pub const MAP_EPOCH: &str = "EPOCH";
/// Mappable array of [`crate::list::Bucket4`].
pub const MAP_LIST4: &str = "LIST4";
/// Mappable array of [`crate::list::Bucket6`].
pub const MAP_LIST6: &str = "LIST6";
/// LPM trie of the feeds' IPv4 prefixes to [`crate::list::NetSlot`].
pub const MAP_LIST_NET4: &str = "LIST_NET4";
/// LPM trie of the feeds' IPv6 prefixes.
pub const MAP_LIST_NET6: &str = "LIST_NET6";
/// Array of [`crate::list::Standing`]: how every list stands in its even version, and in its odd one.
pub const MAP_LISTS: &str = "LISTS";
/// Per-CPU array of [`crate::list::ListHits`], one element per list.
pub const MAP_LIST_HITS: &str = "LIST_HITS";

/// Array of [`crate::rate::Set`]: the buckets of addresses under rate-limited prefixes.
pub const MAP_LIMITS: &str = "LIMITS";
/// Array of [`crate::redirect::Honeypot`]: 0 for IPv4, 1 for IPv6.
pub const MAP_HONEYPOTS: &str = "HONEYPOTS";
/// LRU hash of [`crate::redirect::RedirectKey`] to [`crate::redirect::Redirected`].
pub const MAP_REDIRECTS: &str = "REDIRECTS";
/// Program array of what [`PROG_XDP`] hands packets to, indexed by `STAGE_*`.
pub const MAP_STAGES: &str = "STAGES";
/// The same of [`PROG_XDP_FRAGS`]: since Linux 5.18 the two kinds do not mix.
pub const MAP_STAGES_FRAGS: &str = "STAGES_FRAGS";
/// The same of [`PROG_EGRESS`].
pub const MAP_STAGES_EGRESS: &str = "STAGES_EGRESS";

/// Element of a program array: to the honeypot, and back.
pub const STAGE_REDIRECT: u32 = 0;
/// Element of a stages array: SYN cookies.
pub const STAGE_COOKIE: u32 = 1;
/// Elements of each program array.
pub const STAGES: u32 = 8;

/// Sends packets on to the honeypot.
pub const PROG_REDIRECT: &str = "sentinel_redirect";
/// The same for multi-buffer frames.
pub const PROG_REDIRECT_FRAGS: &str = "sentinel_redirect_frags";
/// Gives the honeypot's answers the address and port back that they were asked under.
pub const PROG_RESTORE: &str = "sentinel_restore";

/// XDP ingress program.
pub const PROG_XDP: &str = "sentinel_xdp";
/// The same for drivers that hand over multi-buffer frames (large MTU).
pub const PROG_XDP_FRAGS: &str = "sentinel_xdp_frags";
/// tc/tcx egress program.
pub const PROG_EGRESS: &str = "sentinel_egress";
/// Empty XDP program that passes: the floor a benchmark subtracts, and a program that is somebody else's.
pub const PROG_FLOOR_PASS: &str = "floor_pass";
/// Empty XDP program that drops.
pub const PROG_FLOOR_DROP: &str = "floor_drop";

/// Interfaces one agent can watch.
pub const WATCHED_INTERFACES: u32 = 16;
/// Interfaces an agent and the one it takes over from can watch between them: elements of `STATS`. So a new interface
/// never needs an element in which an earlier agent's program still counts.
pub const MAX_INTERFACES: u32 = 2 * WATCHED_INTERFACES;
/// Elements of `SLOTS`, a power of two. Large enough that watched interfaces hardly ever share an element;
/// where two would, attaching the second is refused.
pub const SLOT_TABLE: u32 = 4096;
/// Default capacity of each exact block map.
pub const BLOCK_CAPACITY: u32 = 131_072;
/// Default capacity of each prefix block map.
pub const BLOCK_NET_CAPACITY: u32 = 32_768;
/// Capacity of each allow map.
pub const ALLOW_CAPACITY: u32 = 16_384;
/// Default number of flow slots, over all CPUs.
pub const FLOW_CAPACITY: u32 = 131_072;
/// Default capacity of the table of the feeds' IPv4 addresses; 32 bytes of memory each.
pub const LIST_CAPACITY: u32 = 262_144;
/// Default capacity of the table of the feeds' IPv6 addresses; 64 bytes of memory each.
pub const LIST6_CAPACITY: u32 = 65_536;
/// Default capacity of each trie of the feeds' prefixes; the kernel allocates them one by one.
pub const LIST_NET_CAPACITY: u32 = 65_536;
/// Default size of the ring, bytes; a power of two.
pub const RING_BYTES: u32 = 16 * 1024 * 1024;
/// Elements of `LIMITS`, a power of two: 65,536 addresses in 2 MiB.
pub const LIMIT_SETS: u32 = 16_384;
/// Default capacity of the map of redirected conversations; the least recently used makes room.
pub const REDIRECT_CAPACITY: u32 = 65_536;
/// Tries of a prefix look-up that met expired entries before it gives up (and passes).
pub const PREFIX_TRIES: u32 = 4;

/// tc/tcx ingress program, for interfaces whose XDP hook is taken or not to be had.
pub const PROG_INGRESS: &str = "sentinel_ingress";
/// Array of one [`crate::pin::PinHeader`] beside the pinned maps. Only the agent knows it; no program reads it.
pub const MAP_HEADER: &str = "HEADER";
/// Per-CPU array of [`crate::packet::PacketMeta`]: element 0 is what ingress parsed last, 1 what egress did.
pub const MAP_SCRATCH: &str = "SCRATCH";
/// Array of [`crate::reflex::Bucket`]: what each source did in its window. The agent maps it to read it.
pub const MAP_SOURCES: &str = "SOURCES";
/// Array of one element of [`crate::reflex::CELLS`] bytes: which sources may be limited.
pub const MAP_LIMITED: &str = "LIMITED";
/// Single-element array of [`crate::reflex::Alarm`].
pub const MAP_ALARM: &str = ".bss.ALARM";
/// Array of [`crate::reflex::Port`], one element per TCP port of this host.
pub const MAP_PORTS: &str = "PORTS";
/// Array of 64-bit words: which ports cookies may answer for.
pub const MAP_COOKIE_PORTS: &str = "COOKIE_PORTS";
/// Array of 64-bit words: interfaces, by index modulo [`SLOT_TABLE`], on which an answer would not arrive.
pub const MAP_COOKIE_MUTE: &str = "COOKIE_MUTE";
/// Per-CPU array: where the program that answers SYNs puts headers together. Nothing of it outlives the packet.
pub const MAP_COOKIE_WORK: &str = "COOKIE_WORK";
/// XDP program that answers SYNs with cookies, and checks what comes back.
pub const PROG_COOKIE: &str = "sentinel_cookie";
/// The same, called by the program that takes multi-buffer frames.
pub const PROG_COOKIE_FRAGS: &str = "sentinel_cookie_frags";
/// Buckets of the table of sources: 65,536 slots, 4 MiB. A power of two.
pub const SOURCE_BUCKETS: u32 = 16_384;
