//! How far consumers of alerts have come, and what they have not seen yet.

use super::operate::{keep as keep_text, kept};
use super::{AlertFilter, Store, StoreError, filter::Query};
use crate::types::Alert;
use rusqlite::{Connection, params};

impl Store {
    /// Alerts that arrived after the one with this number, the first `limit` of them, with their numbers. A row that cannot
    /// be understood is left out and logged.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn alerts_after(&self, seq: i64, limit: usize) -> Result<Vec<(i64, Alert)>, StoreError> {
        self.readers.with(move |c| alerts_after(c, seq, limit)).await
    }

    /// The number of the alert that arrived last, 0 where there was never any.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn newest_alert(&self) -> Result<i64, StoreError> {
        self.readers.with(newest_alert).await
    }

    /// How far a consumer of alerts has come, if it ever said so ([`Record::Cursor`]).
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn cursor(&self, name: &'static str) -> Result<Option<i64>, StoreError> {
        self.readers.with(move |c| cursor(c, name)).await
    }
}

/// Key in `meta` of a consumer's cursor.
fn key(name: &str) -> String {
    format!("cursor.{name}")
}

pub(super) fn keep(connection: &Connection, name: &str, seq: i64) -> rusqlite::Result<()> {
    keep_text(connection, &key(name), &seq.to_string())
}

/// Forgets how far readers have come that are not among these.
pub(super) fn keep_only(connection: &Connection, names: &[&'static str]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT key FROM meta WHERE key >= 'cursor.' AND key < 'cursor/'")?;
    let keys = statement.query_map([], |row| row.get::<_, String>(0))?;
    for known in keys.collect::<rusqlite::Result<Vec<_>>>()? {
        if !names.iter().any(|name| key(name) == known) {
            connection
                .prepare_cached("DELETE FROM meta WHERE key = ?1")?
                .execute([known])?;
        }
    }
    Ok(())
}

fn cursor(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let text = kept(connection, &key(name)).map_err(StoreError::Read)?;
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error: std::num::ParseIntError| {
            StoreError::Read(rusqlite::Error::FromSqlConversionFailure(
                0,
                rusqlite::types::Type::Text,
                error.into(),
            ))
        })
}

fn newest_alert(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM alerts")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(StoreError::Read)
}

fn alerts_after(connection: &Connection, seq: i64, limit: usize) -> Result<Vec<(i64, Alert)>, StoreError> {
    let some = || {
        let mut statement = connection.prepare_cached("SELECT seq, json FROM alerts WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = statement.query(params![seq])?;
        let mut alerts = Vec::new();
        while alerts.len() < limit
            && let Some(row) = rows.next()?
        {
            let seq = row.get(0)?;
            match AlertFilter::item(row) {
                Ok(alert) => alerts.push((seq, alert)),
                Err(error) => tracing::warn!(seq, %error, "an alert in the database cannot be understood"),
            }
        }
        Ok(alerts)
    };
    some().map_err(StoreError::Read)
}
