//! Why the store refused, in words that name the mend.

use std::path::PathBuf;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not stored yet: the disk refuses, the records wait in memory and are written when it recovers.
    #[error("not durable yet: {cause}; the records are queued in memory and will be written when the disk recovers")]
    Queued {
        /// The disk's words.
        cause: String,
    },
    /// Neither stored nor queued: the disk refuses and the memory backlog is at its bound. Counted as overflow.
    #[error("not stored: {cause}, and the backlog of {bound} records is full; free disk space now")]
    Overflow {
        /// The disk's words.
        cause: String,
        /// Records the backlog holds.
        bound: usize,
    },
    /// The record itself cannot be stored; nothing of its commit was.
    #[error("the record was refused: {0}")]
    Rejected(String),
    /// The writer has ended.
    #[error("the store is closed; no further records are taken")]
    Closed,
    /// Opened with [`super::Store::read_only`].
    #[error("the database was opened for reading only; ask the running agent to write")]
    ReadOnly,
    /// There is no database there.
    #[error("{}: no database there; start `sentinel run` once, or set `store.path`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Made by a later release.
    #[error(
        "{}: the database has schema version {found}, this release knows up to {known}; \
         start the newer release again, or move the file away to begin a new one (nothing was changed)",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Latest version known here.
        known: i64,
    },
    /// Made by an earlier release and opened for reading only.
    #[error(
        "{}: the database has schema version {found}, this release reads version {known}; \
         start `sentinel run` once to upgrade it",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Version needed.
        known: i64,
    },
    /// A database, but another program's.
    #[error("{}: this database belongs to another program; set `store.path` to a file of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Damaged, or not a database.
    #[error(
        "{}: damaged or not a database ({cause}); move it away together with its -wal and -shm files to begin a new one, \
         or restore a backup (nothing was changed or deleted)",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        cause: String,
    },
    /// Another agent holds it.
    #[error("{}: in use by another sentinel ({holder}); stop that one, or give this one its own `store.path`", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The file or its directory cannot be made or written.
    #[error("{}: cannot be written ({cause}); check owner, permissions and free space, or set `store.path`", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The figures of another period are being counted.
    #[error("figures are being counted for somebody else; try again in some seconds")]
    Busy,
    /// A page mark that this list did not give out.
    #[error(
        "`{0}` is no cursor of this list with these filters; pass `next_cursor` of the page before unchanged, with the same filters"
    )]
    Cursor(String),
    /// There is no room to make the file anew.
    #[error("making the database anew takes {needed} bytes, and {room} are free; free space on its disk")]
    NoRoom {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        room: u64,
    },
    /// SQLite refused while reading.
    #[error("the database could not be read: {0}")]
    Read(#[source] rusqlite::Error),
}

/// How SQLite's refusal is to be treated by the writer.
pub(super) fn is_about_the_record(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    match error {
        rusqlite::Error::SqliteFailure(e, _) => matches!(e.code, ConstraintViolation | TooBig | TypeMismatch),
        rusqlite::Error::ToSqlConversionFailure(_) => true,
        _ => false,
    }
}

/// Whether SQLite says that the disk is full.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}
