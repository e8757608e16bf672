//! Which elements an entry is, and how they spell it.
//!
//! Sets hold masked addresses, one set per prefix length: a hash each, so that prefixes may lie within each other and the
//! longest is asked first, as in the kernel programs. A limited source stands among the blocked as well, and is let go
//! before that question while its rate holds, and where only what it opens is limited, with all else.

use ipnet::IpNet;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, BlockEntry, FLAG_EGRESS, FLAG_OPENINGS, FLAG_SHADOW,
};
use std::fmt;

/// What a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Never touched.
    Allow,
    /// Dropped, unless a rate let it go before.
    Block,
    /// Dropped on its way out.
    Out,
    /// Let go within a rate of packets.
    Packets,
    /// Within a rate of bytes.
    Bytes,
    /// Within both.
    Both,
    /// Let go where they open nothing.
    Standing,
    /// As [`Kind::Block`], counted only.
    Would,
    /// As [`Kind::Out`], counted only.
    WouldOut,
    /// As [`Kind::Packets`], for what is counted only.
    WouldPackets,
    /// As [`Kind::Bytes`].
    WouldBytes,
    /// As [`Kind::Both`].
    WouldBoth,
    /// As [`Kind::Standing`].
    WouldStanding,
}

impl Kind {
    pub(super) const ALL: [Self; 13] = [
        Self::Allow,
        Self::Block,
        Self::Out,
        Self::Packets,
        Self::Bytes,
        Self::Both,
        Self::Standing,
        Self::Would,
        Self::WouldOut,
        Self::WouldPackets,
        Self::WouldBytes,
        Self::WouldBoth,
        Self::WouldStanding,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
            Self::Out => "out",
            Self::Packets => "packets",
            Self::Bytes => "bytes",
            Self::Both => "both",
            Self::Standing => "standing",
            Self::Would => "would",
            Self::WouldOut => "would_out",
            Self::WouldPackets => "would_packets",
            Self::WouldBytes => "would_bytes",
            Self::WouldBoth => "would_both",
            Self::WouldStanding => "would_standing",
        }
    }

    /// Whether its elements count what they meet.
    pub(super) const fn counts(self) -> bool {
        matches!(self, Self::Block | Self::Out | Self::Would | Self::WouldOut)
    }
}

/// One set of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetId {
    pub(super) kind: Kind,
    pub(super) v6: bool,
    pub(super) len: u8,
}

impl SetId {
    pub(super) fn of(kind: Kind, target: IpNet) -> Self {
        Self {
            kind,
            v6: matches!(target, IpNet::V6(_)),
            len: target.prefix_len(),
        }
    }

    /// The set of that name; `None` where no set of ours is called so.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (front, len) = name.rsplit_once('_')?;
        let (word, v6) = match front.strip_suffix('4') {
            Some(word) => (word, false),
            None => (front.strip_suffix('6')?, true),
        };
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let set = Self {
            kind,
            v6,
            len: len.parse().ok()?,
        };
        (set.len <= if v6 { 128 } else { 32 } && set.to_string() == name).then_some(set)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}_{}", self.kind.word(), if self.v6 { 6 } else { 4 }, self.len)
    }
}

/// The kinds of elements that an entry is made of; the first is the one that counts and is read for its terms.
pub(super) fn kinds(entry: &BlockEntry) -> Vec<Kind> {
    let shadow = entry.flags & FLAG_SHADOW != 0;
    let mut kinds = vec![if shadow { Kind::Would } else { Kind::Block }];
    if entry.action == ACTION_LIMIT {
        let limit = match (entry.packet_ns > 0, entry.byte_ns_q8 > 0, shadow) {
            (true, true, false) => Kind::Both,
            (true, true, true) => Kind::WouldBoth,
            (false, true, false) => Kind::Bytes,
            (false, true, true) => Kind::WouldBytes,
            (_, false, false) => Kind::Packets,
            (_, false, true) => Kind::WouldPackets,
        };
        kinds.push(limit);
        if entry.flags & FLAG_OPENINGS != 0 {
            kinds.push(if shadow { Kind::WouldStanding } else { Kind::Standing });
        }
    } else if entry.action == ACTION_DROP && entry.flags & FLAG_EGRESS != 0 {
        kinds.push(if shadow { Kind::WouldOut } else { Kind::Out });
    }
    kinds
}

/// The first field of a comment of ours.
const LAYOUT: &str = "1";

/// An entry's terms as the comment of its elements: at most 127 bytes of hexadecimal numbers and colons.
pub(super) fn comment(entry: &BlockEntry) -> String {
    format!(
        "{LAYOUT}:{:032x}:{:x}:{:x}:{:x}:{:x}:{:x}:{:x}:{:x}:{:x}",
        u128::from_be_bytes(entry.decision),
        entry.expires_ns,
        entry.action,
        entry.flags,
        entry.burst_ms,
        entry.packet_ns,
        entry.byte_ns_q8,
        entry.watch_until_ns,
        entry.reapply_ns,
    )
}

/// The terms a comment spells; `None` where it is none of ours. Whoever may write the table may have written it.
pub(super) fn terms(comment: &str, prefix_len: u8) -> Option<BlockEntry> {
    let fields: Vec<&str> = comment.split(':').collect();
    let [
        LAYOUT,
        decision,
        expires,
        action,
        flags,
        burst,
        packet,
        byte,
        watch,
        reapply,
    ] = fields[..]
    else {
        return None;
    };
    let entry = BlockEntry {
        decision: u128::from_str_radix(decision, 16).ok()?.to_be_bytes(),
        expires_ns: u64::from_str_radix(expires, 16).ok()?,
        action: u8::from_str_radix(action, 16).ok()?,
        flags: u8::from_str_radix(flags, 16).ok()?,
        burst_ms: u32::from_str_radix(burst, 16).ok()?,
        packet_ns: u32::from_str_radix(packet, 16).ok()?,
        byte_ns_q8: u32::from_str_radix(byte, 16).ok()?,
        watch_until_ns: u64::from_str_radix(watch, 16).ok()?,
        reapply_ns: u64::from_str_radix(reapply, 16).ok()?,
        prefix_len,
        ..BlockEntry::default()
    };
    matches!(entry.action, ACTION_DROP | ACTION_LIMIT | ACTION_REDIRECT).then_some(entry)
}
