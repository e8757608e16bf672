//! Messages to people: put down with the alerts they are about, taken off when a channel took them.

use super::insert::json;
use super::operate::{keep, kept};
use super::{Store, StoreError};
use crate::types::{ChannelKind, Message, MessageId, MessageRow, MessageState, Routed, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;
use std::time::Duration;

/// Name of the router's cursor among the alerts.
pub const ROUTER: &str = "notify";

/// Key in `meta` of the router's books.
const BOOKS: &str = "notify_books";

/// How long a message that is over is kept.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// The same, however many there are in that time.
const KEPT_ROWS: i64 = 100_000;

impl Store {
    /// The oldest messages that wait for a channel.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn next_messages(&self, channel: ChannelKind, limit: usize) -> Result<Vec<Message>, StoreError> {
        self.readers.with(move |c| next(c, channel, limit)).await
    }

    /// How many messages wait, by channel.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn messages_waiting(&self) -> Result<BTreeMap<ChannelKind, u64>, StoreError> {
        self.readers.with(waiting).await
    }

    /// The latest messages, of one channel or of all, newest first.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn latest_messages(
        &self,
        channel: Option<ChannelKind>,
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        self.readers.with(move |c| latest(c, channel, limit)).await
    }

    /// The books of the router of alerts, as it last wrote them.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn router_books(&self) -> Result<Option<String>, StoreError> {
        self.readers.with(books).await
    }
}

/// What the router did: where it stands, its books and its messages, all or nothing.
pub(super) fn keep_routed(connection: &Connection, routed: &Routed) -> rusqlite::Result<()> {
    super::cursors::keep(connection, ROUTER, routed.cursor)?;
    keep(connection, BOOKS, &routed.books)?;
    routed
        .messages
        .iter()
        .try_for_each(|message| put_down(connection, message))
}

/// Puts a message down; one that is there already is left as it is.
pub(super) fn put_down(connection: &Connection, message: &Message) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO messages (id, channel, due, state, state_at, json) VALUES (?1, ?2, ?3, 'waiting', ?4, ?5)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            message.id.0.as_bytes(),
            message.channel.as_str(),
            message.due.0,
            message.at.0,
            json(message)?
        ])?;
    Ok(())
}

/// Notes what became of a message, and forgets those that have been over for long.
pub(super) fn settle(
    connection: &Connection,
    id: MessageId,
    at: Timestamp,
    state: MessageState,
    cause: Option<&str>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE messages SET state = ?2, state_at = ?3, cause = ?4 WHERE id = ?1")?
        .execute(params![id.0.as_bytes(), state.as_str(), at.0, cause])?;
    connection
        .prepare_cached(
            "DELETE FROM messages WHERE seq IN
                 (SELECT seq FROM messages WHERE state <> 'waiting' AND state_at < ?1 ORDER BY state_at LIMIT 64)",
        )?
        .execute([at.before(KEPT).0])?;
    connection
        .prepare_cached(
            "DELETE FROM messages WHERE state <> 'waiting' AND seq <= (SELECT max(seq) FROM messages) - ?1",
        )?
        .execute([KEPT_ROWS])?;
    Ok(())
}

fn next(connection: &Connection, channel: ChannelKind, limit: usize) -> Result<Vec<Message>, StoreError> {
    let read = || {
        let mut statement = connection.prepare_cached(
            "SELECT json FROM messages WHERE channel = ?1 AND state = 'waiting' ORDER BY seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![channel.as_str(), limit as i64], |row| parsed(row, 0))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(StoreError::Read)
}

/// How many wait, by channel.
fn waiting(connection: &Connection) -> Result<BTreeMap<ChannelKind, u64>, StoreError> {
    let read = || {
        let mut statement = connection
            .prepare_cached("SELECT channel, count(*) FROM messages WHERE state = 'waiting' GROUP BY channel")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let mut waiting = BTreeMap::new();
        for row in rows {
            let (name, count) = row?;
            if let Some(channel) = ChannelKind::named(&name) {
                waiting.insert(channel, count.max(0) as u64);
            }
        }
        Ok(waiting)
    };
    read().map_err(StoreError::Read)
}

/// The latest messages, newest first.
fn latest(connection: &Connection, channel: Option<ChannelKind>, limit: usize) -> Result<Vec<MessageRow>, StoreError> {
    let read = || {
        let mut statement = connection.prepare_cached(
            "SELECT json, state, state_at, cause FROM messages WHERE ?1 IS NULL OR channel = ?1 ORDER BY seq DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![channel.map(ChannelKind::as_str), limit as i64], |row| {
            let state = match row.get::<_, String>(1)?.as_str() {
                "sent" => MessageState::Sent,
                "refused" => MessageState::Refused,
                _ => MessageState::Waiting,
            };
            Ok(MessageRow {
                message: parsed(row, 0)?,
                state,
                state_at: Timestamp(row.get(2)?),
                cause: row.get(3)?,
            })
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(StoreError::Read)
}

/// The router's books, as it wrote them.
fn books(connection: &Connection) -> Result<Option<String>, StoreError> {
    kept(connection, BOOKS).map_err(StoreError::Read)
}

fn parsed(row: &Row<'_>, column: usize) -> rusqlite::Result<Message> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e.into()))
}
