//! Tokens and sessions.

use super::insert::json;
use super::{StoreError, bouncers};
use crate::types::{Session, Token};
use rusqlite::Connection;
use serde::de::DeserializeOwned;

pub(super) fn keep_token(connection: &Connection, token: &Token) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO tokens (id, json) VALUES (?1, ?2)")?
        .execute([&token.id.0, &json(token)?])?;
    if token.revoked_at.is_some() {
        bouncers::forget(connection, &token.id)?;
    }
    Ok(())
}

pub(super) fn keep_session(connection: &Connection, session: &Session) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO sessions (digest, json) VALUES (?1, ?2)")?
        .execute([&session.digest, &json(session)?])?;
    Ok(())
}

pub(super) fn end_session(connection: &Connection, digest: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM sessions WHERE digest = ?1")?
        .execute([digest])?;
    Ok(())
}

pub(super) fn tokens(connection: &Connection) -> Result<Vec<Token>, StoreError> {
    all(connection, "SELECT json FROM tokens ORDER BY id")
}

pub(super) fn sessions(connection: &Connection) -> Result<Vec<Session>, StoreError> {
    all(connection, "SELECT json FROM sessions ORDER BY digest")
}

/// What can be read; a row that cannot opens nothing.
fn all<T: DeserializeOwned>(connection: &Connection, sql: &str) -> Result<Vec<T>, StoreError> {
    let read = || -> rusqlite::Result<Vec<String>> {
        connection
            .prepare_cached(sql)?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    let rows = read().map_err(StoreError::Read)?;
    let parsed = |text: String| {
        serde_json::from_str(&text)
            .inspect_err(|error| tracing::warn!(%error, "an unreadable row of tokens or sessions is left out"))
            .ok()
    };
    Ok(rows.into_iter().filter_map(parsed).collect())
}
