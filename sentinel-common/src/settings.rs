//! What the agent may change at run time: one element of the `SETTINGS` array.

use crate::hash::Keys;
use crate::hint::REGIONS6;
use crate::reflex::ESTIMATE;

/// Bit of [`Settings::flags`]: verdicts are carried out. Without it every entry counts as shadow.
pub const SETTING_ENFORCE: u32 = 1;
/// Bit of [`Settings::flags`]: account flows and report them.
pub const SETTING_FLOWS: u32 = 2;

/// Length of one budget window, as a shift of nanoseconds: 2^22 ns, about 4.2 ms.
pub const BUDGET_WINDOW_SHIFT: u32 = 22;

/// Windows whose budget is kept when it is not used.
pub const BUDGET_CARRY: u64 = 64;

/// Bit of [`Settings::flags`]: answer SYNs to ports under flood with cookies.
pub const SETTING_COOKIES: u32 = 4;
/// Bit of [`Settings::flags`]: keep per-source counters and raise events when they cross [`Reflex`].
pub const SETTING_REFLEX: u32 = 8;
/// Bit of [`Settings::flags`]: a source that crosses a threshold is limited at once.
pub const SETTING_REFLEX_LIMIT: u32 = 16;
/// Bit of [`Settings::flags`]: plain packets take the short way ([`crate::plain`]). What comes of them is the same.
pub const SETTING_SHORT: u32 = 32;

/// With these bits of [`Settings::flags`] plain packets take the short way.
pub const SETTINGS_PLAIN: u32 = SETTING_FLOWS | SETTING_SHORT;

/// Run-time settings of the kernel programs, those that every packet asks for first. 248 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `SETTING_*` bits.
    pub flags: u32,
    /// Buckets of one CPU's part of the flow table, less one.
    pub flow_mask: u32,
    /// `flow_mask` and one, or 0 where plain packets go the whole way as all others do ([`Settings::derive`]).
    pub plain_buckets: u32,
    /// Zero.
    pub pad: u32,
    /// Secret of every hash an outsider must not be able to steer.
    pub seed: u64,
    /// Made of `seed`.
    pub keys: Keys,
    /// Made of `seed` ([`crate::hint::factors`]).
    pub factors6: [u64; 2],
    /// In which 64ths of the regions of IPv6 hints there may be anything ([`crate::hint::part6`]).
    pub hinted6: [u64; REGIONS6],
    /// How often a busy flow is reported, ns.
    pub report_interval_ns: u64,
    /// Flow records a CPU may emit per budget window (see [`BUDGET_WINDOW_SHIFT`]); what is not used is kept for up to
    /// [`BUDGET_CARRY`] windows, what goes beyond is put off and counted.
    pub event_budget: u32,
    /// Which of its two versions each feed list stands at: bit n for list n. Read once per packet, so that no packet
    /// is judged by a mixture.
    pub list_versions: u32,
    /// Buckets of the exact IPv4 list table, less one.
    pub list4_mask: u32,
    /// Buckets of the exact IPv6 list table, less one.
    pub list6_mask: u32,
    /// Buckets of the table of sources, less one.
    pub source_mask: u32,
    /// Handshakes begun and not completed on one port within a second that make a SYN flood.
    pub syn_flood_half_open: u32,
    /// Cells of the table of conversations, less one.
    pub talk_mask: u32,
    /// Bytes of the ring above which records of new flows are withheld.
    pub ring_high: u32,
    /// Buckets of the index of exact IPv4 entries, less one.
    pub block4_mask: u32,
    /// The same of IPv6.
    pub block6_mask: u32,
    /// Thresholds per source.
    pub reflex: Reflex,
}

impl Settings {
    /// Nothing set yet.
    pub const EMPTY: Self = Self {
        flags: 0,
        flow_mask: 0,
        plain_buckets: 0,
        pad: 0,
        seed: 0,
        keys: Keys::EMPTY,
        factors6: [0; 2],
        hinted6: [0; REGIONS6],
        report_interval_ns: 0,
        event_budget: 0,
        list_versions: 0,
        list4_mask: 0,
        list6_mask: 0,
        source_mask: 0,
        syn_flood_half_open: 0,
        talk_mask: 0,
        ring_high: 0,
        block4_mask: 0,
        block6_mask: 0,
        reflex: Reflex::NONE,
    };

    /// These settings, with what follows from others of them.
    #[must_use]
    pub const fn derive(self) -> Self {
        Self {
            plain_buckets: if self.flags & SETTINGS_PLAIN == SETTINGS_PLAIN {
                self.flow_mask + 1
            } else {
                0
            },
            ..self
        }
    }
}

/// Thresholds per source and window, and what crossing one brings. 0 is never crossed. 56 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reflex {
    /// Length of the window, ns.
    pub window_ns: u64,
    /// L3 bytes.
    pub bytes: u64,
    /// For how long a source that crossed a threshold is limited, ns.
    pub hold_ns: u64,
    /// Packets.
    pub packets: u32,
    /// SYNs.
    pub syns: u32,
    /// Distinct destination ports.
    pub ports: u32,
    /// Handshakes begun and not completed.
    pub half_open: u32,
    /// Rate it is limited to, as [`crate::entry::BlockEntry::packet_ns`].
    pub packet_ns: u32,
    /// As [`crate::entry::BlockEntry::byte_ns_q8`].
    pub byte_ns_q8: u32,
    /// As [`crate::entry::BlockEntry::burst_ms`].
    pub burst_ms: u32,
    /// [`Reflex::least_of`] it; 0 to have every threshold asked for every source.
    pub least: u32,
}

impl Reflex {
    /// Nothing is ever crossed.
    pub const NONE: Self = Self {
        window_ns: 0,
        bytes: 0,
        hold_ns: 0,
        packets: 0,
        syns: 0,
        ports: 0,
        half_open: 0,
        packet_ns: 0,
        byte_ns_q8: 0,
        burst_ms: 0,
        least: 0,
    };

    /// The packets and SYNs a source may have had, together, without having crossed any threshold but that of bytes.
    #[must_use]
    pub fn least_of(&self) -> u32 {
        let bits = |ports: u32| (0..=64).rev().find(|bits| u32::from(ESTIMATE[64 - bits]) <= ports);
        let ports = (self.ports != 0).then(|| bits(self.ports).unwrap_or(0) as u32);
        [self.packets, self.syns, self.half_open]
            .into_iter()
            .filter(|threshold| *threshold != 0)
            .chain(ports)
            .min()
            .unwrap_or(u32::MAX)
    }
}

const _: () = {
    assert!(size_of::<Reflex>() == 56);
    assert!(size_of::<Settings>() == 248);
};

crate::pod!(Settings, Reflex);
