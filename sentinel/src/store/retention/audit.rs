//! The beginning of the audit may go: where it ends is named in a line of the audit first, and noted in `meta` with the
//! rows that go.

use super::super::audit::{Anchor, Head};
use crate::types::{Timestamp, hex};
use rusqlite::{Connection, params};
use std::time::Duration;

/// Rows looked at in one step.
const LOOKED_AT: i64 = 2_000;
/// So much longer than asked for they may stay, so that the audit is not mostly about itself.
const SLACK: Duration = Duration::from_hours(24);

/// How far was looked, by number; `None` before the first look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seek(Option<i64>);

/// The last row that goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    seq: i64,
    hash: [u8; 32],
}

/// What looking for it came to.
pub(super) enum Sought {
    Further,
    Nothing,
    Up(Target),
}

/// Looks for the last of the rows from the beginning on that are all older.
pub(super) fn seek(connection: &Connection, seek: &mut Seek, before: Timestamp) -> rusqlite::Result<Sought> {
    let anchor = Anchor::load(connection)?;
    let from = if let Some(from) = seek.0 {
        from
    } else {
        let oldest: Option<i64> = connection
            .prepare_cached("SELECT min(at) FROM (SELECT at FROM audit ORDER BY seq LIMIT 1)")?
            .query_row([], |row| row.get(0))?;
        if oldest.is_none_or(|at| at >= before.before(SLACK).0) {
            return Ok(Sought::Nothing);
        }
        anchor.seq
    };
    let next: Vec<(i64, i64)> = connection
        .prepare_cached("SELECT seq, at FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
        .query_map(params![from, LOOKED_AT], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let old = next.iter().take_while(|(_, at)| *at < before.0).count();
    let last = old
        .checked_sub(1)
        .and_then(|last| next.get(last))
        .map_or(from, |row| row.0);
    if old == LOOKED_AT as usize {
        *seek = Seek(Some(last));
        return Ok(Sought::Further);
    }
    // The end of the chain stays, whatever its age.
    let last = if old == next.len() { last - 1 } else { last };
    if last <= anchor.seq {
        return Ok(Sought::Nothing);
    }
    let hash = connection.query_row("SELECT hash FROM audit WHERE seq = ?1", [last], |row| row.get(0))?;
    Ok(Sought::Up(Target { seq: last, hash }))
}

/// Writes into the audit what will go of it.
pub(super) fn announce(
    connection: &Connection,
    head: &mut Head,
    target: Target,
    before: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let first = Anchor::load(connection)?.seq + 1;
    let subject = format!("rows {first} to {}", target.seq);
    let detail = format!(
        "older than {before}, as `store.retention.audit` says; the hash of row {} is {}",
        target.seq,
        hex(&target.hash)
    );
    head.append(connection, now, [Anchor::ACTOR, Anchor::VERB, &subject, &detail])?;
    head.save(connection)
}

/// Removes some of them; the anchor goes with them. Returns how many, and whether there are more.
pub(super) fn remove(connection: &Connection, target: Target, most: usize) -> rusqlite::Result<(u64, bool)> {
    let anchor = Anchor::load(connection)?;
    let last = target.seq.min(anchor.seq + most as i64);
    let hash = connection
        .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?
        .query_row([last], |row| row.get(0))?;
    let rows = connection
        .prepare_cached("DELETE FROM audit WHERE seq <= ?1")?
        .execute([last])?;
    Anchor { seq: last, hash }.save(connection)?;
    Ok((rows as u64, last < target.seq))
}
