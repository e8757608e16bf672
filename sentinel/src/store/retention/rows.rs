//! Which rows go: alerts, investigations, and decisions with all that belongs to them.

use super::LOOKED_AT;
use crate::types::{Decision, Timestamp};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::time::Instant;

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Alerts,
    Investigations,
    Decisions,
}

impl Kind {
    const fn table(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Investigations => "investigations",
            Self::Decisions => "decisions",
        }
    }
}

/// How far a table was gone through in the order of time: `skip` rows of the instant `at` stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    at: i64,
    skip: i64,
}

impl Default for Place {
    fn default() -> Self {
        Self { at: i64::MIN, skip: 0 }
    }
}

impl Place {
    /// Goes on behind a row that stays.
    fn pass(&mut self, at: i64) {
        if at == self.at {
            self.skip += 1;
        } else {
            *self = Self { at, skip: 1 };
        }
    }
}

/// Rows that went, by table; and those of them that a reader had not come to, by reader.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) rows: BTreeMap<&'static str, u64>,
    pub(super) unread: BTreeMap<String, u64>,
}

impl Removed {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn count(&mut self, table: &'static str, rows: u64) {
        if rows > 0 {
            *self.rows.entry(table).or_default() += rows;
        }
    }
}

/// The next rows in the order of time: number by arrival, and time.
fn next(
    connection: &Connection,
    kind: Kind,
    place: Place,
    before: i64,
    most: usize,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let table = kind.table();
    connection
        .prepare_cached(&format!(
            "SELECT seq, at FROM {table} INDEXED BY {table}_at WHERE at >= ?1 AND at < ?2 ORDER BY at LIMIT ?3 OFFSET ?4"
        ))?
        .query_map(params![place.at, before, most as i64, place.skip], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect()
}

/// The number of the row that came last.
fn newest(connection: &Connection, table: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(&format!("SELECT coalesce(max(seq), 0) FROM {table}"))?
        .query_row([], |row| row.get(0))
}

/// How far each reader has come by arrival: they keep that in `meta`, under `cursor.` and their name, as decimal text.
fn cursors(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    connection
        .prepare_cached("SELECT key, value FROM meta WHERE key >= 'cursor.' AND key < 'cursor/'")?
        .query_map([], |row| {
            let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
            // One that cannot be read has come to nothing: it holds everything back, and that is seen.
            let name = key.strip_prefix("cursor.").unwrap_or(&key).to_owned();
            Ok((name, value.trim().parse().unwrap_or(0)))
        })?
        .collect()
}

/// Removes what is older, for some time. Returns whether there is more to go through.
pub(super) fn aged(
    connection: &Connection,
    kind: Kind,
    place: &mut Place,
    before: Timestamp,
    until: Instant,
    removed: &mut Removed,
) -> rusqlite::Result<bool> {
    let found = next(connection, kind, *place, before.0, LOOKED_AT)?;
    let newest = newest(connection, kind.table())?;
    let last_action = newest_action(connection, kind)?;
    let read = match kind {
        Kind::Alerts => cursors(connection)?
            .into_iter()
            .map(|(_, seq)| seq)
            .min()
            .unwrap_or(i64::MAX),
        _ => i64::MAX,
    };
    let all = found.len();
    for (n, (seq, at)) in found.into_iter().enumerate() {
        if n > 0 && Instant::now() >= until {
            return Ok(true);
        }
        let stays = seq >= newest || seq > read;
        let gone = !stays
            && match kind {
                Kind::Alerts => alert(connection, seq, removed)?,
                Kind::Investigations => investigation(connection, seq, removed)?,
                Kind::Decisions => decision(connection, seq, Some(before), last_action, removed)?,
            };
        if !gone {
            place.pass(at);
        }
    }
    if all == LOOKED_AT {
        return Ok(true);
    }
    if kind == Kind::Alerts {
        forget_hours(connection, before)?;
    }
    Ok(false)
}

fn newest_action(connection: &Connection, kind: Kind) -> rusqlite::Result<i64> {
    match kind {
        Kind::Decisions => newest(connection, "actions"),
        _ => Ok(0),
    }
}

/// Removes the oldest of both, whatever their age, for some time. Returns whether there is more to go through.
pub(super) fn oldest(
    connection: &Connection,
    alerts: &mut Place,
    investigations: &mut Place,
    until: Instant,
    removed: &mut Removed,
) -> rusqlite::Result<bool> {
    let of = |kind, place: Place| next(connection, kind, place, i64::MAX, LOOKED_AT / 4);
    let mut left = of(Kind::Alerts, *alerts)?.into_iter().peekable();
    let mut right = of(Kind::Investigations, *investigations)?.into_iter().peekable();
    if left.peek().is_none() && right.peek().is_none() {
        forget_hours(connection, Timestamp(i64::MAX))?;
        return Ok(false);
    }
    let (last_alert, last_found) = (newest(connection, "alerts")?, newest(connection, "investigations")?);
    let readers = cursors(connection)?;
    // Of the one that runs out first there may be more: no further than that.
    let mut any = false;
    while !any || Instant::now() < until {
        any = true;
        let alert_first = match (left.peek(), right.peek()) {
            (Some((_, a)), Some((_, b))) => a <= b,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        if alert_first {
            let Some((seq, at)) = left.next() else { break };
            if seq < last_alert && alert(connection, seq, removed)? {
                for (name, _) in readers.iter().filter(|(_, read)| seq > *read) {
                    *removed.unread.entry(name.clone()).or_default() += 1;
                }
            } else {
                alerts.pass(at);
            }
            if left.peek().is_none() {
                break;
            }
        } else {
            let Some((seq, at)) = right.next() else { break };
            if seq >= last_found || !investigation(connection, seq, removed)? {
                investigations.pass(at);
            }
            if right.peek().is_none() {
                break;
            }
        }
    }
    Ok(true)
}

/// Removes the oldest decisions that are over, for some time. Returns whether there is more to go through.
pub(super) fn over(
    connection: &Connection,
    place: &mut Place,
    until: Instant,
    removed: &mut Removed,
) -> rusqlite::Result<bool> {
    let found = next(connection, Kind::Decisions, *place, i64::MAX, LOOKED_AT / 4)?;
    let (newest, last_action) = (newest(connection, "decisions")?, newest(connection, "actions")?);
    let any = !found.is_empty();
    for (n, (seq, at)) in found.into_iter().enumerate() {
        if n > 0 && Instant::now() >= until {
            break;
        }
        if seq >= newest || !decision(connection, seq, None, last_action, removed)? {
            place.pass(at);
        }
    }
    Ok(any)
}

/// Totals of hours without alerts tell nothing.
fn forget_hours(connection: &Connection, before: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM alert_hours WHERE alerts <= 0 AND hour < ?1")?
        .execute([before.0 / super::super::alerts::HOUR])?;
    Ok(())
}

fn alert(connection: &Connection, seq: i64, removed: &mut Removed) -> rusqlite::Result<bool> {
    let rows = connection
        .prepare_cached("DELETE FROM alerts WHERE seq = ?1")?
        .execute([seq])?;
    removed.count("alerts", rows as u64);
    Ok(rows > 0)
}

/// One that is still open stays.
fn investigation(connection: &Connection, seq: i64, removed: &mut Removed) -> rusqlite::Result<bool> {
    let rows = connection
        .prepare_cached("DELETE FROM investigations WHERE seq = ?1 AND state <> 'open'")?
        .execute([seq])?;
    removed.count("investigations", rows as u64);
    Ok(rows > 0)
}

/// Removes a decision with all that belongs to it, unless it has to stay. `before`: only one that ended before, and
/// whose alert is gone.
fn decision(
    connection: &Connection,
    seq: i64,
    before: Option<Timestamp>,
    last_action: i64,
    removed: &mut Removed,
) -> rusqlite::Result<bool> {
    let (id, json, stays): ([u8; 16], String, bool) = connection
        .prepare_cached(
            "SELECT id, json,
                    status = 'active' OR watch_until IS NOT NULL
                    OR EXISTS (SELECT 1 FROM ends WHERE decision = d.id)
                    OR EXISTS (SELECT 1 FROM actions WHERE decision = d.id AND (seq = ?2 OR
                        kind IN ('isolate_container', 'arp_ban') AND status IN ('intent', 'enforced', 'simulated')))
                    OR ?3 AND alert IS NOT NULL AND EXISTS (SELECT 1 FROM alerts WHERE id = d.alert)
             FROM decisions AS d WHERE seq = ?1",
        )?
        .query_row(params![seq, last_action, before.is_some()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if stays {
        return Ok(false);
    }
    if let Some(before) = before {
        // When one that cannot be read ended nobody knows: it stays.
        let Ok(told) = serde_json::from_str::<Decision>(&json) else {
            return Ok(false);
        };
        if told.ended_at.or(told.expires_at).unwrap_or(told.at).max(told.at) >= before {
            return Ok(false);
        }
    }
    let all = |sql: &str| connection.prepare_cached(sql)?.execute([id]);
    all("DELETE FROM undos WHERE action IN (SELECT id FROM actions WHERE decision = ?1)")?;
    removed.count("actions", all("DELETE FROM actions WHERE decision = ?1")? as u64);
    let ground: Vec<Vec<u8>> = connection
        .prepare_cached("DELETE FROM proofs WHERE decision = ?1 RETURNING ground")?
        .query_map([id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for ground in ground {
        connection
            .prepare_cached(
                "DELETE FROM grounds WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM proofs WHERE ground = ?1)",
            )?
            .execute([ground])?;
    }
    all("DELETE FROM tallies WHERE decision = ?1")?;
    all("DELETE FROM bystanders WHERE decision = ?1")?;
    removed.count("decisions", all("DELETE FROM decisions WHERE id = ?1")? as u64);
    Ok(true)
}
