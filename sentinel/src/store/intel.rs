//! Answers of intelligence sources and their spent quota, as rows.

use super::insert::{json, ordered};
use super::{Counters, StoreError};
use crate::types::{KeptAnswer, QuotaRow, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

/// Rows that one trim removes at most of each kind: the writer must not be kept from decisions.
const TRIM: i64 = 4096;

/// Writes an answer, unless a later one is there.
pub(super) fn keep_answer(connection: &Connection, kept: &KeptAnswer) -> rusqlite::Result<()> {
    let told = &kept.indicator;
    // JSON has no NaN: such a row could be written but not read back.
    if !told.score.is_finite() || !told.confidence.is_finite() {
        return Err(rusqlite::Error::ToSqlConversionFailure(
            "an indicator with a score or confidence that is no finite number".into(),
        ));
    }
    connection
        .prepare_cached(
            "INSERT INTO intel_cache (source, ip, asked_at, expires_at, json) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (source, ip) DO UPDATE SET asked_at = excluded.asked_at, expires_at = excluded.expires_at,
                 json = excluded.json WHERE excluded.asked_at >= asked_at",
        )?
        .execute(params![
            told.source,
            ordered(told.ip),
            told.asked_at.0,
            kept.expires_at.0,
            json(told)?,
        ])?;
    Ok(())
}

/// Writes what was spent. Commits of one period may overtake each other: the higher count is the later one.
pub(super) fn keep_quota(connection: &Connection, row: &QuotaRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO intel_quota (source, period, began_at, spent, allowed) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (source, period) DO UPDATE SET
                 spent = CASE WHEN excluded.began_at > began_at THEN excluded.spent ELSE max(spent, excluded.spent) END,
                 allowed = CASE WHEN excluded.began_at > began_at OR allowed < 0 THEN excluded.allowed
                     WHEN excluded.allowed < 0 THEN allowed ELSE min(allowed, excluded.allowed) END,
                 began_at = max(began_at, excluded.began_at)",
        )?
        .execute(params![
            row.source,
            row.period,
            row.began_at.0,
            row.spent.min(i64::MAX as u64) as i64,
            row.learned.map_or(-1, |n| n.min(i64::MAX as u64) as i64),
        ])?;
    Ok(())
}

/// Removes what is too old and what is too much, the soonest to end first, and counts it.
pub(super) fn trim(connection: &Connection, counters: &Counters, now: Timestamp, rows: u64) -> rusqlite::Result<()> {
    let expired = connection
        .prepare_cached(
            "DELETE FROM intel_cache WHERE (source, ip) IN (SELECT source, ip FROM intel_cache
                 WHERE expires_at < ?1 AND ?1 - expires_at > 3 * (expires_at - asked_at) LIMIT ?2)",
        )?
        .execute(params![now.0, TRIM])?;
    let held: i64 = connection
        .prepare_cached("SELECT count(*) FROM intel_cache")?
        .query_row([], |row| row.get(0))?;
    let beyond = held
        .saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX))
        .clamp(0, TRIM);
    if beyond > 0 {
        connection
            .prepare_cached(
                "DELETE FROM intel_cache WHERE (source, ip) IN
                     (SELECT source, ip FROM intel_cache ORDER BY expires_at LIMIT ?1)",
            )?
            .execute(params![beyond])?;
    }
    counters.intel_expired.fetch_add(expired as u64, Relaxed);
    counters.intel_evicted.fetch_add(beyond as u64, Relaxed);
    Ok(())
}

/// What a source last said of an address.
pub(super) fn answer(connection: &Connection, source: &str, ip: IpAddr) -> Result<Option<KeptAnswer>, StoreError> {
    let found = connection
        .prepare_cached("SELECT expires_at, json FROM intel_cache WHERE source = ?1 AND ip = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(params![source, ordered(ip)], |row| {
                    Ok((Timestamp(row.get(0)?), row.get::<_, String>(1)?))
                })
                .optional()
        })
        .map_err(StoreError::Read)?;
    Ok(found.and_then(|(expires_at, text)| {
        let indicator = serde_json::from_str(&text)
            .inspect_err(|error| tracing::warn!(source, %error, "an unreadable answer was left out"))
            .ok()?;
        Some(KeptAnswer { indicator, expires_at })
    }))
}

/// What was spent of a source's quota.
pub(super) fn quota(connection: &Connection, source: &str) -> Result<Vec<QuotaRow>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached(
            "SELECT period, began_at, spent, allowed FROM intel_quota WHERE source = ?1 ORDER BY period",
        )?;
        let rows = statement.query_map([source], |row| {
            Ok(QuotaRow {
                source: source.to_owned(),
                period: row.get(0)?,
                began_at: Timestamp(row.get(1)?),
                spent: row.get::<_, i64>(2)?.max(0) as u64,
                learned: u64::try_from(row.get::<_, i64>(3)?).ok(),
            })
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    all().map_err(StoreError::Read)
}
