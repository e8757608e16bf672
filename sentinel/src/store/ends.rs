//! Decisions that ended together: durable at once as small rows, which every reader looks through, and worked into the
//! rows of the decisions and their actions while nothing else is to be written.
//!
//! An end of 100,000 decisions changes 200,000 rows of some hundred bytes; whoever commanded it does not wait for that.

use super::insert::{upsert_action, upsert_decision, word};
use crate::types::{Action, ActionStatus, Decision, DecisionId, DecisionStatus, Ended, Ending, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Decisions worked in by one transaction; a commit that comes meanwhile waits for it.
pub(super) const FOLD: usize = 512;

/// Actions that are done beside the kernel, by rooms of their own ([`crate::types::ActionKind::beside`]).
pub(super) const BESIDE: &str = "kind IN ('isolate_container', 'arp_ban')";

/// A row's JSON, and the end that is told apart from it of the decision that the column names.
macro_rules! with_end_of {
    ($decision:literal) => {
        concat!(
            "json, (SELECT json_array(g.at, g.status, g.cause, e.watch_until, e.hits, e.would_hits)
             FROM ends e JOIN endings g ON g.batch = e.batch WHERE e.decision = ",
            $decision,
            ")"
        )
    };
}

/// The end of the decision in a row of `decisions`, where its own row does not tell it yet.
pub(super) const OF_DECISION: &str = with_end_of!("decisions.id");

/// The same of the decision of a row of `actions`.
pub(super) const OF_ACTION: &str = with_end_of!("actions.decision");

/// Whether there are ends that their own rows do not tell yet: mostly there are none, and nobody need look for them.
pub(super) fn any(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM ends)")?
        .query_row([], |row| row.get(0))
}

/// In force, also by what its own row does not tell yet where there may be such. The words are those of the index.
pub(super) const fn active(told_apart: bool) -> &'static str {
    if told_apart {
        "status = 'active' AND NOT EXISTS (SELECT 1 FROM ends WHERE decision = decisions.id)"
    } else {
        "status = 'active'"
    }
}

/// The opposite.
pub(super) const fn over(told_apart: bool) -> &'static str {
    if told_apart {
        "(status <> 'active' OR EXISTS (SELECT 1 FROM ends WHERE decision = decisions.id))"
    } else {
        "status <> 'active'"
    }
}

/// Over and on probation. The words are those of the index.
pub(super) const fn watched(told_apart: bool) -> &'static str {
    if told_apart {
        "(watch_until IS NOT NULL OR id IN (SELECT decision FROM ends WHERE watch_until IS NOT NULL))"
    } else {
        "watch_until IS NOT NULL"
    }
}

/// Whether a decision of `decisions` under this name ended as the word says, also by what its own row does not tell yet.
pub(super) fn decision_is(name: &str, word: &'static str) -> String {
    let ends = "ends e JOIN endings g ON g.batch = e.batch";
    format!(
        "({name}.status = '{word}' OR EXISTS (SELECT 1 FROM {ends} WHERE e.decision = {name}.id AND g.status = '{word}'))"
    )
}

/// Where a decision of `decisions` under this name stands, also by what its own row does not tell yet.
pub(super) fn status_of(name: &str) -> String {
    let ends = "ends e JOIN endings g ON g.batch = e.batch";
    format!("coalesce((SELECT g.status FROM {ends} WHERE e.decision = {name}.id), {name}.status)")
}

/// Whether an action got as far as `status`, whose word is the one value, also by what its own row does not tell yet
/// where there may be such.
pub(super) fn action_is(status: ActionStatus, told_apart: bool) -> String {
    if !told_apart {
        return "status = ?".to_owned();
    }
    let end = "SELECT 1 FROM ends e JOIN endings g ON g.batch = e.batch WHERE e.decision = actions.decision";
    let ended = |word| {
        format!(
            "(status = ? OR (status IN ('intent', 'enforced', 'simulated') AND NOT {BESIDE} AND EXISTS ({end} AND g.status {word} 'expired')))"
        )
    };
    match status {
        ActionStatus::Expired => ended("="),
        ActionStatus::Reverted => ended("<>"),
        status if status.stands() => format!("status = ? AND ({BESIDE} OR NOT EXISTS ({end}))"),
        _ => "status = ?".to_owned(),
    }
}

