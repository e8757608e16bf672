//! What operators set: the stop, the allowlist, the settings of the latest start; and what simulation has counted.

use super::StoreError;
use super::insert::json;
use crate::types::{Allowed, Bystander, DecisionId, Stop, Tally, Timestamp};
use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;

/// Key in `meta` of who stopped acting.
const ACTING: &str = "acting";
/// Key in `meta` of the settings of the latest start.
pub(super) const SETTINGS: &str = "settings";
/// Key in `meta` of the run of a scheduled report that was made last, ns since 1970.
const REPORTED: &str = "reports.made";
/// Sources told of one decision; those with most sessions.
const BYSTANDERS: usize = 64;

pub(super) fn keep(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute([key, value])?;
    Ok(())
}

pub(super) fn kept(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

pub(super) fn keep_stop(connection: &Connection, stop: Option<&Stop>) -> rusqlite::Result<()> {
    match stop {
        Some(stop) => keep(connection, ACTING, &json(stop)?),
        None => connection
            .prepare_cached("DELETE FROM meta WHERE key = ?1")?
            .execute([ACTING])
            .map(|_| ()),
    }
}

pub(super) fn stop(connection: &Connection) -> Result<Option<Stop>, StoreError> {
    let read = || {
        let Some(text) = kept(connection, ACTING)? else {
            return Ok(None);
        };
        parsed(&text).map(Some)
    };
    read().map_err(StoreError::Read)
}

pub(super) fn keep_report(connection: &Connection, run: Timestamp) -> rusqlite::Result<()> {
    keep(connection, REPORTED, &run.0.to_string())
}

/// One that cannot be read is none.
pub(super) fn last_report(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let kept = kept(connection, REPORTED).map_err(StoreError::Read)?;
    Ok(kept.and_then(|text| text.parse().ok()).map(Timestamp))
}

pub(super) fn settings(connection: &Connection) -> Result<Option<String>, StoreError> {
    kept(connection, SETTINGS).map_err(StoreError::Read)
}

fn parsed<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, e.into()))
}

pub(super) fn allow(connection: &Connection, entry: &Allowed) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO allowlist (target, expires_at, json) VALUES (?1, ?2, ?3)")?
        .execute(params![
            entry.target.to_string(),
            entry.expires_at.map(|at| at.0),
            json(entry)?
        ])?;
    Ok(())
}

pub(super) fn disallow(connection: &Connection, target: IpNet) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM allowlist WHERE target = ?1")?
        .execute([target.to_string()])?;
    Ok(())
}

pub(super) fn allowlist(connection: &Connection) -> Result<Vec<Allowed>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached("SELECT json FROM allowlist ORDER BY target")?;
        let rows = statement.query_map([], |row| parsed(row.get_ref(0)?.as_str()?))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    all().map_err(StoreError::Read)
}

pub(super) fn keep_tally(connection: &Connection, tally: &Tally) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO tallies (decision, at, json) VALUES (?1, ?2, ?3)")?
        .execute(params![tally.decision.0.as_bytes(), tally.at.0, json(tally)?])?;
    Ok(())
}

pub(super) fn tallies(connection: &Connection, decisions: &[DecisionId]) -> Result<Vec<Tally>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached("SELECT json FROM tallies WHERE decision = ?1")?;
        let mut tallies = Vec::new();
        for id in decisions {
            let rows = statement.query_map([id.0.as_bytes()], |row| parsed(row.get_ref(0)?.as_str()?))?;
            tallies.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        Ok(tallies)
    };
    all().map_err(StoreError::Read)
}

/// Tallies that moved since then, the latest first.
pub(super) fn moved(connection: &Connection, since: Timestamp, limit: usize) -> Result<Vec<Tally>, StoreError> {
    let all = || {
        let mut statement =
            connection.prepare_cached("SELECT json FROM tallies WHERE at >= ?1 ORDER BY at DESC LIMIT ?2")?;
        let rows = statement.query_map(params![since.0, limit as i64], |row| parsed(row.get_ref(0)?.as_str()?))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    all().map_err(StoreError::Read)
}

/// Adds what came to what is known.
pub(super) fn keep_bystander(connection: &Connection, source: &Bystander) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO bystanders (decision, ip, sessions, first, last) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (decision, ip) DO UPDATE SET sessions = sessions + excluded.sessions,
                 first = min(first, excluded.first), last = max(last, excluded.last)",
        )?
        .execute(params![
            source.decision.0.as_bytes(),
            source.ip.to_string(),
            source.sessions as i64,
            source.first.0,
            source.last.0,
        ])?;
    Ok(())
}

pub(super) fn bystanders(connection: &Connection, decisions: &[DecisionId]) -> Result<Vec<Bystander>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT ip, sessions, first, last FROM bystanders WHERE decision = ?1
             ORDER BY sessions DESC, ip LIMIT {BYSTANDERS}"
        ))?;
        let mut sources = Vec::new();
        for id in decisions {
            let mut rows = statement.query([id.0.as_bytes()])?;
            while let Some(row) = rows.next()? {
                let Ok(ip) = row.get_ref(0)?.as_str()?.parse() else {
                    continue;
                };
                sources.push(Bystander {
                    decision: *id,
                    ip,
                    sessions: row.get::<_, i64>(1)?.max(0) as u64,
                    first: Timestamp(row.get(2)?),
                    last: Timestamp(row.get(3)?),
                });
            }
        }
        Ok(sources)
    };
    all().map_err(StoreError::Read)
}
