//! Many decisions at once, out of a list somebody keeps.

use super::{CommandError, NewDecision};
use serde::Serialize;
use utoipa::ToSchema;

/// One wish of a list, and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Line of the file, or item of an array, from 1.
    pub line: u32,
    /// What is wanted.
    pub wish: NewDecision,
}

/// A list to be imported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Import {
    /// What could be read of it.
    pub wishes: Vec<Listed>,
    /// Carry out the good lines though others are refused.
    pub skip_bad: bool,
    /// Lines that could not even be read: where one is there, and is not to be skipped, nothing is carried out.
    pub unread: Vec<BadLine>,
    /// Who asks.
    pub actor: String,
}

/// A line that is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct BadLine {
    /// Line of the file, or item of an array, from 1.
    pub line: u32,
    /// What is wrong with it, and the mend.
    pub problem: String,
    /// The guard that refuses its target, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Imported {
    /// Decisions in force by it, read back; those that were on their targets already among them.
    pub imported: u64,
    /// Of those, how many took the place of one that was in force.
    pub replaced: u64,
    /// Lines on a target of an earlier line, which they took the place of.
    pub repeated: u64,
    /// Lines that were skipped.
    pub skipped: u64,
    /// The first of them.
    pub bad: Vec<BadLine>,
    /// Counted only: in simulation, or while acting is stopped.
    pub simulated: bool,
}

/// Why nothing was imported.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImportError {
    /// Lines are refused, and they are not to be skipped.
    #[error("{total} lines are refused, so nothing was imported; mend them or skip them with `--skip-bad`")]
    Bad {
        /// The first of them, in order.
        lines: Vec<BadLine>,
        /// How many there are.
        total: u64,
    },
    /// For another reason; nothing of it is in force.
    #[error(transparent)]
    Command(#[from] CommandError),
}
