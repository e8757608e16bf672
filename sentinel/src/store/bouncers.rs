//! What programs need that carry our decisions out elsewhere: what is in force, and what changed since they last asked.

use super::filter::{Clauses, Query, overlapping};
use super::insert::{json, range};
use super::{DecisionFilter, Store, StoreError, ends};
use crate::types::{Bouncer, Change, Changes, Decision, Numbered, TokenId};
use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension, Params, params};

/// Decisions that are told to have changed at most; of more, the latest.
pub const CHANGES_MAX: usize = 200_000;

impl Store {
    /// How far a bouncer has come; `None` where it never asked, or where what is kept of it cannot be read.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn bouncer(&self, token: TokenId) -> Result<Option<Bouncer>, StoreError> {
        self.readers.with(move |c| bouncer(c, &token)).await
    }

    /// Every decision in force that overlaps a prefix (all where there is none), oldest first, and the latest change there
    /// was by then.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn in_force(&self, on: Option<IpNet>) -> Result<(i64, Vec<Numbered>), StoreError> {
        self.readers.with(move |c| in_force(c, on)).await
    }

    /// What came or changed after a change; [`CHANGES_MAX`] decisions at most.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn changes_since(&self, change: i64, most: usize) -> Result<Changes, StoreError> {
        self.readers.with(move |c| changes(c, change, most)).await
    }
}

pub(super) fn keep(connection: &Connection, row: &Bouncer) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO bouncers (token, json) VALUES (?1, ?2)")?
        .execute([&row.token.0, &json(row)?])?;
    Ok(())
}

/// Whoever has no token any more is told nothing.
pub(super) fn forget(connection: &Connection, token: &TokenId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM bouncers WHERE token = ?1")?
        .execute([&token.0])?;
    Ok(())
}

fn bouncer(connection: &Connection, token: &TokenId) -> Result<Option<Bouncer>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT json FROM bouncers WHERE token = ?1")
        .and_then(|mut statement| statement.query_row([&token.0], |row| row.get(0)).optional())
        .map_err(StoreError::Read)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// One moment for all statements: a change that is numbered is also seen.
fn at_once<T>(connection: &Connection, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
    let whole = || {
        let moment = connection.unchecked_transaction()?;
        let result = read(&moment)?;
        moment.finish()?;
        Ok(result)
    };
    whole().map_err(StoreError::Read)
}

fn latest(connection: &Connection) -> rusqlite::Result<i64> {
    // What was given out, also where its row is gone.
    connection
        .prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)")?
        .query_row([], |row| row.get(0))
}

fn numbered(row: &rusqlite::Row<'_>) -> rusqlite::Result<Numbered> {
    Ok(Numbered {
        number: row.get(0)?,
        decision: DecisionFilter::item(row)?,
    })
}

fn rows(connection: &Connection, rest: &str, values: impl Params) -> rusqlite::Result<Vec<Numbered>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT seq, {} FROM decisions {rest}", ends::OF_DECISION))?;
    statement.query_map(values, numbered)?.collect()
}

fn in_force(connection: &Connection, on: Option<IpNet>) -> Result<(i64, Vec<Numbered>), StoreError> {
    at_once(connection, |connection| {
        let active = ends::active(ends::any(connection)?);
        let latest = latest(connection)?;
        let Some(net) = on else {
            return Ok((latest, rows(connection, &format!("WHERE {active} ORDER BY seq"), [])?));
        };
        let mut clauses = Clauses::default();
        clauses.and(active, []);
        let mut all = Vec::new();
        for part in overlapping(net, &clauses) {
            let rest = format!("INDEXED BY decisions_low {}", part.sql());
            all.extend(rows(connection, &rest, part.values())?);
        }
        all.sort_unstable_by_key(|one| one.number);
        Ok((latest, all))
    })
}

fn changes(connection: &Connection, since: i64, most: usize) -> Result<Changes, StoreError> {
    at_once(connection, |connection| {
        let latest = latest(connection)?;
        let mut found: Vec<(i64, Option<i64>)> = connection
            .prepare_cached("SELECT decision, born FROM changes WHERE change > ?1 ORDER BY change DESC LIMIT ?2")?
            .query_map(params![since, most as i64 + 1], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let cut = found.len() > most;
        found.truncate(most);
        found.reverse();
        let active = ends::active(ends::any(connection)?);
        let on_it = format!("INDEXED BY decisions_low WHERE low = ?1 AND high = ?2 AND seq <> ?3 AND {active}");
        let mut each = Vec::with_capacity(found.len());
        for (number, born) in found {
            for now in rows(connection, "WHERE seq = ?1", [number])? {
                let beside = beside(connection, &on_it, &now.decision, number)?;
                let came = born.is_none_or(|born| born > since);
                each.push(Change { now, came, beside });
            }
        }
        Ok(Changes { latest, each, cut })
    })
}

fn beside(connection: &Connection, on_it: &str, of: &Decision, number: i64) -> rusqlite::Result<Vec<Numbered>> {
    let (low, high) = range(of.target);
    rows(connection, on_it, params![low, high, number])
}
