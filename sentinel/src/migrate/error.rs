//! Why there is nothing to carry over.

use std::path::PathBuf;

/// Each names the file and the mend; none repeats what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// It cannot be read.
    #[error("{}: {error}; name another with {option}, or run this as somebody who may read it", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
        /// The option that names it.
        option: &'static str,
    },
    /// It is of another kind.
    #[error("{}: {what}; {mend}", path.display())]
    Other {
        /// Which.
        path: PathBuf,
        /// What it is not.
        what: String,
        /// What to do.
        mend: &'static str,
    },
    /// It was written to all the time.
    #[error("{}: it changed while it was copied, each of {tries} times; try again, or stop the program that writes it", path.display())]
    Busy {
        /// Which.
        path: PathBuf,
        /// How often it was tried.
        tries: u32,
    },
    /// There is no room for a copy.
    #[error("a copy of {} cannot be made: {error}; make room in the folder for temporary files, or name another in TMPDIR", path.display())]
    Copy {
        /// Of which.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
}
