//! How large the file is, and giving back what is free in it.

use super::super::StoreError;
use crate::types::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// `PRAGMA auto_vacuum` of a file that can shrink a step at a time.
const INCREMENTAL: i64 = 2;
/// A file that is made anew needs so many times its size beside it: once the new one, once its log.
const ROOM: u64 = 2;

/// How large the database is, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Of the file, its log apart.
    pub bytes: u64,
    /// Of these, free to be written to.
    pub free: u64,
    /// Whether free ones are given back to the disk.
    pub shrinks: bool,
    /// When the oldest row of each table is of; tables without rows are left out.
    pub oldest: BTreeMap<&'static str, Timestamp>,
    /// What was removed over all runs, by table and reason (`alerts.age`); `unread.NAME` for what a reader never saw.
    pub removed: BTreeMap<String, u64>,
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(&format!("PRAGMA {pragma}"))?
        .query_row([], |row| row.get(0))
}

/// Bytes of pages that hold something.
pub(super) fn in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = number(connection, "page_count")? - number(connection, "freelist_count")?;
    Ok((pages * number(connection, "page_size")?).max(0) as u64)
}

pub(super) fn of(connection: &Connection) -> rusqlite::Result<Space> {
    let page = number(connection, "page_size")?;
    let bytes = |pages: i64| (pages * page).max(0) as u64;
    let mut oldest = BTreeMap::new();
    for (table, sql) in [
        ("alerts", "SELECT min(at) FROM alerts"),
        ("investigations", "SELECT min(at) FROM investigations"),
        ("decisions", "SELECT min(at) FROM decisions"),
        ("actions", "SELECT min(at) FROM actions"),
        ("audit", "SELECT at FROM audit ORDER BY seq LIMIT 1"),
    ] {
        let at: Option<Option<i64>> = connection
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))
            .optional()?;
        if let Some(at) = at.flatten() {
            oldest.insert(table, Timestamp(at));
        }
    }
    Ok(Space {
        bytes: bytes(number(connection, "page_count")?),
        free: bytes(number(connection, "freelist_count")?),
        shrinks: number(connection, "auto_vacuum")? == INCREMENTAL,
        oldest,
        removed: super::totals(connection)?,
    })
}

/// Gives some free pages back to the disk. Returns whether there are more than `spare` left and that got on.
pub(super) fn give_back(connection: &Connection, pages: u32, spare: i64) -> rusqlite::Result<bool> {
    if number(connection, "auto_vacuum")? != INCREMENTAL {
        return Ok(false);
    }
    let free = number(connection, "freelist_count")?;
    if free <= spare {
        return Ok(false);
    }
    // Each row it gives is one page given back.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    Ok(number(connection, "freelist_count")? < free)
}

/// Folds the log into the file, which shrinks only then. One that is being read stays until the next time.
pub(super) fn fold_log(connection: &Connection) -> rusqlite::Result<()> {
    // Nobody waits for readers here.
    connection.busy_timeout(Duration::ZERO)?;
    let folded = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(super::super::schema::BUSY)?;
    folded
}

/// Makes a file of an earlier release one that can shrink. Where there is no room for that the file stays as it is.
pub(in crate::store) fn convert(connection: &Connection, path: &Path) {
    match rebuild(connection, path) {
        Ok(None) => {}
        Ok(Some((took, bytes))) => tracing::info!(
            seconds = took.as_secs_f64(),
            bytes,
            "the database was made anew once, so that it can give space back from now on"
        ),
        Err(error) => tracing::warn!(
            %error,
            "the database cannot be made anew, so that it keeps its size when rows are removed; free twice its size on \
             its disk and where temporary files go, and it is tried again at the next start"
        ),
    }
}

fn rebuild(connection: &Connection, path: &Path) -> Result<Option<(Duration, u64)>, StoreError> {
    let read = |pragma| number(connection, pragma).map_err(StoreError::Read);
    if read("auto_vacuum")? == INCREMENTAL {
        return Ok(None);
    }
    let bytes = (read("page_count")? * read("page_size")?).max(0) as u64;
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
    let room = nix::sys::statvfs::statvfs(directory.unwrap_or(Path::new(".")))
        .map_or(0, |fs| fs.blocks_available() * fs.fragment_size());
    if room < bytes.saturating_mul(ROOM) {
        return Err(StoreError::NoRoom {
            needed: bytes.saturating_mul(ROOM),
            room,
        });
    }
    tracing::info!(
        bytes,
        "the database is made anew once; the start goes on when that is done"
    );
    let began = Instant::now();
    connection
        .execute_batch(&format!("PRAGMA auto_vacuum = {INCREMENTAL}; VACUUM;"))
        .map_err(StoreError::Read)?;
    fold_log(connection).map_err(StoreError::Read)?;
    Ok(Some((began.elapsed(), bytes)))
}
