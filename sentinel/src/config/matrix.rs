//! From severity and risk to what is done.

use crate::types::{ActionKind, Severity};
use serde::{Deserialize, Serialize};

/// `decision_matrix:`, severity to risk to what is done: rows and columns from low to high.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix(pub [[ActionKind; 3]; 3]);

impl Matrix {
    /// The same whatever the severity and the risk.
    pub const fn always(reaction: ActionKind) -> Self {
        Self([[reaction; 3]; 3])
    }

    /// What is done about an alert of this severity whose source is of this risk.
    pub const fn reaction(&self, severity: Severity, risk: Severity) -> ActionKind {
        self.0[severity as usize][risk as usize]
    }
}

impl Default for Matrix {
    fn default() -> Self {
        use ActionKind::{BlockIp, IsolateContainer, LogOnly, RateLimit, RedirectToHoneypot};
        Self([
            [LogOnly, LogOnly, RedirectToHoneypot],
            [LogOnly, RedirectToHoneypot, IsolateContainer],
            [RateLimit, BlockIp, IsolateContainer],
        ])
    }
}
