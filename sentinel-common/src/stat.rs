//! The index of every per-CPU counter, and the per-CPU block that carries them.

/// Defines the counters: index, label and description stand in one place.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal),+ $(,)?) => {
        /// One counter of [`CpuBlock::counters`].
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Counter { $($(#[$doc])* $name),+ }

        impl Counter {
            /// Every counter, in index order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Snake-case name, unique.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }
        }
    };
}

counters! {
    /// IPv4 packets that came in and were passed.
    PassV4 = "pass_v4",
    /// Their frame bytes.
    PassV4Bytes = "pass_v4_bytes",
    /// IPv6 packets that came in and were passed.
    PassV6 = "pass_v6",
    /// Their frame bytes.
    PassV6Bytes = "pass_v6_bytes",
    /// Frames without a readable IP header that were passed.
    PassOther = "pass_other",
    /// Their frame bytes.
    PassOtherBytes = "pass_other_bytes",
    /// IPv4 packets dropped.
    DropV4 = "drop_v4",
    /// Their frame bytes.
    DropV4Bytes = "drop_v4_bytes",
    /// IPv6 packets dropped.
    DropV6 = "drop_v6",
    /// Their frame bytes.
    DropV6Bytes = "drop_v6_bytes",
    /// Packets dropped because their exact source is listed.
    DropExact = "drop_exact",
    /// Packets dropped because a prefix of their source is listed.
    DropPrefix = "drop_prefix",
    /// Packets passed that an enforcing list would have dropped (also counted as passed).
    WouldDrop = "would_drop",
    /// Packets passed because their source is allowlisted (also counted as passed).
    PassAllowed = "pass_allowed",
    /// Packets that met an entry which had expired.
    Expired = "expired",
    /// Frames of another EtherType (ARP and the like).
    NotIp = "not_ip",
    /// Frames that ended before the header they announced.
    Truncated = "truncated",
    /// Frames whose headers contradict themselves, or carry IPv4-mapped IPv6 addresses.
    Malformed = "malformed",
    /// Frames with more VLAN tags or extension headers than the bounded walk follows.
    TooDeep = "too_deep",
    /// IPv4 packets that went out.
    EgressV4 = "egress_v4",
    /// Their frame bytes.
    EgressV4Bytes = "egress_v4_bytes",
    /// IPv6 packets that went out.
    EgressV6 = "egress_v6",
    /// Their frame bytes.
    EgressV6Bytes = "egress_v6_bytes",
    /// Flow slots begun: one per direction of a flow and CPU that sees it.
    FlowNew = "flow_new",
    /// Packets not accounted because every slot their flow could have is held by an established one in use.
    FlowRefused = "flow_refused",
    /// Records put on the ring.
    EventSent = "event_sent",
    /// Records lost because the ring was full.
    EventLost = "event_lost",
    /// Records put off because the CPU's budget for this window was spent.
    EventDeferred = "event_deferred",
    /// Frames that went out without a readable IP header (ARP and the like); they are not accounted.
    EgressOther = "egress_other",
    /// Frames dropped because they hide their source from the gate and not from Linux.
    DropHidden = "drop_hidden",
    /// Their frame bytes.
    DropHiddenBytes = "drop_hidden_bytes",
    /// Packets dropped because a feed's list has their source.
    DropList = "drop_list",
    /// Packets dropped for exceeding the rate of their source.
    DropLimit = "drop_limit",
    /// Packets dropped for exceeding the rate the kernel set by itself.
    DropReflex = "drop_reflex",
    /// IPv4 packets sent on to the honeypot.
    RedirectV4 = "redirect_v4",
    /// Their frame bytes.
    RedirectV4Bytes = "redirect_v4_bytes",
    /// IPv6 packets sent on to the honeypot.
    RedirectV6 = "redirect_v6",
    /// Their frame bytes.
    RedirectV6Bytes = "redirect_v6_bytes",
    /// Packets that were to go to the honeypot and could not be rewritten; they are dropped, not passed.
    RedirectFailed = "redirect_failed",
    /// IPv4 SYNs answered with a cookie.
    AnswerV4 = "answer_v4",
    /// Their frame bytes.
    AnswerV4Bytes = "answer_v4_bytes",
    /// IPv6 SYNs answered with a cookie.
    AnswerV6 = "answer_v6",
    /// Their frame bytes.
    AnswerV6Bytes = "answer_v6_bytes",
    /// Packets passed that an enforcing rate limit would have dropped (also counted as passed).
    WouldLimit = "would_limit",
    /// Packets passed that an enforcing redirection would have sent to the honeypot (also counted as passed).
    WouldRedirect = "would_redirect",
    /// Packets that went out with their original address restored after the honeypot answered.
    Restored = "restored",
    /// IPv4 packets dropped on their way out.
    EgressDropV4 = "egress_drop_v4",
    /// Their frame bytes.
    EgressDropV4Bytes = "egress_drop_v4_bytes",
    /// IPv6 packets dropped on their way out.
    EgressDropV6 = "egress_drop_v6",
    /// Their frame bytes.
    EgressDropV6Bytes = "egress_drop_v6_bytes",
    /// Packets let out that an enforcing entry would have dropped (also counted as let out).
    EgressWouldDrop = "egress_would_drop",
    /// Thresholds crossed by a source.
    ReflexRaised = "reflex_raised",
    /// Sources that returned while on probation.
    Returned = "returned",
    /// ACKs that brought a valid SYN cookie back.
    CookieValid = "cookie_valid",
    /// ACKs to a port under flood that brought none, and were dropped.
    CookieInvalid = "cookie_invalid",
    /// Flow slots with unreported packets given to another flow.
    FlowEvicted = "flow_evicted",
    /// Records of new flows withheld because the ring was filling up; the flow reports later.
    EventThinned = "event_thinned",
    /// Buckets of rate-limited addresses taken over by another address while they had not run clear.
    LimitShared = "limit_shared",
    /// Packets that no record will tell of: their flow's slot was needed, and its last record found no room.
    FlowLost = "flow_lost",
}

/// Number of counters.
pub const COUNTERS: usize = 64;

/// Per-CPU block of one interface: the cached clock, counters and the event budget. 584 bytes. What every packet needs
/// comes first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuBlock {
    /// A value on its way through memory, so that the verifier takes it as unknown; and the key of a look-up, which is
    /// handed over by address: that of the block itself costs nothing.
    pub opaque: u64,
    /// `jiffies64` at which `clock_ns` was read.
    pub clock_jiffies: u64,
    /// `CLOCK_BOOTTIME` at that moment, ns: one clock read per jiffy, not per packet.
    pub clock_ns: u64,
    /// The same in the units of flow slots ([`crate::slot::units`]).
    pub clock_units: u32,
    /// Number of this CPU, from 0 without gaps; the agent writes it when it makes the map.
    pub cpu: u32,
    /// Where something is listed near the source of the packet that is being judged the short way, the number of the lists'
    /// latest change; else 0.
    pub beside: u32,
    /// The number of the lists under which nothing has been found so far for the source of the packet that is being judged.
    pub clear: u32,
    /// Indexed by [`Counter`].
    pub counters: [u64; COUNTERS],
    /// When `budget` was last filled up: `CLOCK_BOOTTIME`, ns.
    pub budget_ns: u64,
    /// Records that may be emitted, in 2^-22 of a record: a window's nanoseconds fill in a window's records.
    pub budget: u64,
    /// When the ring was last asked how full it is: `CLOCK_BOOTTIME`, ns.
    pub ring_ns: u64,
    /// 1 where it was too full for records of new flows.
    pub ring_tight: u16,
    /// Records since it was asked.
    pub ring_asked: u16,
    /// Zero.
    pub pad: u32,
}

impl Default for CpuBlock {
    fn default() -> Self {
        Self {
            opaque: 0,
            clock_jiffies: 0,
            clock_ns: 0,
            clock_units: 0,
            cpu: 0,
            beside: 0,
            clear: 0,
            counters: [0; COUNTERS],
            budget_ns: 0,
            budget: 0,
            ring_ns: 0,
            ring_tight: 0,
            ring_asked: 0,
            pad: 0,
        }
    }
}

const _: () = {
    assert!(size_of::<CpuBlock>() == 584);
    assert!(Counter::ALL.len() <= COUNTERS);
};

crate::pod!(CpuBlock);
