//! The values of the allow and block maps.

/// Value of [`BlockEntry::action`]: drop the packet.
pub const ACTION_DROP: u8 = 1;
/// Value of [`BlockEntry::action`]: drop what exceeds the rate.
pub const ACTION_LIMIT: u8 = 2;
/// Value of [`BlockEntry::action`]: send the packet to the honeypot.
pub const ACTION_REDIRECT: u8 = 3;
/// Value of [`BlockEntry::action`]: only watch for a return (probation without anything in force).
pub const ACTION_WATCH: u8 = 4;

/// Bit of [`BlockEntry::flags`]: count what would have happened and let the packet pass.
pub const FLAG_SHADOW: u8 = 1;

/// Bit of [`BlockEntry::flags`]: drop what goes out to the address, too.
pub const FLAG_EGRESS: u8 = 2;

/// Bit of [`BlockEntry::flags`]: each address under a rate-limited prefix has a bucket of its own.
pub const FLAG_EACH: u8 = 4;

/// An expiry that never comes.
pub const NEVER_NS: u64 = u64::MAX;

/// What a listed source gets, until when, on whose word, and what it has cost it so far. 136 bytes.
///
/// The first 64 bytes are the agent's and are what a read-back compares; the rest is the kernel's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockEntry {
    /// First instant at which the action no longer holds: `CLOCK_BOOTTIME`, ns; [`NEVER_NS`] for no end.
    pub expires_ns: u64,
    /// The decision's UUID, network order.
    pub decision: [u8; 16],
    /// One of the `ACTION_*` values; the kernel passes what it does not know.
    pub action: u8,
    /// `FLAG_*` bits.
    pub flags: u8,
    /// Length of the prefix this entry stands for (32 or 128 for an exact address), so that an expired
    /// longer prefix does not hide a shorter one that still holds.
    pub prefix_len: u8,
    /// Zero.
    pub pad: u8,
    /// [`ACTION_LIMIT`]: how far ahead of its rate a source may run, ms of traffic at that rate.
    pub burst_ms: u32,
    /// [`ACTION_LIMIT`]: ns a packet costs (10^9 / packets a second); 0 for no limit on packets.
    pub packet_ns: u32,
    /// [`ACTION_LIMIT`]: ns a frame byte costs, in 1/256 (256 * 10^9 / bytes a second); 0 for no limit on bytes.
    pub byte_ns_q8: u32,
    /// Probation: until when after its expiry the entry still watches for a return; `CLOCK_BOOTTIME`, ns; 0 for none.
    pub watch_until_ns: u64,
    /// Probation: for how long a return puts the action in force again at once, ns; 0 for an event only.
    pub reapply_ns: u64,
    /// Zero.
    pub pad2: u64,
    /// Packets dropped or redirected by this entry.
    pub hits: u64,
    /// Their frame bytes.
    pub hit_bytes: u64,
    /// Packets that would have been, had the entry not been in simulation.
    pub would_hits: u64,
    /// Their frame bytes.
    pub would_bytes: u64,
    /// First packet this entry met (dropped or not): `CLOCK_BOOTTIME`, ns; 0 for none yet.
    pub first_hit_ns: u64,
    /// Latest packet this entry met: `CLOCK_BOOTTIME`, ns; 0 for none yet.
    pub last_hit_ns: u64,
    /// [`ACTION_LIMIT`]: the instant up to which packets so far have used up the packet rate (GCRA's theoretical
    /// arrival time, ITU-T I.371): `CLOCK_BOOTTIME`, ns.
    pub packet_tat_ns: u64,
    /// The same for the byte rate.
    pub byte_tat_ns: u64,
    /// When the source returned on probation: `CLOCK_BOOTTIME`, ns; 0 for not.
    pub returned_ns: u64,
}

impl BlockEntry {
    /// Whether the entry no longer holds at `now_ns` (`CLOCK_BOOTTIME`).
    #[inline(always)]
    pub const fn expired(&self, now_ns: u64) -> bool {
        self.expires_ns != NEVER_NS && now_ns >= self.expires_ns
    }

    /// Whether the part the agent wrote (everything but the counters) is the same.
    pub fn same_order(&self, other: &Self) -> bool {
        self.expires_ns == other.expires_ns
            && self.decision == other.decision
            && self.action == other.action
            && self.flags == other.flags
            && self.prefix_len == other.prefix_len
            && self.burst_ms == other.burst_ms
            && self.packet_ns == other.packet_ns
            && self.byte_ns_q8 == other.byte_ns_q8
            && self.watch_until_ns == other.watch_until_ns
            && self.reapply_ns == other.reapply_ns
    }
}

/// An address or prefix that is never dropped, limited or redirected. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllowEntry {
    /// First instant at which the entry no longer holds: `CLOCK_BOOTTIME`, ns; [`NEVER_NS`] for no end.
    pub expires_ns: u64,
    /// Length of the prefix, as in [`BlockEntry::prefix_len`].
    pub prefix_len: u8,
    /// Zero.
    pub pad: [u8; 7],
}

impl AllowEntry {
    /// Whether the entry no longer holds at `now_ns` (`CLOCK_BOOTTIME`).
    #[inline(always)]
    pub const fn expired(&self, now_ns: u64) -> bool {
        self.expires_ns != NEVER_NS && now_ns >= self.expires_ns
    }
}

const _: () = {
    assert!(size_of::<BlockEntry>() == 136);
    assert!(core::mem::offset_of!(BlockEntry, hits) == 64);
    assert!(size_of::<AllowEntry>() == 16);
};

crate::pod!(BlockEntry, AllowEntry);
