//! Reading: a few read-only connections, lent out one call at a time on blocking threads.

use super::filter::Query;
use super::{StoreError, ends, schema};
use crate::types::{ActionKind, Timestamp};
use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Readers at the same time; a further one waits.
pub(super) const READERS: usize = 4;

/// Lends connections.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, first: Option<Connection>) -> Self {
        Self {
            path,
            idle: Mutex::new(first.into_iter().collect()),
            turns: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Runs `work` on a connection, off the async threads. Work that is given up keeps its turn until it is over.
    pub(super) async fn with<T, F>(self: &Arc<Self>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => schema::read_connection(&readers.path).map_err(StoreError::Read)?,
            };
            let result = work(&connection);
            // A connection that failed may hold a stale view of a replaced file: the next one starts fresh.
            if result.is_ok() {
                let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < READERS {
                    idle.push(connection);
                }
            }
            result
        })
        .await
        .unwrap_or(Err(StoreError::Closed))
    }
}

/// One item by its identifier.
pub(super) fn by_id<Q: Query>(connection: &Connection, id: uuid::Uuid) -> Result<Option<Q::Item>, StoreError> {
    connection
        .prepare_cached(&format!("SELECT seq, {} FROM {} WHERE id = ?1", Q::COLUMNS, Q::TABLE))
        .and_then(|mut statement| statement.query_row([id.as_bytes()], Q::item).optional())
        .map_err(StoreError::Read)
}

/// Every decision in force, oldest first.
pub(super) fn active(connection: &Connection) -> Result<Vec<crate::types::Decision>, StoreError> {
    decisions(connection, ends::active(true))
}

/// Every decision that is over and on probation, oldest first.
pub(super) fn watched(connection: &Connection) -> Result<Vec<crate::types::Decision>, StoreError> {
    decisions(connection, ends::watched(true))
}

fn decisions(connection: &Connection, which: &str) -> Result<Vec<crate::types::Decision>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT seq, {} FROM decisions WHERE {which} ORDER BY seq",
            ends::OF_DECISION
        ))?;
        let rows = statement.query_map([], super::DecisionFilter::item)?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    all().map_err(StoreError::Read)
}

/// Whose decisions by detectors ran out; what was taken back later begins anew.
fn whose_ran_out() -> String {
    let expired = ends::decision_is("d", "expired");
    let deleted = ends::decision_is("later", "deleted");
    format!(
        "SELECT json_extract(json, '$.target'), count(*), max(expires_at) FROM decisions AS d
         WHERE {expired} AND origin = 'detector' AND expires_at > ?1
           AND coalesce(json_extract(json, '$.rate.openings'), 0) = 0
           AND NOT EXISTS (
             SELECT 1 FROM decisions AS later
             WHERE later.low = d.low AND later.high = d.high AND {deleted} AND later.seq > d.seq)
         GROUP BY low, high ORDER BY max(expires_at) DESC LIMIT ?2"
    )
}

pub(super) fn offenders(
    connection: &Connection,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<(IpNet, u32, Timestamp)>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached(&whose_ran_out())?;
        let rows = statement.query_map(rusqlite::params![since.0, limit as i64], |row| {
            let target: String = row.get(0)?;
            Ok((target, row.get(1)?, Timestamp(row.get(2)?)))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    let rows = all().map_err(StoreError::Read)?;
    // One unreadable target must not take the list away.
    let readable = |(target, times, last): (String, u32, Timestamp)| Some((target.parse().ok()?, times, last));
    Ok(rows.into_iter().filter_map(readable).collect())
}

/// The actions of these decisions, oldest first for each.
pub(super) fn actions_of(
    connection: &Connection,
    decisions: &[crate::types::DecisionId],
) -> Result<Vec<crate::types::Action>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT seq, {} FROM actions WHERE decision = ?1 ORDER BY seq",
            ends::OF_ACTION
        ))?;
        let mut actions = Vec::new();
        for id in decisions {
            let rows = statement.query_map([id.0.as_bytes()], super::ActionFilter::item)?;
            actions.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        Ok(actions)
    };
    all().map_err(StoreError::Read)
}

/// Actions of a kind that a room of its own carries out and that are not told to be over, oldest first, with what must be
/// put back.
pub(super) fn beside(
    connection: &Connection,
    kind: ActionKind,
) -> Result<Vec<(crate::types::Action, Option<String>)>, StoreError> {
    let all = || {
        let mut statement = connection.prepare_cached(
            "SELECT a.seq, a.json, NULL, u.json FROM actions a LEFT JOIN undos u ON u.action = a.id
             WHERE a.kind = ?1 AND a.status IN ('intent', 'enforced', 'simulated') ORDER BY a.seq",
        )?;
        let rows = statement.query_map([kind.as_str()], |row| {
            Ok((super::ActionFilter::item(row)?, row.get(3)?))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    all().map_err(StoreError::Read)
}

/// What must be put back when an action is undone.
pub(super) fn undo(connection: &Connection, action: crate::types::ActionId) -> Result<Option<String>, StoreError> {
    connection
        .prepare_cached("SELECT json FROM undos WHERE action = ?1")
        .and_then(|mut statement| statement.query_row([action.0.as_bytes()], |row| row.get(0)).optional())
        .map_err(StoreError::Read)
}
