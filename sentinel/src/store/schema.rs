//! Opening a database file safely: look first, touch later; migrations step by step.

use super::{StoreError, retention};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `PRAGMA application_id`: "SENT". Tells our files from other programs'.
const APPLICATION_ID: i64 = 0x5345_4e54;

/// One script per schema version, each run in its own transaction.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
    include_str!("migrations/0009.sql"),
    include_str!("migrations/0010.sql"),
    include_str!("migrations/0011.sql"),
    include_str!("migrations/0012.sql"),
    include_str!("migrations/0013.sql"),
];

/// The version this release writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Files up to this size are checked page by page before they are used; larger ones would delay the start.
const CHECKED_BYTES: u64 = 256 * 1024 * 1024;

/// Statements a reader keeps prepared: each list has some for each way it is narrowed.
const STATEMENTS: usize = 128;

/// How long a connection waits for another one's lock.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// Opens for writing: makes directory and file where missing, refuses what is not ours, migrates.
///
/// # Errors
/// [`StoreError`]; a refused file is left as it was.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    // One that cannot be looked at is not one that is not there: that is replaced.
    let exists = match path.metadata() {
        Ok(found) => found.len() > 0,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(StoreError::Unwritable {
                path: path.into(),
                cause: error.to_string(),
            });
        }
    };
    if exists {
        roll_back(path)?;
        let found = inspect(path)?;
        if found > VERSION {
            return Err(StoreError::Newer {
                path: path.into(),
                found,
                known: VERSION,
            });
        }
    } else {
        create(path)?;
    }
    let mut connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| refused(path, &e))?;
    prepare(&mut connection).map_err(|e| refused(path, &e))?;
    retention::convert(&connection, path);
    Ok(connection)
}

/// Opens for reading a file that [`open_writer`] has made.
///
/// # Errors
/// [`StoreError`] when it is missing, not ours, or of another version.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing { path: path.into() });
    }
    let connection = read_connection(path).map_err(|e| refused(path, &e))?;
    match version(&connection, path)? {
        VERSION => Ok(connection),
        found if found > VERSION => Err(StoreError::Newer {
            path: path.into(),
            found,
            known: VERSION,
        }),
        found => Err(StoreError::Older {
            path: path.into(),
            found,
            known: VERSION,
        }),
    }
}

/// A further reader of a file already found good.
pub(super) fn read_connection(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Rolls back what a disk that erred left half done in a file of ours before it was in WAL mode: whoever only reads cannot.
fn roll_back(path: &Path) -> Result<(), StoreError> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    // The application's id stands at byte 68 of the header, big-endian (sqlite.org/fileformat).
    let mut id = [0; 4];
    let ours = std::fs::File::open(path).is_ok_and(|file| file.read_exact_at(&mut id, 68).is_ok())
        && i64::from(i32::from_be_bytes(id)) == APPLICATION_ID;
    if !ours || !Path::new(&journal).exists() {
        return Ok(());
    }
    let recovered = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|connection| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    recovered.map_err(|e| refused(path, &e))
}

/// Reads the version of an existing file without changing a byte of it.
fn inspect(path: &Path) -> Result<i64, StoreError> {
    let connection = read_connection(path).map_err(|e| refused(path, &e))?;
    let found = version(&connection, path)?;
    if found <= VERSION && path.metadata().is_ok_and(|m| m.len() <= CHECKED_BYTES) {
        let verdict: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|e| refused(path, &e))?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt {
                path: path.into(),
                cause: verdict,
            });
        }
    }
    Ok(found)
}

fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let number = |pragma| {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            .map_err(|e| refused(path, &e))
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.into() });
    }
    number("user_version")
}

/// Makes the directory of a database file, private to its group.
///
/// # Errors
/// [`StoreError::Unwritable`].
pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)
        .map_err(|e| StoreError::Unwritable {
            path: directory.into(),
            cause: e.to_string(),
        })
}

/// Makes an empty database of ours beside the place it belongs, and moves it there when it is whole: an end in between must
/// leave nothing that the next start takes for somebody else's, or for damaged.
fn create(path: &Path) -> Result<(), StoreError> {
    let unwritable = |e: &std::io::Error| StoreError::Unwritable {
        path: path.into(),
        cause: e.to_string(),
    };
    // Nobody else's link is followed there, nor replaced.
    super::own_file().open(path).map_err(|e| unwritable(&e))?;
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let new = beside(".new");
    for left in ["", "-journal", "-wal", "-shm"] {
        match std::fs::remove_file(beside(&format!(".new{left}"))) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(&e)),
            _ => {}
        }
    }
    // SQLite gives -wal and -shm the mode of the main file, so nobody else reads whom this host talks to.
    super::own_file().open(&new).map_err(|e| unwritable(&e))?;
    begin(&new).map_err(|e| refused(path, &e))?;
    let kept = || {
        std::fs::File::open(&new)?.sync_all()?;
        // What a database that was taken away left would be worked into this one.
        for left in ["-wal", "-shm", "-journal"] {
            match std::fs::remove_file(beside(left)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        std::fs::rename(&new, path)?;
        match path.parent().filter(|d| !d.as_os_str().is_empty()) {
            Some(directory) => std::fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    kept().map_err(|e| unwritable(&e))
}

/// Makes a database ours, without anything in it.
fn begin(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Before anything is written: afterwards it takes a VACUUM.
    connection.pragma_update(None, "auto_vacuum", 2)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.close().map_err(|(_, e)| e)
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What undoes one statement of a large transaction is written beside the database, where we may write for sure.
    if let Some(directory) = connection.path().and_then(|path| Path::new(path).parent()?.to_str()) {
        let directory = if directory.is_empty() { "." } else { directory }.to_owned();
        connection.pragma_update(None, "temp_store_directory", directory)?;
    }
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (step, script) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
        transaction.commit()?;
        tracing::info!(version = step + 1, "database migrated");
    }
    Ok(())
}

fn refused(path: &Path, error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let path = path.into();
    let cause = error.to_string();
    match error.sqlite_error_code() {
        Some(NotADatabase | DatabaseCorrupt) => StoreError::Corrupt { path, cause },
        _ => StoreError::Unwritable { path, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_erring_disk_left_half_done_is_rolled_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("s.db"), dir.path().join("t.db"));
        drop(open_writer(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        let delete = |_: &rusqlite::Row<'_>| Ok(());
        connection
            .pragma_update_and_check(None, "journal_mode", "delete", delete)
            .unwrap();
        connection.pragma_update(None, "cache_spill", 1).unwrap();
        connection.pragma_update(None, "cache_size", 1).unwrap();
        connection
            .execute_batch("BEGIN; CREATE TABLE half (x); INSERT INTO half SELECT zeroblob(100000) FROM allowlist UNION ALL SELECT zeroblob(100000);")
            .unwrap();
        // As a cut leaves it: the file and its journal, with nobody at it.
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(dir.path().join("s.db-journal"), dir.path().join("t.db-journal")).unwrap();
        assert!(inspect(&copy).is_err(), "not hot, so nothing is shown");
        let opened = open_writer(&copy).unwrap();
        let half: i64 = opened
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'half'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(half, 0);
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        std::os::unix::fs::symlink("s.db", &path).unwrap();
        let error = open_writer(&path).unwrap_err();
        assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
        assert!(path.is_symlink());
    }
}
