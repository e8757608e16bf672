//! A copy of another program's SQLite database, made without opening it as one: SQLite itself would write beside it.

use super::MigrateError;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// What every SQLite 3 database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Largest database that is copied, bytes.
const LARGEST: u64 = 1 << 30;
/// Rows of a table that are read.
pub(super) const ROWS: usize = 4_000_000;
/// How often a copy is tried while the source is written to.
const TRIES: u32 = 10;
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(200);
/// What a writer keeps beside its database: its log (WAL), or what takes back a half transaction.
const BESIDE: [&str; 2] = ["-wal", "-journal"];

/// A copy; it is gone with this value.
pub(super) struct Copy {
    pub(super) connection: Connection,
    _folder: TempDir,
}

/// Copies the database of a file, with what its writer has not worked in yet, and opens the copy.
///
/// # Errors
/// [`MigrateError`].
pub(super) fn open(path: &Path, option: &'static str, mend: &'static str) -> Result<Copy, MigrateError> {
    let other = |what: &str| MigrateError::Other {
        path: path.into(),
        what: what.to_owned(),
        mend,
    };
    let unreadable = |error| MigrateError::Unreadable {
        path: path.into(),
        error,
        option,
    };
    let about = path.metadata().map_err(unreadable)?;
    // A pipe would be waited for.
    if !about.is_file() {
        return Err(other("it is no file"));
    }
    let mut magic = [0; 16];
    let mut file = File::open(path).map_err(unreadable)?;
    if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Err(other("it is no SQLite database"));
    }
    if about.len() > LARGEST {
        return Err(other("it is larger than 1 GiB"));
    }
    let failed = |error| MigrateError::Copy {
        path: path.into(),
        error,
    };
    let folder = tempfile::Builder::new()
        .prefix("sentinel-migrate-")
        .tempdir()
        .map_err(failed)?;
    let to = folder.path().join("copy.db");
    for attempt in 0.. {
        let before = state(path);
        copy(path, &to).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => other(&error.to_string()),
            _ => failed(error),
        })?;
        // A checkpoint in between would have moved pages from one file to the other.
        if state(path) == before {
            break;
        }
        if attempt + 1 == TRIES {
            return Err(MigrateError::Busy {
                path: path.into(),
                tries: TRIES,
            });
        }
        std::thread::sleep(PAUSE);
    }
    // What was left half done is worked in or taken back: in the copy.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sound = Connection::open_with_flags(&to, flags).and_then(|connection| {
        // What stands in its schema is a stranger's.
        connection.pragma_update(None, "trusted_schema", false)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((verdict == "ok").then_some(connection))
    });
    match sound {
        Ok(Some(connection)) => Ok(Copy {
            connection,
            _folder: folder,
        }),
        _ => Err(other("the database is damaged")),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// What changes when one of its files is written to.
fn state(path: &Path) -> Vec<Option<(u64, i64, i64, u64)>> {
    let of = |about: Metadata| (about.len(), about.mtime(), about.mtime_nsec(), about.ino());
    let all = std::iter::once(path.to_owned()).chain(BESIDE.map(|ending| beside(path, ending)));
    all.map(|path| path.metadata().ok().map(of)).collect()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    copy_one(from, to)?;
    for ending in BESIDE {
        let copied = beside(to, ending);
        let _ = std::fs::remove_file(&copied);
        match copy_one(&beside(from, ending), &copied) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
}

/// Copies a file, and nothing that is none or has no end.
fn copy_one(from: &Path, to: &Path) -> std::io::Result<()> {
    let wrong = |what: &str| {
        Err(std::io::Error::new(
            ErrorKind::InvalidInput,
            format!("{}: {what}", from.display()),
        ))
    };
    // A pipe would be waited for.
    let source = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(from)?;
    if !source.metadata()?.is_file() {
        return wrong("it is no file");
    }
    let copied = std::io::copy(&mut source.take(LARGEST + 1), &mut File::create(to)?)?;
    if copied > LARGEST {
        return wrong("it is larger than 1 GiB");
    }
    Ok(())
}

/// Columns of a table, in small letters; empty where there is none. A view is none: it may have no end.
pub(super) fn columns(connection: &Connection, table: &str) -> Vec<String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(
            "SELECT lower(c.name) FROM pragma_table_list t, pragma_table_info(t.name) c
             WHERE t.schema = 'main' AND t.type = 'table' AND t.name = ?1 COLLATE NOCASE",
        )?;
        statement.query_map([table], |row| row.get(0))?.collect()
    };
    read().unwrap_or_default()
}
