//! The values of the allow and block maps.
//!
//! Of the entries that cover a source, the first that is in force decides: the exact one, then the longest prefix,
//! then shorter ones. The more specific decision wins whatever it says: an address limited within a blocked prefix
//! passes within its rate. Entries that are over, or only watch, hide none behind them; one that only counts hides
//! none that acts, but the first of those that only count is the only one to count.

use crate::verdict::Verdict;

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

/// Bit of [`BlockEntry::flags`]: drop what goes out to the address, too. It has a meaning with [`ACTION_DROP`] only:
/// what is limited or redirected is answered.
pub const FLAG_EGRESS: u8 = 2;

/// Bit of [`BlockEntry::flags`]: each address under a rate-limited prefix has a bucket of its own.
pub const FLAG_EACH: u8 = 4;

/// Bit of [`BlockEntry::flags`]: a rate limit is about what opens ([`crate::reflex::opens`]); connections that stand go on.
pub const FLAG_OPENINGS: u8 = 8;

/// An expiry that never comes.
pub const NEVER_NS: u64 = u64::MAX;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has nothing to say: its action is not known here, or it watched and has told.
    Silent,
    /// Its end has come.
    Over,
    /// Its action is in force.
    Acts,
    /// On probation, and this is its source's return, which is to be told.
    Returns {
        /// Until when the action is in force again, `CLOCK_BOOTTIME`, ns; 0 for not.
        until_ns: u64,
    },
}

/// What becomes of a packet that an entry in force was asked about: `strikes` where the action hits it (a packet
/// within its rate passes, as does what stays where it is), `shadow` where it would have.
#[inline(always)]
pub const fn verdict(action: u8, exact: bool, strikes: bool, shadow: bool) -> Verdict {
    match (strikes, shadow, action) {
        (false, ..) => Verdict::Pass,
        (true, false, ACTION_LIMIT) => Verdict::DropLimit,
        (true, false, ACTION_REDIRECT) => Verdict::Redirect,
        (true, false, _) if exact => Verdict::DropExact,
        (true, false, _) => Verdict::DropPrefix,
        (true, true, ACTION_LIMIT) => Verdict::WouldLimit,
        (true, true, ACTION_REDIRECT) => Verdict::WouldRedirect,
        (true, true, _) => Verdict::WouldDrop,
    }
}

/// What a listed source gets, until when, on whose word, and what it has cost it so far. 128 bytes.
///
/// What a dropped packet reads and writes comes first and lies in one cache line ([`crate::exact::Cell`]). Hits, instants
/// of hits and of a return, and what a rate was charged are the kernel's; the rest is the agent's, and is what a read-back
/// compares ([`BlockEntry::same_order`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockEntry {
    /// First instant at which the action no longer holds: `CLOCK_BOOTTIME`, ns; [`NEVER_NS`] for no end.
    pub expires_ns: u64,
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
    /// First packet this entry met (dropped or not): `CLOCK_BOOTTIME`, ns; 0 for none yet.
    pub first_hit_ns: u64,
    /// Latest packet this entry met: `CLOCK_BOOTTIME`, ns; 0 for none yet.
    pub last_hit_ns: u64,
    /// Packets dropped or redirected by this entry.
    pub hits: u64,
    /// Their frame bytes.
    pub hit_bytes: u64,
    /// The decision's UUID, network order.
    pub decision: [u8; 16],
    /// [`ACTION_LIMIT`]: ns a packet costs (10^9 / packets a second); 0 for no limit on packets.
    pub packet_ns: u32,
    /// [`ACTION_LIMIT`]: ns a frame byte costs, in 1/256 (256 * 10^9 / bytes a second); 0 for no limit on bytes.
    pub byte_ns_q8: u32,
    /// Probation: until when after its expiry the entry still watches for a return; `CLOCK_BOOTTIME`, ns; 0 for none.
    pub watch_until_ns: u64,
    /// Probation: for how long a return puts the action in force again at once, ns; 0 for an event only.
    pub reapply_ns: u64,
    /// Packets that would have been, had the entry not been in simulation.
    pub would_hits: u64,
    /// Their frame bytes.
    pub would_bytes: u64,
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

    /// Where the entry stands at `now_ns` (`CLOCK_BOOTTIME`): both the kernel and the model of it ask this first.
    #[inline(always)]
    pub const fn standing(&self, now_ns: u64) -> Standing {
        if !matches!(self.action, ACTION_DROP..=ACTION_WATCH) {
            return Standing::Silent;
        }
        let watches = self.action == ACTION_WATCH;
        if !self.expired(now_ns) && !watches {
            return Standing::Acts;
        }
        // A watch without a time of its own lasts as long as its entry.
        if now_ns < self.watch_until_ns || watches && !self.expired(now_ns) {
            if self.returned_ns == 0 {
                let until_ns = if watches { 0 } else { self.again_until(now_ns) };
                return Standing::Returns { until_ns };
            }
            if watches {
                return Standing::Silent;
            }
        }
        if !watches && self.returned_ns != 0 && now_ns < self.again_until(self.returned_ns) {
            return Standing::Acts;
        }
        Standing::Over
    }

    /// Until when a return at `returned_ns` puts the action in force again; 0 for not at all.
    #[inline(always)]
    const fn again_until(&self, returned_ns: u64) -> u64 {
        if self.reapply_ns == 0 {
            0
        } else {
            returned_ns.saturating_add(self.reapply_ns)
        }
    }

    /// This order with nothing noted on it by the kernel.
    #[must_use]
    pub fn fresh(self) -> Self {
        Self {
            hits: 0,
            hit_bytes: 0,
            would_hits: 0,
            would_bytes: 0,
            first_hit_ns: 0,
            last_hit_ns: 0,
            packet_tat_ns: 0,
            byte_tat_ns: 0,
            returned_ns: 0,
            ..self
        }
    }

    /// This order over what the kernel noted on `old`: nothing where the decision is another, and no return where the
    /// end is another, since a new end begins a new probation.
    #[must_use]
    pub fn over(self, old: &Self) -> Self {
        if self.decision != old.decision {
            return self.fresh();
        }
        Self {
            hits: old.hits,
            hit_bytes: old.hit_bytes,
            would_hits: old.would_hits,
            would_bytes: old.would_bytes,
            first_hit_ns: old.first_hit_ns,
            last_hit_ns: old.last_hit_ns,
            packet_tat_ns: old.packet_tat_ns,
            byte_tat_ns: old.byte_tat_ns,
            returned_ns: if self.expires_ns == old.expires_ns {
                old.returned_ns
            } else {
                0
            },
            ..self
        }
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

/// Whether an atomic addition to a field at this offset stays within a cache line where the entry is an IPv4 prefix's. A
/// trie keeps values right behind their keys, so those lie four bytes off: 44 bytes into a node, which begins a line, or is
/// preceded by eight bytes of the allocator's (`kernel/bpf/lpm_trie.c`, `memalloc.c`). One across two lines locks the
/// machine's memory for a microsecond, and where the processor reports that, the kernel dies of it.
const fn stays_in_line(offset: usize) -> bool {
    (offset + 44) % 64 <= 56 && (offset + 52) % 64 <= 56
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<BlockEntry>() == 128);
    assert!(stays_in_line(offset_of!(BlockEntry, hits)) && stays_in_line(offset_of!(BlockEntry, hit_bytes)));
    assert!(stays_in_line(offset_of!(BlockEntry, would_hits)) && stays_in_line(offset_of!(BlockEntry, would_bytes)));
    assert!(stays_in_line(offset_of!(BlockEntry, packet_tat_ns)) && stays_in_line(offset_of!(BlockEntry, byte_tat_ns)));
    assert!(size_of::<AllowEntry>() == 16);
};

