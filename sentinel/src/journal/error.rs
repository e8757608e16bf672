//! Why a collection is not kept, or not taken in again.

use crate::detect::Contradiction;
use crate::files::FileError;
use std::path::PathBuf;

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refuses.
    #[error("{0} (check the path, its permissions and the room on the disk)")]
    File(#[from] FileError),
    /// It is not taken in.
    #[error(
        "what was collected before the restart cannot be gone on with: {} {flaw}. It is set aside as {}; begin anew with \
         `sentinel learn start`",
        path.display(), aside.display()
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// Where it was put.
        aside: PathBuf,
        /// Why.
        flaw: JournalFlaw,
    },
}

impl JournalError {
    /// Whether the file itself is at fault.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Why a file is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalFlaw {
    /// Its first bytes are others, or fewer than a header has.
    #[error("is no journal of learn mode")]
    NotOne,
    /// The header's sum is another.
    #[error("is damaged in its header")]
    Header,
    /// Of another format.
    #[error("has format {found}, this program writes {ours}")]
    Format {
        /// Its format.
        found: u32,
        /// This program's.
        ours: u32,
    },
    /// Made of other features.
    #[error("holds flows by feature schema {found}, this program has {ours} (or the same number with other features)")]
    Schema {
        /// Its schema's version.
        found: u32,
        /// This program's.
        ours: u32,
    },
    /// Made for another model.
    #[error("was collected for another model ({found}…, not {ours}…)")]
    Model {
        /// The beginning of its digest.
        found: String,
        /// The beginning of the digest of the one there is.
        ours: String,
    },
    /// Longer than any that was written.
    #[error("is longer than {limit} bytes, the most that is ever written")]
    TooLong {
        /// Bytes.
        limit: u64,
    },
    /// A batch that is whole and cannot be.
    #[error("is no sound collection: batch {batch}: {contradiction}")]
    Batch {
        /// Which, from 1.
        batch: usize,
        /// What is wrong with it.
        contradiction: Contradiction,
    },
}