/// Ends that are told apart from the row.
type Told = (i64, DecisionStatus, String, Option<i64>, u64, u64);

/// Keeps how decisions ended together.
pub(super) fn keep(connection: &Connection, ended: &Ended) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO endings (at, status, cause) VALUES (?1, ?2, ?3)")?
        .execute(params![ended.at.0, word(&ended.status)?, ended.by])?;
    let batch = connection.last_insert_rowid();
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO ends (decision, batch, watch_until, hits, would_hits) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut each: Vec<_> = ended.each.iter().collect();
    // In the order of the table.
    each.sort_unstable_by_key(|one| one.decision.0);
    for one in each {
        insert.execute(params![
            one.decision.0.as_bytes(),
            batch,
            one.watch_until.map(|at| at.0),
            one.hits as i64,
            one.would_hits as i64,
        ])?;
    }
    Ok(())
}

/// Works the ends of so many decisions into their rows and their actions'. Returns whether there may be more.
pub(super) fn fold(connection: &Connection, most: usize) -> rusqlite::Result<bool> {
    let ids = connection
        .prepare_cached("SELECT decision FROM ends LIMIT ?1")?
        .query_map([most as i64], |row| {
            let id: [u8; 16] = row.get(0)?;
            Ok(DecisionId(uuid::Uuid::from_bytes(id)))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for id in &ids {
        work_in(connection, *id)?;
    }
    if ids.len() < most {
        connection.execute("DELETE FROM endings", [])?;
        return Ok(false);
    }
    Ok(true)
}

/// Works a decision's end in, before something newer is written of the decision or its action.
pub(super) fn work_in(connection: &Connection, id: DecisionId) -> rusqlite::Result<()> {
    let key = id.0.as_bytes();
    let found = connection
        .prepare_cached("DELETE FROM ends WHERE decision = ?1 RETURNING batch, watch_until, hits, would_hits")?
        .query_row([key], |row| {
            let (batch, watch): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok((batch, watch, row.get::<_, i64>(2)? as u64, row.get::<_, i64>(3)? as u64))
        })
        .optional()?;
    let Some((batch, watch_until, hits, would_hits)) = found else {
        return Ok(());
    };
    let ending = connection
        .prepare_cached("SELECT at, status, cause FROM endings WHERE batch = ?1")?
        .query_row([batch], |row| {
            Ok(Ending {
                at: Timestamp(row.get(0)?),
                status: named(&row.get::<_, String>(1)?)?,
                by: row.get(2)?,
                watch_until: watch_until.map(Timestamp),
                hits,
                would_hits,
            })
        })?;
    let read = |sql: &str| -> rusqlite::Result<Vec<String>> {
        connection
            .prepare_cached(sql)?
            .query_map([key], |row| row.get(0))?
            .collect()
    };
    for json in read("SELECT json FROM decisions WHERE id = ?1")? {
        // What cannot be read cannot be changed either, and readers say so.
        if let Ok(mut decision) = serde_json::from_str::<Decision>(&json) {
            ending.end(&mut decision);
            upsert_decision(connection, &decision)?;
        }
    }
    for json in read("SELECT json FROM actions WHERE decision = ?1")? {
        if let Ok(mut action) = serde_json::from_str::<Action>(&json) {
            ending.end_action(&mut action);
            upsert_action(connection, &action)?;
        }
    }
    Ok(())
}

/// The end that a row read with [`OF_DECISION`] or [`OF_ACTION`] tells beside it, in its third column.
pub(super) fn beside(row: &Row<'_>) -> rusqlite::Result<Option<Ending>> {
    let Some(text) = row.get_ref(2)?.as_str_or_null()? else {
        return Ok(None);
    };
    let (at, status, by, watch_until, hits, would_hits): Told = serde_json::from_str(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, e.into()))?;
    Ok(Some(Ending {
        at: Timestamp(at),
        status,
        by,
        watch_until: watch_until.map(Timestamp),
        hits,
        would_hits,
    }))
}

fn named<T: serde::de::DeserializeOwned>(name: &str) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, e.into()))
}
