//! Verdicts and the one list of reasons.

/// What becomes of an ingress packet. The kernel maps it to XDP and tc codes in one place.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Goes on to the stack.
    Pass,
    /// Goes on, because its source is allowlisted.
    PassAllowed,
    /// Goes on, though a shadow entry (or simulation mode) would have dropped it.
    WouldDrop,
    /// Goes on, though a shadow entry (or simulation mode) would have found it over its rate.
    WouldLimit,
    /// Goes on, though a shadow entry (or simulation mode) would have sent it to the honeypot.
    WouldRedirect,
    /// Dropped: the exact source is listed.
    DropExact,
    /// Dropped: a prefix of the source is listed.
    DropPrefix,
    /// Dropped: the source is on a feed's list.
    DropList,
    /// Dropped: over the rate its source is limited to.
    DropLimit,
    /// Dropped: over the rate the kernel set by itself when its source crossed a threshold.
    DropReflex,
    /// Dropped: an ACK to a port under flood that is of no connection and brings no SYN cookie.
    DropCookie,
    /// Goes on, rewritten, to the honeypot.
    Redirect,
    /// A SYN answered with a cookie on behalf of the stack, which does not see it.
    Answer,
}

impl Verdict {
    /// Whether the packet is dropped.
    #[inline(always)]
    pub const fn drops(self) -> bool {
        matches!(
            self,
            Self::DropExact | Self::DropPrefix | Self::DropList | Self::DropLimit | Self::DropReflex | Self::DropCookie
        )
    }

    /// Snake-case name, for logs and summaries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::PassAllowed => "pass_allowed",
            Self::WouldDrop => "would_drop",
            Self::WouldLimit => "would_limit",
            Self::WouldRedirect => "would_redirect",
            Self::DropExact => "drop_exact",
            Self::DropPrefix => "drop_prefix",
            Self::DropList => "drop_list",
            Self::DropLimit => "drop_limit",
            Self::DropReflex => "drop_reflex",
            Self::DropCookie => "drop_cookie",
            Self::Redirect => "redirect",
            Self::Answer => "answer",
        }
    }
}
