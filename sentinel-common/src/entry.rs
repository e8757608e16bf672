//! The values of the allow and block maps.

/// Value of [`BlockEntry::action`]: drop the packet.
pub const ACTION_DROP: u8 = 1;

/// Bit of [`BlockEntry::flags`]: count what would have happened and let the packet pass.
pub const FLAG_SHADOW: u8 = 1;

/// An expiry that never comes.
pub const NEVER_NS: u64 = u64::MAX;

/// What a listed source gets, until when, on whose word, and what it has cost it so far. 88 bytes.
///
/// The first 32 bytes are the agent's and are what a read-back compares; the counters are the kernel's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockEntry {
    /// First instant at which the entry no longer holds: `CLOCK_BOOTTIME`, ns; [`NEVER_NS`] for no end.
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
    pub pad: [u8; 5],
    /// Packets dropped by this entry.
    pub hits: u64,
    /// Frame bytes dropped by this entry.
    pub hit_bytes: u64,
    /// Packets that would have been dropped, had the entry not been in simulation.
    pub would_hits: u64,
    /// Frame bytes that would have been dropped.
    pub would_bytes: u64,
    /// First packet this entry met (dropped or not): `CLOCK_BOOTTIME`, ns; 0 for none yet.
    pub first_hit_ns: u64,
    /// Latest packet this entry met: `CLOCK_BOOTTIME`, ns; 0 for none yet.
    pub last_hit_ns: u64,
    /// Zero.
    pub pad2: u64,
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
    assert!(size_of::<BlockEntry>() == 88);
    assert!(core::mem::offset_of!(BlockEntry, hits) == 32);
    assert!(size_of::<AllowEntry>() == 16);
};

crate::pod!(BlockEntry, AllowEntry);
