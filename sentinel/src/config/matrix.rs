//! From severity and risk to what is done.

use crate::types::{ActionKind, Severity};
use serde::{Deserialize, Serialize};

/// `decision_matrix:`, severity to risk to what is done: rows and columns from low to high.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix(pub [[Reaction; 3]; 3]);

impl Matrix {
    /// The same whatever the severity and the risk.
    pub const fn always(reaction: Reaction) -> Self {
        Self([[reaction; 3]; 3])
    }

    /// What is done about an alert of this severity whose source is of this risk.
    pub const fn reaction(&self, severity: Severity, risk: Severity) -> Reaction {
        self.0[severity as usize][risk as usize]
    }
}

impl Default for Matrix {
    fn default() -> Self {
        use Reaction::{BlockIp, IsolateContainer, LogOnly, RateLimit, RedirectToHoneypot};
        Self([
            [LogOnly, LogOnly, RedirectToHoneypot],
            [LogOnly, RedirectToHoneypot, IsolateContainer],
            [RateLimit, BlockIp, IsolateContainer],
        ])
    }
}

/// What a cell of the matrix may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// A line in the log.
    LogOnly,
    /// Drop what exceeds a rate.
    RateLimit,
    /// Send it to a decoy.
    RedirectToHoneypot,
    /// Drop it.
    BlockIp,
    /// Cut the container that has the address off; where none has it, drop it.
    IsolateContainer,
}

impl Reaction {
    /// Each with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("log_only", Self::LogOnly),
        ("rate_limit", Self::RateLimit),
        ("redirect_to_honeypot", Self::RedirectToHoneypot),
        ("block_ip", Self::BlockIp),
        ("isolate_container", Self::IsolateContainer),
    ];

    /// The name used in the file.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, r)| *r == self)
            .map_or("", |(name, _)| name)
    }

    /// The action by which it is carried out on an address.
    pub const fn action(self) -> ActionKind {
        match self {
            Self::LogOnly => ActionKind::LogOnly,
            Self::RateLimit => ActionKind::RateLimit,
            Self::RedirectToHoneypot => ActionKind::RedirectToHoneypot,
            Self::BlockIp => ActionKind::BlockIp,
            Self::IsolateContainer => ActionKind::IsolateContainer,
        }
    }
}
