//! Verdicts and the one list of reasons.

/// What becomes of an ingress packet. The kernel maps it to XDP codes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Goes on to the stack.
    Pass,
    /// Goes on, because its source is allowlisted.
    PassAllowed,
    /// Goes on, though a shadow entry (or simulation mode) would have dropped it.
    WouldDrop,
    /// Dropped: the exact source is listed.
    DropExact,
    /// Dropped: a prefix of the source is listed.
    DropPrefix,
}

impl Verdict {
    /// Whether the packet is dropped.
    #[inline(always)]
    pub const fn drops(self) -> bool {
        matches!(self, Self::DropExact | Self::DropPrefix)
    }
}