crate::pod!(BlockEntry, AllowEntry);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: u8, expires_ns: u64) -> BlockEntry {
        BlockEntry {
            expires_ns,
            action,
            ..BlockEntry::default()
        }
    }

    #[test]
    fn an_action_holds_until_its_end_and_never_past_it() {
        for action in [ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT] {
            let entry = entry(action, 100);
            assert_eq!(entry.standing(99), Standing::Acts);
            assert_eq!(entry.standing(100), Standing::Over);
        }
        for action in [0, 5, 99] {
            assert_eq!(entry(action, NEVER_NS).standing(1), Standing::Silent);
        }
    }

    #[test]
    fn probation_tells_once_and_strikes_again_for_a_while() {
        let mut entry = BlockEntry {
            watch_until_ns: 1000,
            ..entry(ACTION_DROP, 100)
        };
        assert_eq!(entry.standing(50), Standing::Acts);
        assert_eq!(entry.standing(100), Standing::Returns { until_ns: 0 });
        assert_eq!(entry.standing(1000), Standing::Over, "nobody watches any more");
        entry.returned_ns = 200;
        assert_eq!(entry.standing(201), Standing::Over);
        let mut entry = BlockEntry {
            reapply_ns: 2000,
            returned_ns: 0,
            ..entry
        };
        assert_eq!(entry.standing(999), Standing::Returns { until_ns: 2999 });
        entry.returned_ns = 999;
        assert_eq!(entry.standing(2998), Standing::Acts, "longer than the watch");
        assert_eq!(entry.standing(2999), Standing::Over);
    }

    #[test]
    fn a_watch_never_acts() {
        for (expires_ns, watch_until_ns) in [(0, 1000), (1000, 0), (1000, 500), (NEVER_NS, 0)] {
            let mut entry = BlockEntry {
                watch_until_ns,
                reapply_ns: 50,
                ..entry(ACTION_WATCH, expires_ns)
            };
            assert_eq!(entry.standing(999), Standing::Returns { until_ns: 0 });
            entry.returned_ns = 999;
            assert_eq!(entry.standing(999), Standing::Silent);
            if expires_ns != NEVER_NS {
                assert_eq!(entry.standing(1000), Standing::Over);
            }
        }
    }

    #[test]
    fn a_new_order_keeps_what_was_counted_and_a_new_end_begins_a_new_probation() {
        let old = BlockEntry {
            decision: [1; 16],
            hits: 1,
            packet_tat_ns: 2,
            byte_tat_ns: 3,
            returned_ns: 4,
            first_hit_ns: 5,
            ..entry(ACTION_LIMIT, 100)
        };
        let same = BlockEntry {
            decision: [1; 16],
            hits: 99,
            ..entry(ACTION_LIMIT, 100)
        };
        assert_eq!(same.over(&old), old);
        let longer = BlockEntry {
            expires_ns: 200,
            ..same
        };
        let merged = longer.over(&old);
        assert_eq!((merged.hits, merged.packet_tat_ns, merged.returned_ns), (1, 2, 0));
        let other = BlockEntry {
            decision: [2; 16],
            ..same
        };
        assert_eq!(other.over(&old), other.fresh());
        assert_eq!(other.fresh().hits, 0);
    }

    #[test]
    fn what_does_not_strike_passes() {
        for action in 0..=5 {
            for (exact, shadow) in [(true, true), (true, false), (false, true), (false, false)] {
                assert_eq!(verdict(action, exact, false, shadow), Verdict::Pass);
                let struck = verdict(action, exact, true, shadow);
                assert_eq!(struck.drops() || struck == Verdict::Redirect, !shadow);
            }
        }
    }
}
